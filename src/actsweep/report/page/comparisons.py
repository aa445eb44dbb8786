"""How figures draw settings, and what those of accuracies, of their differences, and of accuracy against depth draw."""

from collections.abc import Mapping, Sequence
from typing import Any

from actsweep.report.drawing import COLOURS, MARKERS, facets
from actsweep.report.frames import trained_share
from actsweep.report.verdict import Verdict
from actsweep.report.wording import plain
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import Setting

Styles = Mapping[str, dict[str, Any]]  # by a setting's label
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SHAPES = ("circle", "square", "triangle-up", "triangle-down", "diamond", "cross", "x", "star")
SYMBOLS = dict(zip(MARKERS, SHAPES, strict=True))


def styles(settings: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """Label → where and as what the page's figures draw a setting, in the words of plotly.js."""
    drawn: dict[str, dict[str, Any]] = {}
    for panel, lines in facets(settings).items():
        for line in lines:
            names = {"act": line.setting.act, "panel": panel, "name": line.name or line.setting.label}
            look = {"dash": DASHES[line.look["linestyle"]], "symbol": SYMBOLS[line.look["marker"]]}
            drawn[line.setting.label] = names | {"colour": line.look["color"]} | look
    return {
        each.label: {"label": each.label, "position": i, "broken": each.broken} | drawn[each.label]
        for i, each in enumerate(settings)
    }


def _pairs(verdict: Verdict, styles: Styles) -> list[list[Any]]:
    """What the figure of differences needs, settings as their positions."""
    rounded = verdict.task.metric.rounded
    return [
        [
            styles[first]["position"],
            styles[second]["position"],
            pair.n,
            int(pair.paired),
            pair.seeds,
            *map(rounded, (pair.difference.value, pair.difference.low, pair.difference.high)),
            *map(plain, (pair.p_value, pair.p_holm, pair.effect_size)),
            *map(plain, (pair.improvement.value, pair.improvement.low, pair.improvement.high)),
        ]
        for (first, second), pair in verdict.pairs.items()
    ]


def drawn(verdicts: Sequence[Verdict], styles: Styles) -> dict[str, Any]:
    """What the figures of a task need; settings as their positions."""
    verdict = verdicts[0]
    metric = verdict.task.metric
    rows = [
        {
            "setting": styles[each.setting.label]["position"],
            "seeds": list(each.values),
            "values": [plain(value) if metric.factor == 1 else round(value, 3) for value in each.values.values()],
            "mean": metric.rounded(each.mean.value),
            "low": metric.rounded(each.mean.low),
            "high": metric.rounded(each.mean.high),
        }
        for each in verdict.found
    ]
    classes = {run["classes"] for each in verdict.found for run in each.setting.completed if run.get("classes")}
    return {
        "name": metric.name,
        "settings": [styles[setting.label]["position"] for setting in verdict.task.settings],
        "unit": metric.unit,
        "percent": metric.factor == 100,
        "higher": metric.higher_is_better,
        "chance": 100 / classes.pop() if len(classes) == 1 and metric.factor == 100 else None,
        "rows": rows,
        "pairs": [_pairs(each, styles) for each in verdicts],
        "depth": by_depth(verdict, styles),
    }


def by_depth(verdict: Verdict, styles: Styles) -> list[dict[str, Any]]:
    """A line per activation and whatever else varies; nothing unless depth varies."""
    groups = verdict.task.settings
    if len({group.runs[0]["depth"] for group in groups}) < 2:
        return []
    series: dict[tuple[str, str], list[Setting]] = {}
    for group in groups:  # in the order of their depths
        series.setdefault((group.besides("depth"), group.act), []).append(group)
    means = {each.setting.label: each.mean for each in verdict.found}
    several = len({group.act for group in groups}) > 1
    lines = []
    for number, ((rest, act), members) in enumerate(series.items()):
        look = {key: styles[members[0].label][key] for key in ("colour", "dash", "symbol")}
        look |= {"dash": "solid"} if several else {"colour": COLOURS[number % len(COLOURS)]}
        lines.append(
            {
                "panel": rest if several else "",
                "name": act if several else rest or act,
                "look": look,
                "settings": [styles[group.label]["position"] for group in members],
                "depth": [group.runs[0]["depth"] for group in members],
                **_columns([means.get(group.label) for group in members]),
                "trained": _columns([trained_share(group) for group in members], 100),
            }
        )
    return lines


def _columns(found: Sequence[Estimate | None], factor: int = 1) -> dict[str, list[Any]]:
    ends = ("value", "low", "high")
    numbers = {key: [plain(factor * getattr(each, key)) if each else None for each in found] for key in ends}
    return {"n": [each.n if each else 0 for each in found]} | numbers
