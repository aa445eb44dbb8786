"""What a sweep found, computed and rounded once: page, terminal, report.json, report.md and results.tex all say it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from actsweep.report import wording
from actsweep.report.frames import first_to_last, mean_of, trained_share
from actsweep.report.tasks import Metric, Task, tasks_of
from actsweep.report.verdict import Verdict, judge, sentences
from actsweep.results.folders import Folders
from actsweep.results.reading import Run
from actsweep.statistics import inference
from actsweep.statistics.findings import Finding, find, tables_of
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import Setting

ESTIMATES = {"mean": inference.mean, "median": inference.median, "IQM": inference.interquartile_mean}


@dataclass(frozen=True)
class Cell:
    """A number in the table by setting: as people read it, what stands below it, and as programs do."""

    text: str = "–"
    below: str = ""
    sort: float | None = None
    data: Any = None

    @property
    def whole(self) -> str:
        """In one line."""
        is_interval = self.below.startswith("[") or not self.below
        return f"{self.text} {self.below}".strip() if is_interval else f"{self.text} ({self.below})"


Rows = Sequence[tuple[Setting, Mapping[str, Cell]]]


@dataclass(frozen=True)
class Judged:
    """A task's settings compared: of the completed runs, and with those that diverged, if any did; and as a table: a
    row per setting, in the order of the figures, also without a completed run, but no column without a number."""

    task: Task
    verdicts: tuple[Verdict, ...]
    headings: Mapping[str, str]  # by column
    rows: Rows

    @cached_property
    def sentences(self) -> list[str]:
        """Of both, each once: what the diverged runs change nothing of is not said twice."""
        return list(dict.fromkeys(sentence for verdict in self.verdicts for sentence in sentences(verdict)))

    @cached_property
    def best_first(self) -> Rows:
        """Last those without a mean."""
        ranks = {each.setting.label: rank for rank, each in enumerate(self.verdicts[0].found)}
        return sorted(self.rows, key=lambda row: ranks.get(row[0].label, len(ranks)))

    @property
    def counts_diverged(self) -> bool:
        """Whether there is a number that has the diverged runs: of regressions none where all diverged."""
        return "mean_with_diverged" in self.headings

    def texts(self, columns: Sequence[str], rows: Rows) -> list[list[str]]:
        """The headings of these columns, of those that there are, and the rows."""
        shown = [column for column in columns if column in self.headings]
        heads = ["setting", *(self.headings[column] for column in shown)]
        return [heads, *([setting.label, *(cells[column].whole for column in shown)] for setting, cells in rows)]

    @property
    def note(self) -> str:
        """What the table's numbers are."""
        metric, with_diverged = self.task.metric, self.counts_diverged
        said = [f"mean {metric.name}, {metric.unit}, over the n completed runs; in brackets: 95 % intervals"]
        said += ["trained: closed a tenth of the gap from chance to perfection"] * metric.higher_is_better
        said += [f"diverged counted: each diverged run as {self.task.stands}"] * with_diverged
        return "; ".join(said)


@dataclass(frozen=True)
class Summary:
    """What is known of a sweep. `sweep`: its question and command, the folders of missing runs, how to forget them."""

    settings: Sequence[Setting]
    judged: tuple[Judged, ...]
    findings: tuple[Finding, ...]  # worst first
    sweep: Mapping[str, Any]
    folders: Folders

    @property
    def runs(self) -> list[Run]:
        """One of each seed of a setting."""
        return [run for setting in self.settings for run in setting.runs]

    @property
    def missing(self) -> Sequence[Path]:
        return self.sweep.get("missing", ())


def summarise(settings: Sequence[Setting], sweep: Mapping[str, Any]) -> Summary:
    """Estimates, comparisons and findings. Raises ValueError without a setting."""
    if not settings:
        raise ValueError("a report needs at least one run")
    findings = find(settings, partial(tables_of, folders=(folders := Folders())))
    return Summary(settings, tuple(map(_judged, tasks_of(settings))), findings, sweep, folders)


def _judged(task: Task) -> Judged:
    verdicts = [judge(task)]
    if any(setting.diverged for setting in task.settings):
        verdicts.append(judge(task, with_diverged=True))
    rows = [_row(setting, verdicts) for setting in task.settings]
    columns = [column for column in rows[0] if any(row[column].sort is not None for row in rows)]
    cells = [{column[0]: row[column] for column in columns} for row in rows]
    return Judged(task, tuple(verdicts), dict(columns), list(zip(task.settings, cells, strict=True)))


def as_numbers(estimate: Estimate, metric: Metric) -> dict[str, Any]:
    """Value and interval as `metric` rounds them, None where n is too small for one."""
    return {key: metric.rounded(getattr(estimate, key)) for key in ("value", "low", "high")} | {"n": estimate.n}


def _number(value: float | None, text: str) -> Cell:
    """A number as its text says it."""
    known = value is not None and math.isfinite(value)
    return Cell(text, "", value if known else None, float(text.replace("−", "-")) if known else None)


def _share(setting: Setting) -> Cell:
    share = trained_share(setting)
    if share is None:
        return Cell()
    count, low, high = round(share.value * share.n), f"{100 * share.low:.0f}", f"{100 * share.high:.0f}"
    data = {"count": count, "n": share.n, "low_percent": int(low), "high_percent": int(high)}
    return Cell(f"{count}/{share.n}", f"[{low}, {high}] %", share.value, data)


def _estimates(setting: Setting, verdict: Verdict) -> dict[tuple[str, str], Cell]:
    """Of the completed runs, or the mean with those that diverged."""
    metric, values = verdict.task.metric, list(verdict.task.outcomes(setting, verdict.with_diverged).values())
    said, key = (", diverged counted", "_with_diverged") if verdict.with_diverged else ("", "")
    cells = {}
    for name in ["mean"] if verdict.with_diverged else ESTIMATES:
        got = ESTIMATES[name](values).within(*metric.possible) if values else None
        within = wording.interval(got, metric.text) if got else ""
        known = (metric.text(got.value), within, got.value, as_numbers(got, metric)) if got else ()
        cells[name.lower() + key, f"{name}{said}, {metric.unit}"] = Cell(*known)
    return cells


def _row(setting: Setting, verdicts: Sequence[Verdict]) -> dict[tuple[str, str], Cell]:
    """(column, its heading) → cell."""
    repeated = f"{len(setting.repeated)} repeated" if setting.repeated else ""
    n, below = len(setting.completed), ", ".join(filter(None, [setting.broken, repeated]))
    cells = {("n", "n"): Cell(str(n), below, n, n)}
    if verdicts[0].task.metric.higher_is_better:
        cells["trained", "trained"] = _share(setting)
    for verdict in verdicts:
        cells |= _estimates(setting, verdict)
    for name in ("epochs", "seconds"):
        average = mean_of([run.get(name) for run in setting.completed])
        cells[name, name] = _number(average, wording.fixed(average, 1))
    ratio, dead = first_to_last(setting), mean_of([mean_of(run.get("dead_fraction")) for run in setting.completed])
    cells["gradient_first_to_last", "gradient, first ÷ last layer"] = _number(ratio, wording.number(ratio, 2))
    percent = None if dead is None else 100 * dead
    cells["dead_percent", "dead units, %"] = _number(percent, wording.fixed(percent, 1))
    return cells
