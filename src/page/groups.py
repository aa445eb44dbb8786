"""Runs → what the page compares: settings, however their runs ended, and the tasks that they were trained on."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.figures._drawing import facets
from src.figures._runs import Run, loss_unit, settings
from src.page import words
from src.report import settings_of

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "D": "diamond",
    "P": "cross",
    "X": "x",
    "*": "star",
}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only, by seed. `panel` and `name`: where figures draw them, and as what."""

    label: str
    act: str
    values: dict[str, str]  # what else distinguishes this setting
    completed: tuple[Run, ...]
    diverged: tuple[Run, ...]
    failed: tuple[Run, ...]
    repeated: int  # completed runs of a seed that is there already
    panel: str
    name: str
    look: dict[str, str]

    @property
    def runs(self) -> tuple[Run, ...]:
        return (*self.completed, *self.diverged, *self.failed)

    @property
    def observed(self) -> tuple[Run, ...]:
        """The runs to look into: the completed ones; where there are none, those that diverged."""
        return self.completed or self.diverged

    @property
    def broken(self) -> str:
        """How many runs of this setting enter no mean, and why; nothing if none."""
        counts = {"diverged": len(self.diverged), "failed": len(self.failed), "repeated": self.repeated}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


@dataclass(frozen=True)
class Metric:
    """What settings are compared by."""

    key: str
    name: str
    unit: str
    factor: int
    higher_is_better: bool

    def of(self, run: Run) -> float | None:
        value = run.get(self.key)
        return None if value is None or not math.isfinite(value) else self.factor * float(value)

    @property
    def possible(self) -> tuple[float, float]:
        """What its values can be: a loss has no upper end."""
        return (0, self.factor) if self.higher_is_better else (0, math.inf)

    def text(self, value: float | None) -> str:
        return words.fixed(value) if self.factor == 100 else words.number(value, 4)

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
    groups: tuple[Group, ...]


def _by_status(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    return {
        status: tuple(run for run in runs if run["status"] == status) for status in ("completed", "diverged", "failed")
    }


def _first_of_each_seed(runs: Sequence[Run]) -> tuple[Run, ...]:
    firsts: dict[int, Run] = {}
    for run in runs:
        firsts.setdefault(run["seed"], run)
    return tuple(firsts.values())


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """All settings, in the order of the figures, also those of which no run completed."""
    marked = [run | {"status": "completed", "position": position} for position, run in enumerate(runs)]
    varied = settings_of(list(runs))
    groups = []
    for panel, lines in facets(settings(marked)).items():
        for line in lines:
            positions = [run["position"] for run in line.setting.runs]
            ended = _by_status([runs[position] for position in positions])
            completed = _first_of_each_seed(ended["completed"])
            group = Group(
                label=line.setting.label,
                act=line.setting.act,
                values={key: value for key, value in varied[positions[0]].items() if key != "act"},
                completed=completed,
                diverged=ended["diverged"],
                failed=ended["failed"],
                repeated=len(ended["completed"]) - len(completed),
                panel=panel,
                name=line.name or line.setting.label,
                look=_look(line.look),
            )
            groups.append(group)
    return groups


def _look(look: dict[str, Any]) -> dict[str, str]:
    """A figure's look, in the words of plotly.js."""
    return {"colour": look["color"], "dash": DASHES[look["linestyle"]], "symbol": SYMBOLS[look["marker"]]}


def _task(group: Group) -> tuple[str, str]:
    config = group.runs[0]["config"]
    measure = "test_loss" if config.get("loss") == "mse" else "test_accuracy"
    return json.dumps((config.get("data") or {}).get("source"), sort_keys=True), measure


def tasks_of(groups: Sequence[Group]) -> list[Task]:
    """The settings by data set and measure; settings of different tasks are never compared."""
    by_task: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        by_task.setdefault(_task(group), []).append(group)
    names = [members[0].runs[0].get("data", "data") for members in by_task.values()]
    tasks = []
    for name, ((source, measure), members) in zip(names, by_task.items(), strict=True):
        title = name if names.count(name) == 1 else f"{name}, {_arguments(source) or measure}"
        runs = [run for group in members for run in group.runs]
        loss = Metric("test_loss", "test loss", loss_unit(runs), 1, higher_is_better=False)
        metric = Metric("test_accuracy", "test accuracy", "%", 100, True) if measure == "test_accuracy" else loss
        tasks.append(Task(title, metric, tuple(members)))
    return tasks


def _arguments(source: str) -> str:
    arguments = json.loads(source) or {}
    return ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "_target_")


def sampled(groups: Sequence[Group], used: int | None = None, lowest_seed: bool = False) -> str:
    """How many runs a figure shows per setting, and how many it can't: the end of its caption.

    `used`: the completed runs that have what the figure needs, where not all do.
    """
    sizes = sorted({min(len(group.completed), 1 if lowest_seed else len(group.completed)) for group in groups})
    n = "0" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    text = f"n = {n} completed {'run' if n == '1' else 'runs'} per setting, {words.counted(len(groups), 'setting')}."
    if lowest_seed:
        text = f"{text[:-1]}, of each its lowest seed."
    completed = sum(len(group.completed) for group in groups)
    left_out = {
        "diverged": sum(len(group.diverged) for group in groups),
        "failed": sum(len(group.failed) for group in groups),
        "repeated a seed": sum(group.repeated for group in groups),
        "completed without these numbers": completed - used if used is not None else 0,
    }
    named = [f"{count} {what}" for what, count in left_out.items() if count]
    return text + (f" Left out: {', '.join(named)}." if named else "")
