"""What the figures look like: colours, panels, axes, and the three files of each."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from actsweep.results import ownership
from actsweep.results.files import listed_at
from actsweep.statistics.setting import ACTS, Setting, act_order

Look = dict[str, Any]
# Okabe & Ito: distinguishable for colour-blind readers too; the first six belong to the six main activations.
COLOURS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
MOST_PANELS = 12
MAIN = {act: {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": "-"} for i, act in enumerate(ACTS)}
CHANCE: Look = {"color": "#777777", "linestyle": ":", "linewidth": 1}
FROM_INPUT_TO_OUTPUT: Colormap = mpl.colormaps["viridis"]
STYLE: Look = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.hashsalt": "actsweep",
}


def style() -> AbstractContextManager[None]:
    """The appearance of every figure, for as long as the context lasts."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Drawing:
    """A figure, its numbers, and what a reader must know to read it: n, units, what bands and marks are."""

    figure: Figure
    table: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Line:
    """A setting as a figure names and draws it."""

    name: str
    setting: Setting
    look: Look


def save(drawing: Drawing, stem: Path) -> list[Path]:
    """Write STEM.svg, STEM.png and STEM.csv; the same runs give the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg, png, csv = (stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png", "csv"))
    for path in (svg, png, csv):
        ownership.record(*listed_at(path))
    characters = int(drawing.figure.get_figwidth() * 17.5)  # of this size fill a line
    drawing.figure.supxlabel(fill(drawing.caption, characters), fontsize=7.5, x=0.01, ha="left", color="#444444")
    drawing.figure.draw_without_rendering()
    drawing.figure.set_layout_engine(None)  # found once, instead of once per file
    drawing.figure.savefig(svg, metadata={"Date": None})
    drawing.figure.savefig(png, dpi=150)
    drawing.figure.clear()
    drawing.table.to_csv(csv, index=False)
    return [svg, png, csv]


def looks(acts: Iterable[str]) -> dict[str, Look]:
    """Activation → colour, marker, line. The six main ones always look the same; others take what is left, by name."""
    acts = set(acts)
    left = [
        {"color": colour, "marker": marker, "linestyle": dashes}
        for dashes, shift in product(("--", "-.", ":"), range(len(MARKERS)))
        for colour, marker in [(COLOURS[(6 + shift) % len(COLOURS)], MARKERS[(3 + shift) % len(MARKERS)])]
    ]
    others = sorted(acts - set(ACTS))
    return {act: MAIN[act] for act in ACTS if act in acts} | {act: left[i % len(left)] for i, act in enumerate(others)}


def facets(groups: Sequence[Setting]) -> dict[str, list[Line]]:
    """Panel title → its lines: activations side by side where there are several, else everything in one panel."""
    acts = sorted({group.act for group in groups}, key=act_order)
    look = looks(acts)
    if len(acts) > 1:
        titles = dict.fromkeys(group.rest for group in groups)
        return {
            title: [Line(group.act, group, look[group.act]) for group in groups if group.rest == title]
            for title in titles
        }
    if len(groups) == 1:
        return {groups[0].label: [Line(acts[0], groups[0], look[acts[0]])]}
    cycled = list(product(("-", "--", "-.", ":"), zip(COLOURS, MARKERS, strict=True)))
    chosen = (cycled[i % len(cycled)] for i in range(len(groups)))
    return {
        acts[0]: [
            Line(group.rest, group, {"color": colour, "marker": marker, "linestyle": dashes})
            for group, (dashes, (colour, marker)) in zip(groups, chosen, strict=True)
        ]
    }


def roomy(by_panel: dict[str, list[Line]]) -> tuple[dict[str, list[Line]], str]:
    """The panels that a figure has room for, and a sentence about the others, if any."""
    kept = dict(list(by_panel.items())[:MOST_PANELS])
    return kept, f"The first {len(kept)} of {len(by_panel)} panels are shown. " if len(kept) < len(by_panel) else ""


def legend(figure: Figure, panels: Iterable[list[Line]], *more: Line2D) -> None:
    """One legend for all panels, right of them."""
    named = {line.name: Line2D([], [], label=line.name, **line.look) for lines in panels for line in lines}
    figure.legend(handles=[*named.values(), *more], loc="outside right upper")


def panels(
    count: int, size: tuple[float, float], xlabel: str, ylabel: str, columns: int | None = None, **share: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of panels, each of `size` inches; labels on the outer ones only."""
    columns = columns or (2 if count == 4 else min(count, 3 if count <= 9 else 4))
    rows = -(-count // columns)
    figure = Figure(figsize=(max(columns * size[0], 5), rows * size[1] + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **share).flat)
    for index, each in enumerate(axes[:count]):
        if index + columns >= count:
            each.set_xlabel(xlabel)
            each.tick_params(labelbottom=True)
        if index % columns == 0:
            each.set_ylabel(ylabel)
    for each in axes[count:]:
        each.remove()
    return figure, axes[:count]


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only: epochs, layers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis; set once, because each time it is set anew for all panels that share the axis."""
    if axes.get_yscale() != "log":
        axes.set_yscale("log")


def plain_numbers(axes: Axes) -> None:
    """A logarithmic y axis whose labels are plain numbers, because the range is small."""
    logarithmic(axes)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def plot_log(axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, **look: Any) -> None:
    """A line on a logarithmic y axis; where y is 0, open triangles on the axis' lower edge instead, of many a few."""
    positions, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    logarithmic(axes)
    axes.plot(positions, np.where(values > 0, values, np.nan), **look)
    if (zero := values == 0).any():
        already = sum(line.get_gid() == "zero" for line in axes.lines)
        every = max(1, int(zero.sum()) // 6)  # and shifted from line to line, so that colours don't cover each other
        axes.plot(
            positions[zero],
            np.zeros(int(zero.sum())),
            linestyle="none",
            markevery=(already * every // 5 % every, every),
            marker="v",
            markersize=7,
            markerfacecolor="white",
            markeredgecolor=look["color"],
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=3,
            gid="zero",
        )


def has_zeros(figure: Figure) -> bool:
    """Whether `plot_log` marked a zero anywhere."""
    return any(line.get_gid() == "zero" for axes in figure.axes for line in axes.lines)


ZEROS = (
    "Open triangles on the lower edge: exactly 0 (no gradient, or underflow), off a logarithmic axis; of many, a few. "
)


def layer_colours(layers: int) -> list[tuple[float, float, float, float]]:
    """From dark (nearest the input) to light (the output layer)."""
    return [FROM_INPUT_TO_OUTPUT(0.9 * i / max(layers - 1, 1)) for i in range(layers)]


def layer_scale(figure: Figure, axes: Sequence[Axes]) -> None:
    """The colour bar that goes with `layer_colours`."""
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1 / 0.9), FROM_INPUT_TO_OUTPUT)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.6, aspect=25, ticks=[0, 1])
    bar.ax.set_ylim(0, 1)
    bar.ax.set_yticklabels(["first\nlayer", "output\nlayer"])
    bar.outline.set_visible(False)
