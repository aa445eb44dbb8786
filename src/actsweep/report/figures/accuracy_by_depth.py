"""At which depth does training stop, for each activation and initialisation, and where did theory expect it?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actsweep.report.figures._drawing import CHANCE, Drawing, looks, panels
from actsweep.report.figures._numbers import t_interval
from actsweep.report.figures._runs import keep, sample, with_diverged
from actsweep.report.figures._theory import reach
from actsweep.results.reading import natural
from actsweep.statistics.inference import proportion, trained
from actsweep.statistics.setting import Setting, act_order, settings_of

COLUMNS = ["act", "init", "depth", "n", "test_accuracy_percent", "low", "high", "trained", "of", "theory_depth"]


def _row(group: Setting) -> tuple[Any, ...]:
    """Accuracy of the completed runs, and how many trained of those and the ones that diverged, which did not."""
    runs = group.completed
    values = [100 * run["test_accuracy"] for run in runs]
    low, high = t_interval(values, (0, 100)) or (values[0], values[0])
    count = sum(trained(run["test_accuracy"], run["classes"]) for run in runs)
    where = ", ".join(filter(None, [group.first["init"], group.besides("init", "depth")]))
    found = len(runs), float(np.mean(values)), low, high, count, len(runs) + len(group.diverged)
    return group.act, where, group.first["depth"], *found, reach(group.first)


def _panel(axes: Axes, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    for place, (act, own) in enumerate(rows.groupby("act", sort=False)):
        axes.plot(own["depth"], own["test_accuracy_percent"], **look[str(act)])
        axes.fill_between(own["depth"], own["low"], own["high"], color=look[str(act)]["color"], alpha=0.15, lw=0)
        expected = own["theory_depth"].iloc[0]
        if expected <= 1.2 * rows["depth"].max():
            axes.plot(
                [max(expected, 0.8)] * 2,
                [101 + 3 * place, 104 + 3 * place],
                color=look[str(act)]["color"],
                lw=3,
                clip_on=False,
            )
    axes.set_xscale("log", base=2)
    depths = sorted(rows["depth"].unique())
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_xlim(0.75, max(depths) * 1.3)
    axes.set_ylim(0, 102 + 3 * rows["act"].nunique())


def collapse(depths: Sequence[float], accuracies: Sequence[float], chance: float) -> float | None:
    """The depth at which accuracy first falls halfway from its best to chance, on a logarithmic axis; None: never.

    >>> collapse([1, 2, 8], [90, 90, 10], chance=10)
    4.0
    """
    middle = (max(accuracies) + chance) / 2
    best = int(np.argmax(accuracies))
    for place in range(best + 1, len(depths)):
        (near, far), (high, low) = depths[place - 1 : place + 1], accuracies[place - 1 : place + 1]
        if low < middle:
            return float(near * (far / near) ** ((high - middle) / (high - low)))
    return None


def sentence(table: pd.DataFrame, chance: float) -> str:
    """How often the measured collapse lies within a factor of 2 of theory's depth."""
    ratios = {}
    for (act, init), own in table.groupby(["act", "init"], sort=False):
        expected = own["theory_depth"].iloc[0]
        found = collapse(own["depth"].tolist(), own["test_accuracy_percent"].tolist(), chance)
        if found and math.isfinite(expected):
            ratios[f"{act} {init}"] = found / expected
    if not ratios:
        return ""
    close = sum(0.5 <= ratio <= 2 for ratio in ratios.values())
    return (
        f"Accuracy falls halfway to chance within a factor of 2 of 6 ξ_c in {close} of the {len(ratios)} lines that do "
        f"(depth / 6 ξ_c: {', '.join(f'{name} {ratio:.2g}' for name, ratio in ratios.items())}). "
    )


def deepest(table: pd.DataFrame) -> str:
    """How many of the deepest networks on the edge of chaos learnt something, and how much."""
    own = table[table["init"].str.startswith("critical") & (table["depth"] == table["depth"].max())]
    words = []
    for row in own.to_dict("records"):
        share = proportion(row["trained"], row["of"])
        words.append(
            f"{row['act']} {row['trained']} of {row['of']} [{100 * share.low:.0f}, {100 * share.high:.0f}] %, "
            f"mean {row['test_accuracy_percent']:.0f} % [{row['low']:.0f}, {row['high']:.0f}]"
        )
    if not words:
        return ""
    return (
        f"With {own['depth'].iloc[0]} layers at init=critical these runs closed a tenth of the gap between chance and "
        f"perfection: {'; '.join(words)}. "
    )


def draw(runs: list[dict[str, Any]]) -> Drawing:
    missing = "no completed run has a test accuracy: only classifiers can be shown"
    groups = keep(settings_of(runs), lambda run: run.get("test_accuracy") is not None, missing)
    found = [_row(group) for group in groups]
    found.sort(key=lambda row: (row[1].startswith("critical"), natural(row[1]), act_order(row[0]), row[2]))
    table = pd.DataFrame(found, columns=COLUMNS)
    look = looks(table["act"])
    inits = list(dict.fromkeys(table["init"]))
    figure, axes = panels(len(inits), (3.3, 2.9), "hidden layers", "test accuracy (%)", sharey=True)
    for each, init in zip(axes, inits, strict=True):
        _panel(each, table[table["init"] == init], look)
        each.set_title(f"init={init}")
        for chance in {100 / run["classes"] for group in groups for run in group.completed}:
            each.axhline(chance, **CHANCE)
    handles = [Line2D([], [], label=act, **look[act]) for act in dict.fromkeys(table["act"])]
    figure.legend(handles=handles, loc="outside right upper")
    caption = (
        "Test accuracy in % by depth: means over seeds, bands: 95 % t-intervals. Dotted: chance. Bars: the depth to "
        "which theory expects training, 6 ξ_c (Schoenholz et al. 2017); no bar: the edge of chaos, or no limit. "
        + sentence(table, 100 / groups[0].first["classes"]) + deepest(table)
        + with_diverged(groups) + sample(runs, groups)
    )  # fmt: skip
    return Drawing(figure, table.replace([np.inf, -np.inf], np.nan), caption)
