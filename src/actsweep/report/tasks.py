"""What a report compares: settings, and the tasks that they were trained on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actsweep.report import wording
from actsweep.report.frames import loss_unit
from actsweep.results.reading import Run
from actsweep.statistics.findings.seen import span
from actsweep.statistics.setting import Setting, chance, left_out


@dataclass(frozen=True)
class Metric:
    """What settings are compared by."""

    key: str
    name: str
    unit: str
    factor: int
    higher_is_better: bool

    @property
    def possible(self) -> tuple[float, float]:
        """What its values can be: a loss has no upper end."""
        return (0, self.factor) if self.higher_is_better else (0, math.inf)

    def text(self, value: float | None) -> str:
        return wording.fixed(value) if self.factor == 100 else wording.number(value, 4)

    def rounded(self, value: float) -> float | None:
        """What `text` says, as a number; None where there is none."""
        digits = ".2f" if self.factor == 100 else ".4g"
        return float(format(value, digits)) if math.isfinite(value) else None

    def with_unit(self, value: float) -> str:
        return f"{self.text(value)} {self.unit}"

    @property
    def difference_unit(self) -> str:
        return "percentage points" if self.factor == 100 else self.unit


@dataclass(frozen=True)
class Task:
    """Settings that may be compared with each other: the same data, the same measure."""

    title: str
    metric: Metric
    settings: tuple[Setting, ...]

    def outcomes(self, setting: Setting, with_diverged: bool) -> dict[int, float]:
        """Seed → value, of the completed runs or of those and the ones that diverged."""
        found = setting.outcomes(chance(setting, self.settings) if with_diverged else None)
        return {seed: self.metric.factor * value for seed, value in found.items()}

    def value(self, run: Run) -> float | None:
        found = run.get(self.metric.key)
        return None if found is None or not math.isfinite(found) else self.metric.factor * float(found)

    @property
    def stands(self) -> str:
        """What stands for a diverged run, in words."""
        values = [value for each in self.settings if (value := chance(each, self.settings)) is not None]
        what = "chance" if self.metric.higher_is_better else "the highest loss of any run here"
        return f"{what}, {self.metric.with_unit(self.metric.factor * max(values))}" if values else what


def tasks_of(settings: Sequence[Setting]) -> list[Task]:
    """The settings by data set and measure; settings of different tasks are never compared."""
    by_task: dict[tuple[str, str], list[Setting]] = {}
    for setting in settings:
        by_task.setdefault(setting.task, []).append(setting)
    titles = titled([members[0].runs[0] for members in by_task.values()], [measure for _, measure in by_task])
    tasks = []
    for title, ((_, measure), members) in zip(titles, by_task.items(), strict=True):
        runs = [run for setting in members for run in setting.runs]
        loss = Metric("test_loss", "test loss", loss_unit(runs), 1, higher_is_better=False)
        metric = Metric("test_accuracy", "test accuracy", "%", 100, True) if measure == "test_accuracy" else loss
        tasks.append(Task(title, metric, tuple(members)))
    return tasks


def titled(runs: Sequence[Run], measures: Sequence[str] = ()) -> list[str]:
    """What to call the data of each run: by name and, of one name, by what tells them apart; its source's arguments,
    else its content, else what is measured."""
    titles = [str(run.get("data", "data")) for run in runs]
    contents = [f"content {run['config'].get('content') or 'unknown'}" for run in runs]
    for parts in (list(map(_arguments, runs)), contents, measures):
        both = list(zip(titles, parts, strict=False))
        alike = {title: {part for other, part in both if other == title} for title in titles}
        titles = [
            f"{title}, {part or 'no arguments'}" if len(alike[title]) > 1 else title
            for title, part in zip(titles, parts or titles, strict=True)
        ]
    return titles


def _arguments(run: Run) -> str:
    source = (run["config"].get("data") or {}).get("source") or {}
    return ", ".join(f"{key} {value}" for key, value in source.items() if key != "_target_")


def sampled(settings: Iterable[Setting], used: int | None = None) -> str:
    """How many runs a figure shows per setting, and how many it can't: the end of its caption.

    `used`: the completed runs that have what the figure needs, where not all do.
    """
    settings = list(settings)
    n = span([len(each.completed) for each in settings])
    per = f"completed {'run' if n == '1' else 'runs'} per setting, {wording.counted(len(settings), 'setting')}."
    return f"n = {n} {per}{left_out(settings, used)}"
