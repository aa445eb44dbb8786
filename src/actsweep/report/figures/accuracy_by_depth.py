"""At which depth does training stop, for each activation and initialisation, and where did theory expect it?"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample, with_diverged
from actsweep.report.drawing import CHANCE, Drawing, Look, depth_axis, legend, looks, panels
from actsweep.report.frames import PERCENT, Runs, averaged, trained_of, with_accuracy
from actsweep.report.reach import reach
from actsweep.results.reading import natural
from actsweep.statistics.inference import proportion
from actsweep.statistics.setting import Setting, act_order, settings_of

COLUMNS = ["act", "init", "depth", "n", PERCENT, "low", "high", "trained", "of", "theory_depth", "chance"]


def _row(group: Setting) -> tuple[Any, ...]:
    """Accuracy of the completed runs, and how many trained of those and the ones that diverged, which did not."""
    first = group.observed[0]
    found = averaged([100 * run["test_accuracy"] for run in group.completed], (0, 100))
    chance = 100 / first["classes"] if first["classes"] else math.nan
    return group.act, group.at_init("depth"), first["depth"], *found, *trained_of(group), reach(first), chance


def _panel(axes: Axes, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    for place, (act, own) in enumerate(rows.groupby("act", sort=False)):
        colour, expected = look[str(act)]["color"], own["theory_depth"].iloc[0]
        axes.plot(own["depth"], own[PERCENT], **look[str(act)])
        axes.fill_between(own["depth"], own["low"], own["high"], color=colour, alpha=0.15, lw=0)
        if expected <= 1.2 * rows["depth"].max():
            axes.plot([max(expected, 0.8)] * 2, [101 + 3 * place, 104 + 3 * place], color=colour, lw=3, clip_on=False)
    depth_axis(axes, rows["depth"])
    axes.set_xlim(-0.1 if (rows["depth"] == 0).any() else 0.75, max(rows["depth"].max(), 1) * 1.3)
    axes.set_ylim(0, 102 + 3 * rows["act"].nunique())


def collapse(depths: Sequence[float], accuracies: Sequence[float], chance: float) -> float | None:
    """The depth at which accuracy first falls halfway from its best to chance, on a logarithmic axis; None: never, or
    right after 0 hidden layers, which have no place there.

    >>> collapse([1, 2, 8], [90, 90, 10], chance=10)
    4.0
    """
    middle = (max(accuracies) + chance) / 2
    from_best = list(zip(depths, accuracies, strict=True))[int(np.argmax(accuracies)) :]
    for (near, high), (far, low) in pairwise(from_best):
        if low < middle:
            return float(near * (far / near) ** ((high - middle) / (high - low))) if near else None
    return None


def sentence(table: pd.DataFrame) -> str:
    """How often the measured collapse lies within a factor of 2 of theory's depth."""
    ratios = {}
    for (act, init), own in table.groupby(["act", "init"], sort=False):
        expected, chance = own["theory_depth"].iloc[0], own["chance"].min()
        found = collapse(own["depth"].tolist(), own[PERCENT].fillna(chance).tolist(), chance)  # where all diverged
        if found and math.isfinite(expected):
            ratios[f"{act} {init}"] = found / expected
    if not ratios:
        return ""
    close = sum(0.5 <= ratio <= 2 for ratio in ratios.values())
    each = ", ".join(f"{name} {ratio:.2g}" for name, ratio in ratios.items())
    which = f"{close} of the {len(ratios)} lines that do (depth / 6 ξ_c: {each})"
    return f"Accuracy falls halfway to chance within a factor of 2 of 6 ξ_c in {which}. "


def deepest(table: pd.DataFrame) -> str:
    """How many of the deepest networks on the edge of chaos learnt something, and how much."""
    own = table[table["init"].str.startswith("critical") & (table["depth"] == table["depth"].max())]
    said = []
    for row in own.to_dict("records"):
        share = proportion(row["trained"], row["of"])
        trained = f"{row['act']} {row['trained']} of {row['of']} [{100 * share.low:.0f}, {100 * share.high:.0f}] %"
        interval = f" [{row['low']:.0f}, {row['high']:.0f}]" if row["n"] > 1 else ""
        said.append(f"{trained}, " + (f"mean {row[PERCENT]:.0f} %{interval}" if row["n"] else "all diverged"))
    what = "these runs closed a tenth of the gap between chance and perfection"
    return f"With {own['depth'].iloc[0]} layers at init=critical {what}: {'; '.join(said)}. " if said else ""


def draw(runs: Runs) -> Drawing:
    settings = settings_of(runs)
    groups = with_accuracy(settings, "no completed run has a test accuracy: only classifiers can be shown")
    broken = [each for each in settings if each.diverged and not each.completed and each.measure == "test_accuracy"]
    found = [_row(group) for group in [*groups, *broken]]
    found.sort(key=lambda row: (row[1].startswith("critical"), natural(row[1]), act_order(row[0]), row[2]))
    table = pd.DataFrame(found, columns=COLUMNS)
    look = looks(table["act"])
    by_init = {f"init={init}": rows for init, rows in table.groupby("init", sort=False)}
    figure, axes = panels([*by_init], (3.3, 2.9), "hidden layers", "test accuracy (%)", sharey=True)
    for each, rows in zip(axes, by_init.values(), strict=True):
        _panel(each, rows, look)
        for chance in rows["chance"].dropna().unique():
            each.axhline(chance, **CHANCE)
    legend(figure, {act: look[act] for act in dict.fromkeys(table["act"])})
    caption = (
        "Test accuracy in % by depth: means over seeds, bands: 95 % t-intervals. Dotted: chance. Bars: the depth to "
        "which theory expects training, 6 ξ_c (Schoenholz et al. 2017); no bar: the edge of chaos, no limit, or not "
        "known (initialisations that were changed, normalisation). "
        + sentence(table) + deepest(table) + with_diverged([*groups, *broken]) + sample(runs, groups)
    )  # fmt: skip
    return Drawing(figure, table.drop(columns="chance").replace([np.inf, -np.inf], np.nan), caption)
