"""What the terminal says of a sweep: the table by setting, how the runs ended, the worst findings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from actsweep.report.findings import entries
from actsweep.report.frames import endings
from actsweep.report.summary import Judged, Summary
from actsweep.report.wording import counted
from actsweep.statistics.setting import repetitions

SHOWN = ("n", "trained", "mean", "mean_with_diverged", "epochs", "gradient_first_to_last", "dead_percent")
WORST, LONGEST = 3, 240  # findings, characters of an explanation
NARROW, WIDEST = 24, 32  # of settings' names; where they are broken
WIDTH = 120  # where nobody watches


def show(summary: Summary, results: Path) -> None:
    """Print it; `results`: the table of runs."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    for judged in summary.judged:
        console.print(_table(judged, console.width, with_title=len(summary.judged) > 1))
    print("; ".join(filter(None, (statuses(summary), repetitions(summary.settings), str(results)))))
    for each in entries(summary.findings)[:WORST]:
        print(f"finding: {each.line(LONGEST)}")
    show_missing(summary.sweep)


def show_missing(sweep: Mapping[str, Any]) -> None:
    if names := [path.name for path in sweep.get("missing", ())]:
        who = sweep.get("at_work")
        how = f"a sweep is at work, {who}" if who else f"if they are not wanted: {sweep['forget']}"
        print(f"missing: {', '.join(names)}; {how}", flush=True)


def _table(judged: Judged, width: int, with_title: bool) -> Table:
    """`width`: of the terminal. Least widths of columns rich would give beyond it, and cut the last columns."""
    shown = [key for key in SHOWN if key in judged.headings]
    longest = max(len(setting.label) for setting, _ in judged.rows)
    fits = longest <= NARROW and "mean_with_diverged" not in shown  # else intervals stand below what they are of
    table = Table(
        Column("setting", width=min(longest, WIDEST if width >= WIDTH else NARROW)),
        *(judged.headings[key] for key in shown),
        title=escape(judged.task.title) if with_title else None,
        caption=judged.note,
    )
    for setting, cells in judged.rows:
        lines = [cells[key].whole if fits else f"{cells[key].text}\n{cells[key].below}" for key in shown]
        table.add_row(*map(escape, (setting.label, *lines)))
    return table


def statuses(summary: Summary) -> str:
    """How many runs there should be, and what became of them, in words; a seed of a setting is one run."""
    found = endings(summary.settings, summary.missing)
    named = [f"{len(names)} {ended}" for ended, names in found.items() if names]
    return f"{counted(sum(map(len, found.values())), 'run')} expected: {', '.join(named)}"
