"""What the figures look like: colours, panels, axes, and the three files of each."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from actsweep.report.captions import room
from actsweep.results import ownership
from actsweep.results.files import listed_at, warn
from actsweep.statistics.setting import ACTS, Setting, act_order

Look = dict[str, Any]
# Okabe & Ito: distinguishable for colour-blind readers too; the first six belong to the six main activations.
COLOURS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")
MOST_PANELS = 12
DPI = 150  # of PNGs
LONGEST = 45  # characters of a line of a row's label, or of a legend's
SHORT = 20  # characters of a legend's lines that stand beside panels of any size
NO_GLYPH = r"Glyph \d+ .* missing from"  # how matplotlib warns
CHARACTERS = 11  # of a title, an inch
ZERO: Look = {"linestyle": "none", "marker": "v", "markersize": 7, "markerfacecolor": "white", "clip_on": False}
ZERO |= {"zorder": 3, "gid": "zero"}
EDITIONS = {"PyTorch edition, seed 42": "s", "JAX edition": "D"}  # of UvA tutorial 3, and their marks
CHANCE: Look = {"color": "#777777", "linestyle": ":", "linewidth": 1}
FROM_INPUT_TO_OUTPUT: Colormap = mpl.colormaps["viridis"]
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.hashsalt": "actsweep",
}


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


def literal(text: str) -> str:
    """So that matplotlib draws what stands there, and reads no formula between two dollars."""
    return text.replace("$", r"\$")


def wrapped(title: str, inches: float) -> str:
    """A title, to be drawn as it stands there, in lines that are no longer than a panel so wide."""
    return literal("\n".join(fill(line, max(12, int(CHARACTERS * inches))) for line in title.splitlines()))


def save(drawing: Drawing, stem: Path) -> list[Path]:
    """Write STEM.svg, STEM.png and STEM.csv; the same runs give the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg, png, csv = (stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png", "csv"))
    for path in (svg, png, csv):
        ownership.record(*listed_at(path))
    caption = fill(drawing.caption, int(drawing.figure.get_figwidth() * 17.5))  # characters of this size fill a line
    drawing.figure.supxlabel(literal(caption), fontsize=7.5, x=0.01, ha="left", color="#444444")
    with _glyphs_told_once():
        if engine := drawing.figure.get_layout_engine():
            engine.execute(drawing.figure)
        drawing.figure.set_layout_engine(None)  # found once, instead of once per file
        drawing.figure.savefig(svg, metadata={"Date": None})
        drawing.figure.savefig(png, dpi=DPI)
    drawing.table.to_csv(csv, index=False)
    return [svg, png, csv]


@contextmanager
def _glyphs_told_once() -> Iterator[None]:
    """One line about letters that the font lacks, instead of matplotlib's for each letter and file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", NO_GLYPH)
        yield
    for each in caught:
        if re.match(NO_GLYPH, str(each.message)):
            warn("figures show boxes for letters that matplotlib's font lacks; tables and pages have them")
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def _look(colour: int, marker: int, dashes: str) -> Look:
    return {"color": COLOURS[colour % len(COLOURS)], "marker": MARKERS[marker % len(MARKERS)], "linestyle": dashes}


def looks(acts: Iterable[str]) -> dict[str, Look]:
    """Activation → colour, marker, line. The six main ones always look the same; others take what is left, by name."""
    acts = set(acts)
    left = [_look(6 + shift, 3 + shift, dashes) for dashes, shift in product(("--", "-.", ":"), range(len(MARKERS)))]
    main = {act: _look(i, i, "-") for i, act in enumerate(ACTS) if act in acts}
    return main | {act: left[i % len(left)] for i, act in enumerate(sorted(acts - set(ACTS)))}


def facets(groups: Sequence[Setting]) -> dict[str, list[Line]]:
    """Panel title → its lines: activations side by side where there are several, else everything in one panel."""
    acts = sorted({group.act for group in groups}, key=act_order)
    look = looks(acts)
    if len(acts) > 1:
        by_panel: dict[str, list[Line]] = {}
        for group in groups:
            by_panel.setdefault(group.rest, []).append(Line(group.act, group, look[group.act]))
        return by_panel
    if len(groups) == 1:
        return {groups[0].label: [Line(acts[0], groups[0], look[acts[0]])]}
    cycled = cycle(_look(i, i, dashes) for dashes, i in product(("-", "--", "-.", ":"), range(len(COLOURS))))
    return {acts[0]: [Line(group.rest, group, next(cycled)) for group in groups]}


def roomy(groups: Sequence[Setting]) -> tuple[dict[str, list[Line]], str]:
    """The facets that a figure has room for, and a sentence about the others, if any."""
    by_panel = facets(groups)
    kept = dict(list(by_panel.items())[:MOST_PANELS])
    return kept, room(len(kept), len(by_panel), "panels")


def legend(figure: Figure, looks: Mapping[str, Look], *more: Artist) -> None:
    """Name → look, in one legend for all panels, right of them; the figure grows by what would leave these no room."""
    names = [fill(name, LONGEST) for name in looks]
    longest = max((len(line) for name in names for line in name.splitlines()), default=0)
    lines = sum(len(name.splitlines()) for name in names) + len(more)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 0.07 * max(0, longest - SHORT), max(height, 0.19 * lines + 1.2))
    named = [Line2D([], [], label=literal(name), **look) for name, look in zip(names, looks.values(), strict=True)]
    figure.legend(handles=[*named, *more], loc="outside right upper")


def legend_of_lines(figure: Figure, panels: Iterable[list[Line]], *more: Artist, **look: Any) -> None:
    """The legend of facets; `look` overrides that of their lines."""
    legend(figure, {line.name: line.look | look for lines in panels for line in lines}, *more)


def open_mark(label: str, marker: str, colour: str = "#444444", fill: str = "white") -> Line2D:
    """How a legend shows what is published."""
    return Line2D([], [], marker=marker, color=colour, markerfacecolor=fill, linestyle="none", label=label)


def panels(
    titles: Sequence[str], size: tuple[float, float], xlabel: str, ylabel: str, columns: int | None = None, **share: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of panels, each of `size` inches; labels on the outer ones only."""
    count = len(titles)
    columns = columns or (2 if count == 4 else min(count, 3 if count <= 9 else 4))
    rows = -(-count // columns)
    figure = Figure(figsize=(max(columns * size[0], 5), rows * size[1] + 0.5), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **share).flat)
    for index, (each, title) in enumerate(zip(axes, titles, strict=False)):
        each.set_title(wrapped(title, size[0]))
        if index + columns >= count:
            each.set_xlabel(xlabel)
            each.tick_params(labelbottom=True)
        if index % columns == 0:
            each.set_ylabel(ylabel)
    for each in axes[count:]:
        each.remove()
    return figure, axes[:count]


def whole_ticks(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only: epochs, layers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def depth_axis(axes: Axes, found: Iterable[int]) -> None:
    """A logarithmic x axis with these depths as its ticks; where 0 is among them, linear up to 1."""
    ticks = sorted(set(found))
    if 0 in ticks:
        axes.set_xscale("symlog", base=2, linthresh=1)
    else:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(depth) for depth in ticks])


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
        where: Look = {"markevery": (already * every // 5 % every, every), "transform": axes.get_xaxis_transform()}
        axes.plot(positions[zero], values[zero], markeredgecolor=look["color"], **where, **ZERO)


def zeros(figure: Figure, what: str = "exactly 0 (no gradient, or underflow)") -> str:
    """What to say if `plot_log` marked a zero anywhere."""
    marked = any(line.get_gid() == "zero" for axes in figure.axes for line in axes.lines)
    return f"Open triangles on the lower edge: {what}, off a logarithmic axis; of many, a few. " if marked else ""


def layers_in_colours(found: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, Any]]:
    """The rows of each layer, and its colour: from dark (nearest the input) to light (the output layer)."""
    steps = max(found["layer"].nunique() - 1, 1)
    for place, (_, rows) in enumerate(found.groupby("layer")):
        yield rows, FROM_INPUT_TO_OUTPUT(0.9 * place / steps)


def layer_scale(figure: Figure, axes: Sequence[Axes]) -> None:
    """The colour bar that goes with `layers_in_colours`."""
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1 / 0.9), FROM_INPUT_TO_OUTPUT)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.6, aspect=25, ticks=[0, 1])
    bar.ax.set_ylim(0, 1)
    bar.ax.set_yticklabels(["first\nlayer", "output\nlayer"])
    bar.outline.set_visible(False)


def rows(groups: Sequence[Setting], xlabel: str) -> tuple[Figure, Axes]:
    """An empty figure whose y axis names the settings from top to bottom, and how many of their runs broke."""
    labels = [fill(group.label_with_broken, LONGEST) for group in groups]
    longest = max(len(line) for label in labels for line in label.splitlines())
    lines = sum(max(1, 0.75 * len(label.splitlines())) for label in labels)
    figure = Figure(figsize=(6 + longest * 0.07, 0.3 * lines + 1.6), layout="constrained")
    axes = figure.subplots()
    name_rows(axes, labels)
    axes.set_xlabel(xlabel)
    return figure, axes


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """A y axis of named rows, from top to bottom."""
    axes.set_yticks(range(len(labels)), list(map(literal, labels)))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def spread(row: float, count: int, reach: float = 0.15) -> list[float]:
    """Heights of so many points in a row, so that equal ones stay visible."""
    return [row + offset for offset in (np.linspace(-reach, reach, count) if count > 1 else [0.0])]


def beside(axes: Axes, row: int, text: str) -> None:
    """Words at the right end of a row."""
    axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False)
