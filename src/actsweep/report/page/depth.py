"""Accuracy, and the share of runs that trained, against depth."""

from collections.abc import Sequence
from typing import Any

from actsweep.report.drawing import COLOURS
from actsweep.report.frames import trained_share
from actsweep.report.page.styles import Styles
from actsweep.report.verdict import Verdict
from actsweep.report.wording import plain
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import Setting


def _series(groups: Sequence[Setting]) -> dict[tuple[str, str], list[Setting]]:
    """(what else varies, activation) → its settings by depth."""
    series: dict[tuple[str, str], list[Setting]] = {}
    for group in groups:
        series.setdefault((group.besides("depth"), group.act), []).append(group)
    return {key: sorted(members, key=lambda group: group.runs[0]["depth"]) for key, members in series.items()}


def _columns(found: Sequence[Estimate | None], percent: bool = False) -> dict[str, list[Any]]:
    """Estimates as columns of numbers."""
    numbers = {
        key: [plain((100 if percent else 1) * getattr(each, key)) if each else None for each in found]
        for key in ("value", "low", "high")
    }
    return {"n": [each.n if each else 0 for each in found]} | numbers


def by_depth(verdict: Verdict, styles: Styles) -> list[dict[str, Any]]:
    """A line per activation and whatever else varies; nothing unless depth varies."""
    groups = verdict.task.settings
    if len({group.runs[0]["depth"] for group in groups}) < 2:
        return []
    means = {each.setting.label: each.mean for each in verdict.found}
    several = len({group.act for group in groups}) > 1
    lines = []
    for number, ((rest, act), members) in enumerate(_series(groups).items()):
        shares = [trained_share(group) for group in members]
        found = [means.get(group.label) for group in members]
        look = {key: styles[members[0].label][key] for key in ("colour", "dash", "symbol")}
        look |= {"dash": "solid"} if several else {"colour": COLOURS[number % len(COLOURS)]}
        lines.append(
            {
                "panel": rest if several else "",
                "name": act if several else rest or act,
                "look": look,
                "settings": [styles[group.label]["position"] for group in members],
                "depth": [group.runs[0]["depth"] for group in members],
                **_columns(found),
                "trained": _columns(shares, percent=True),
            }
        )
    return lines
