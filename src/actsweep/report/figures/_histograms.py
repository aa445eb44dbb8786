"""Histograms of a run's layers, as panels: settings from top to bottom, layers from left to right."""

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.figures._drawing import looks
from actsweep.report.figures._runs import keep, layer_number, table, with_table
from actsweep.results.reading import Run, measured_at
from actsweep.statistics.setting import Setting

MOST_ROWS, MOST_COLUMNS = 12, 12


def densities(run: Run, quantities: Sequence[str], tested: bool) -> pd.DataFrame:
    """One row per layer, quantity and bin of the tested epoch, or of the untrained network: its edges, count, density.

    Values that are all the same have one bin without a width, and no density.
    """
    found = table(run, "histograms")
    found = found[found["quantity"].isin(quantities)]
    epoch = measured_at(run, found["epoch"]) if tested else 0
    found = found[found["epoch"] == epoch].drop_duplicates(["layer", "quantity"], keep="last")
    tables = []
    for row in found.to_dict("records"):
        counts = np.array(str(row["counts"]).split(), dtype=float)
        low, high = row["low"], row["high"]
        bins: dict[str, Any]
        if low == high:
            bins = {"low": [low], "high": [high], "count": [counts.sum()], "density": [np.nan]}
        else:
            edges = np.linspace(low, high, len(counts) + 1)
            density = counts / max(counts.sum(), 1) / np.diff(edges)
            bins = {"low": edges[:-1], "high": edges[1:], "count": counts, "density": density}
        named = {"epoch": epoch, "layer": layer_number(row["layer"]), "quantity": row["quantity"]}
        tables.append(pd.DataFrame(named | bins))
    return pd.concat(tables, ignore_index=True)


def of_lowest_seed(
    runs: Sequence[Run], quantities: Sequence[str], tested: bool
) -> tuple[list[Setting], dict[str, pd.DataFrame]]:
    """The settings that have such histograms, and label → densities of the lowest seed."""

    def wanted(run: Run) -> bool:
        found = table(run, "histograms")
        epochs = set(found.loc[found["quantity"].isin(quantities), "epoch"])
        return (measured_at(run, epochs) if tested else 0) in epochs

    missing = f"no completed run has histograms of {', '.join(quantities)}: switch on diagnostics=[histograms]"
    groups = keep(with_table(runs, "histograms"), wanted, missing)
    return groups, {group.label: densities(group.first, quantities, tested) for group in groups}


def chosen_layers(layers: int) -> list[int]:
    """At most MOST_COLUMNS layer numbers, evenly spaced, the first and the output layer among them."""
    return [int(n) for n in np.unique(np.linspace(1, layers, min(layers, MOST_COLUMNS)).round())]


def grid(
    groups: Sequence[Setting],
    found: dict[str, pd.DataFrame],
    panel: Callable[[Axes, pd.DataFrame, str], None],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """One row per setting, one panel per layer; `panel(axes, densities of the layer, colour)` fills it."""
    look = looks(group.act for group in groups)
    shown = groups[:MOST_ROWS]
    depths = [int(found[group.label]["layer"].max()) for group in shown]
    columns = max(len(chosen_layers(depth)) for depth in depths)
    figure = Figure(figsize=(max(1.55 * columns, 5) + 0.5, 1.25 * len(shown) + 0.9), layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (group, depth) in enumerate(zip(shown, depths, strict=True)):
        layers = chosen_layers(depth)
        for each, layer in zip(axes[row], layers, strict=False):
            panel(each, found[group.label].query("layer == @layer"), look[group.act]["color"])
            each.set_yticks([])
            each.spines["left"].set_visible(False)
            if row == 0 or depth != depths[row - 1]:
                each.set_title("output layer" if layer == depth else f"layer {layer}")
            if row == len(shown) - 1 or depth != depths[row + 1]:
                each.set_xlabel(xlabel, fontsize=8)
        for each in axes[row][len(layers) :]:
            each.remove()
        axes[row][0].set_ylabel(f"{fill(group.label, 18)}\n{ylabel}", fontsize=8)
    return figure


def bars(axes: Axes, bins: pd.DataFrame, **look: Any) -> None:
    """The densities of one layer and quantity; a line where all values are the same."""
    if bins["density"].isna().any():
        value = float(bins["low"].iloc[0])
        axes.axvline(value, color=look.get("color") or look.get("edgecolor"), linewidth=1.5)
        axes.text(0.5, 0.85, f"all {value:.3g}", transform=axes.transAxes, ha="center", fontsize=8)
        return
    edges = [*bins["low"], bins["high"].iloc[-1]]
    axes.stairs(bins["density"], edges, **look)


def values_of(groups: Sequence[Setting], found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All densities as one tidy table, also of the layers and settings for which the figure has no room."""
    return pd.concat(
        [found[group.label].assign(act=group.act, setting=group.label, seed=group.first["seed"]) for group in groups],
        ignore_index=True,
    )[["act", "setting", "seed", "epoch", "layer", "quantity", "low", "high", "count", "density"]]


def room(groups: Sequence[Setting], found: dict[str, pd.DataFrame]) -> str:
    """A sentence about what the figure has no room for, or nothing."""
    sentences = []
    if any(frame["layer"].max() > MOST_COLUMNS for frame in found.values()):
        sentences.append(f"Of deeper networks {MOST_COLUMNS} layers are shown, evenly spaced. ")
    if len(groups) > MOST_ROWS:
        sentences.append(f"The first {MOST_ROWS} of {len(groups)} settings are shown, the table has all. ")
    return "".join(sentences)
