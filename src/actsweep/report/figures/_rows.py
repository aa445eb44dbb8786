"""Figures with one row per setting, one point per seed and the row's numbers in words beside it."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.statistics.setting import Setting

LONGEST = 45  # characters of a label's line


def rows(groups: Sequence[Setting], xlabel: str) -> tuple[Figure, Axes]:
    """An empty figure whose y axis names the settings from top to bottom, and how many of their runs broke."""
    labels = [fill(group.label_with_broken, LONGEST) for group in groups]
    longest = max(len(line) for label in labels for line in label.splitlines())
    lines = sum(max(1, 0.75 * len(label.splitlines())) for label in labels)
    figure = Figure(figsize=(6 + longest * 0.07, 0.3 * lines + 1.6), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(groups)), labels)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel(xlabel)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def spread(row: int, count: int) -> list[float]:
    """Heights of so many points in a row, so that equal ones stay visible."""
    return [row + offset for offset in (np.linspace(-0.15, 0.15, count) if count > 1 else [0.0])]


def beside(axes: Axes, row: int, text: str) -> None:
    """Words at the right end of a row."""
    axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False)
