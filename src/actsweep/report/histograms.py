"""Histograms of a run's layers, as panels: settings from top to bottom, layers from left to right."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.captions import room, sample
from actsweep.report.drawing import Drawing, literal, looks
from actsweep.report.frames import Runs, keep, layer_number, of_group, table, with_table
from actsweep.report.wording import thinned
from actsweep.results.reading import Run, measured_at
from actsweep.statistics.setting import Setting

MOST_ROWS, MOST_COLUMNS = 12, 12
COLUMNS = ["act", "setting", "seed", "epoch", "layer", "quantity", "low", "high", "count", "density"]


def _bins(row: Mapping[Any, Any]) -> pd.DataFrame:
    """A row of histograms.csv with a row per bin. Values that are all the same: one without width, and no density."""
    counts = np.array(str(row["counts"]).split(), dtype=float)
    low, high = row["low"], row["high"]
    bins: dict[str, Any] = {"low": [low], "high": [high], "count": [counts.sum()], "density": [np.nan]}
    if low != high:
        edges = np.linspace(low, high, len(counts) + 1)
        density = counts / max(counts.sum(), 1) / np.diff(edges)
        bins = {"low": edges[:-1], "high": edges[1:], "count": counts, "density": density}
    named = {"epoch": row["epoch"], "layer": layer_number(row["layer"]), "quantity": row["quantity"]}
    return pd.DataFrame(named | bins)


def _of(run: Run, quantities: Sequence[str], tested: bool) -> list[dict[Any, Any]]:
    """One row per layer and quantity: of the tested epoch, or of the untrained network."""
    found = table(run, "histograms")
    found = found[found["quantity"].isin(quantities)]
    epoch = measured_at(run, found["epoch"]) if tested else 0
    return found[found["epoch"] == epoch].drop_duplicates(["layer", "quantity"], keep="last").to_dict("records")


def densities(runs: Runs, quantities: Sequence[str], tested: bool) -> tuple[list[Setting], pd.DataFrame]:
    """The settings that have such histograms, and those of their lowest seeds, one row per bin."""
    missing = f"no completed run has histograms of {', '.join(quantities)}: switch on diagnostics=[histograms]"
    groups = keep(with_table(runs, "histograms"), lambda run: bool(_of(run, quantities, tested)), missing)
    bins = [pd.concat(map(_bins, _of(group.first, quantities, tested)), ignore_index=True) for group in groups]
    tables = [of_group(group, each) for group, each in zip(groups, bins, strict=True)]
    return groups, pd.concat(tables, ignore_index=True)[COLUMNS]


def chosen_layers(layers: int) -> list[int]:
    """At most MOST_COLUMNS layer numbers, evenly spaced, the first and the output layer among them."""
    return (1 + thinned(layers, MOST_COLUMNS)).tolist()


def grid(
    runs: Runs,
    groups: Sequence[Setting],
    found: pd.DataFrame,
    panel: Callable[[Axes, pd.DataFrame, str], None],
    xlabel: str,
    ylabel: str,
    caption: str,
) -> Drawing:
    """One row per setting, one panel per layer, which `panel(axes, densities of the layer, colour)` fills.

    The table has all densities, also of the layers and settings for which the figure has no room.
    """
    look = looks(group.act for group in groups)
    shown = groups[:MOST_ROWS]
    deepest = found.groupby("setting")["layer"].max()
    depths = [int(deepest[group.label]) for group in shown]
    columns = max(len(chosen_layers(depth)) for depth in depths)
    figure = Figure(figsize=(max(1.55 * columns, 5) + 0.5, 1.25 * len(shown) + 0.9), layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (group, depth) in enumerate(zip(shown, depths, strict=True)):
        own, layers = found[found["setting"] == group.label], chosen_layers(depth)
        for each, layer in zip(axes[row], layers, strict=False):
            panel(each, own[own["layer"] == layer], look[group.act]["color"])
            each.set_yticks([])
            each.spines["left"].set_visible(False)
            if row == 0 or depth != depths[row - 1]:
                each.set_title("output layer" if layer == depth else f"layer {layer}")
            if row == len(shown) - 1 or depth != depths[row + 1]:
                each.set_xlabel(xlabel, fontsize=8)
        for each in axes[row][len(layers) :]:
            each.remove()
        axes[row][0].set_ylabel(literal(f"{fill(group.label, 18)}\n{ylabel}"), fontsize=8)
    if deepest.max() > MOST_COLUMNS:
        caption += f"Of deeper networks {MOST_COLUMNS} layers are shown, evenly spaced. "
    caption += room(len(shown), len(groups), more=", the table has all")
    return Drawing(figure, found, caption + sample(runs, groups, lowest_seed=True))


def bars(axes: Axes, bins: pd.DataFrame, **look: Any) -> None:
    """The densities of one layer and quantity; a line where all values are the same, words where none is finite."""
    if not bins["count"].sum():
        axes.text(0.5, 0.85, "not finite", transform=axes.transAxes, ha="center", fontsize=8)
        return
    if bins["density"].isna().any():
        value = float(bins["low"].iloc[0])
        axes.axvline(value, color=look.get("color") or look.get("edgecolor"), linewidth=1.5)
        axes.text(0.5, 0.85, f"all {value:.3g}", transform=axes.transAxes, ha="center", fontsize=8)
        return
    edges = [*bins["low"], bins["high"].iloc[-1]]
    axes.stairs(bins["density"], edges, **look)
