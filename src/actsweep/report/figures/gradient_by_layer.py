"""Do gradients vanish or explode from the output layer to the input, untrained and at the end?"""

import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, Line, legend_of_lines, panels, plot_log, roomy, whole_ticks, wrapped, zeros
from actsweep.report.frames import WHEN, Runs, at, keep, loss_unit, norms
from actsweep.statistics.setting import settings_of

SIZE, SHORT = (3.4, 2.7), 30  # inches of a panel; characters of a title that leaves room beside it


def _panel(axes: Axes, lines: list[Line], tables: list[pd.DataFrame]) -> None:
    for line, found in zip(lines, tables, strict=True):
        if len(found):
            plot_log(axes, found["layer"], found["grad_norm"], **line.look)
            band = found.loc[found["lowest"] > 0, ["layer", "lowest", "highest"]].to_numpy().T
            axes.fill_between(*band, color=line.look["color"], alpha=0.15, lw=0)
    deepest = max((found["layer"].max() for found in tables if len(found)), default=1)  # untrained ones have no end
    axes.set_xlim(0.5, deepest + 0.5)
    whole_ticks(axes)


def draw(runs: Runs) -> Drawing:
    missing = "no completed run has gradient norms: switch on diagnostics=[gradients]"
    groups = keep(settings_of(runs), lambda run: any(at(when, run, "grad_norm") for when in WHEN), missing)
    whens = [when for when in WHEN if any(at(when, run, "grad_norm") for group in groups for run in group.completed)]
    by_panel, left_out = roomy(groups)
    cells = [(title, when) for title in by_panel for when in whens]
    unit = loss_unit(runs)
    ylabel = f"‖∂L/∂W‖₂ ({unit} per unit weight)"
    figure, axes = panels([""] * len(cells), SIZE, "layer, from input to output", ylabel, len(whens), sharey=True)
    tables: list[pd.DataFrame] = []
    for each, (title, when) in zip(axes, cells, strict=True):
        found = [norms(line.setting, when) for line in by_panel[title]]
        _panel(each, by_panel[title], found)
        each.set_title(when, loc="right", color="#444444")
        if when == whens[0]:
            below = "\n" * (len(title) > SHORT)  # what is said at the right
            each.set_title(wrapped(title, SIZE[0]) + below, loc="left")  # of the whole row
        tables += filter(len, found)
    legend_of_lines(figure, by_panel.values())
    caption = (
        f"Gradient norm ‖∂L/∂W‖₂ of each layer on the probe, in {unit} per unit weight, untrained and at the "
        "tested epoch; the last layer is the output layer. Lines: geometric mean over seeds; bands: lowest to "
        "highest seed. " + zeros(figure) + left_out + sample(runs, groups)
    )
    return Drawing(figure, pd.concat(tables, ignore_index=True), caption)
