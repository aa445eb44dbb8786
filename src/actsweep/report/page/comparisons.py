"""What the figures of accuracies and of their differences draw."""

from collections.abc import Sequence
from typing import Any

from actsweep.report.page.styles import Styles
from actsweep.report.verdict import Verdict
from actsweep.report.wording import plain


def pairs_of(verdict: Verdict, styles: Styles) -> list[list[Any]]:
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
    """What the figures of accuracy and of differences need; settings as their positions."""
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
        "pairs": [pairs_of(each, styles) for each in verdicts],
    }
