"""How do the gradients of each layer grow or vanish while the network trains?"""

import pandas as pd

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, layer_scale, layers_in_colours, panels, plot_log, zeros
from actsweep.report.frames import Runs, layer_number, loss_unit, of_group, table, thin, with_table
from actsweep.results.reading import Run

MEANING = {
    "grad_mean_abs": "mean |∂L/∂W|",
    "grad_magnitude": "Σ |∂L/∂W| / (fan_in + fan_out)",  # what the CS231n notebook draws
}
LONG = 2000


def _values(run: Run, quantity: str) -> pd.DataFrame:
    steps = table(run, "steps")
    steps = thin(steps, logarithmic=len(steps) > LONG)
    layers = [column for column in steps if str(column).startswith(f"{quantity}/")]
    found = steps.melt("step", layers, "layer", quantity)
    return found.assign(layer=[layer_number(name) for name in found["layer"]])


def draw(runs: Runs) -> Drawing:
    groups = with_table(runs, "steps")
    spiral = all(group.first["data"].startswith("spiral") for group in groups)
    quantity = "grad_magnitude" if spiral else "grad_mean_abs"
    unit = loss_unit(runs)
    ylabel = f"{MEANING[quantity]}\n({unit} per unit weight)"
    figure, axes = panels([group.label for group in groups], (3.1, 2.4), "step", ylabel, sharey=True)
    tables = []
    for each, group in zip(axes, groups, strict=True):
        found = _values(group.first, quantity)
        for line, colour in layers_in_colours(found):
            plot_log(each, line["step"] + 1, line[quantity], color=colour, linewidth=1)
        if found["step"].max() >= LONG:
            each.set_xscale("log")
        tables.append(of_group(group, found))
    layer_scale(figure, axes)
    caption = (
        f"Of each layer's weights, on the batch of each step: {MEANING[quantity]}, before the L2 penalty's part, in "
        f"{unit} per unit weight; steps are counted from 1. At most 1,000 steps of a run are drawn. "
        f"{zeros(figure)}{sample(runs, groups, lowest_seed=True)}"
    )
    columns = ["act", "setting", "seed", "step", "layer", quantity]
    return Drawing(figure, pd.concat(tables, ignore_index=True)[columns], caption)
