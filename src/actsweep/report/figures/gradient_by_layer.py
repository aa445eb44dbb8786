"""Do gradients vanish or explode from the output layer to the input, untrained and at the end?"""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.figures._drawing import (
    ZEROS,
    Drawing,
    Line,
    facets,
    has_zeros,
    legend,
    logarithmic,
    panels,
    plot_log,
    roomy,
    whole_numbers,
)
from actsweep.report.figures._numbers import geometric_mean
from actsweep.report.figures._runs import keep, loss_unit, sample
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, settings_of

WHEN = ("untrained", "trained")


def _norms(run: Run, when: str) -> list[float | None] | None:
    if when == "trained":
        return run.get("grad_norm") if run["epochs"] else None
    return (run.get("initial") or {}).get("grad_norm")


def values_of(group: Setting, when: str) -> pd.DataFrame:
    """One row per layer: geometric mean, minimum and maximum over the n seeds with a finite norm."""
    rows = []
    norms = [found for run in group.completed if (found := _norms(run, when))]
    for layer, values in enumerate(zip(*norms, strict=True), start=1):
        finite = [value for value in values if value is not None and math.isfinite(value)]
        if finite:
            summary = (len(finite), geometric_mean(finite), min(finite), max(finite))
            rows.append((group.act, group.label, when, layer, *summary))
    return pd.DataFrame(rows, columns=["act", "setting", "when", "layer", "n", "grad_norm", "lowest", "highest"])


def _panel(axes: Axes, lines: list[Line], tables: list[pd.DataFrame]) -> None:
    logarithmic(axes)
    for line, found in zip(lines, tables, strict=True):
        if len(found):
            plot_log(axes, found["layer"], found["grad_norm"], **line.look)
            positive = found[found["lowest"] > 0]
            axes.fill_between(
                positive["layer"], positive["lowest"], positive["highest"], color=line.look["color"], alpha=0.15, lw=0
            )
    deepest = max(found["layer"].max() for found in tables if len(found))
    axes.set_xlim(0.5, deepest + 0.5)
    whole_numbers(axes)


def draw(runs: list[dict[str, Any]]) -> Drawing:
    missing = "no completed run has gradient norms: switch on diagnostics=[gradients]"
    groups = keep(settings_of(runs), lambda run: any(_norms(run, when) for when in WHEN), missing)
    whens = [when for when in WHEN if any(_norms(run, when) for group in groups for run in group.completed)]
    by_panel, left_out = roomy(facets(groups))
    unit = loss_unit(runs)
    figure, axes = panels(
        len(by_panel) * len(whens),
        (3.4, 2.7),
        "layer, from input to output",
        f"‖∂L/∂W‖₂ ({unit} per unit weight)",
        len(whens),
        sharey=True,
    )
    tables = []
    cells = [(title, lines, when) for title, lines in by_panel.items() for when in whens]
    for each, (title, lines, when) in zip(axes, cells, strict=True):
        found = [values_of(line.setting, when) for line in lines]
        _panel(each, lines, found)
        each.set_title(when, loc="right", color="#444444")
        if when == whens[0]:
            each.set_title(title, loc="left")  # of the whole row
        tables += found
    legend(figure, by_panel.values())
    caption = (
        f"Gradient norm ‖∂L/∂W‖₂ of each layer on the probe, in {unit} per unit weight, untrained and at the "
        "tested epoch; the last layer is the output layer. Lines: geometric mean over seeds; bands: lowest to "
        "highest seed. " + (ZEROS if has_zeros(figure) else "") + left_out + sample(runs, groups)
    )
    return Drawing(figure, pd.concat(tables, ignore_index=True), caption)
