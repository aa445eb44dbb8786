"""How do the gradients of each layer grow or vanish while the network trains?"""

from typing import Any

import pandas as pd

from actsweep.report.figures._drawing import ZEROS, Drawing, has_zeros, layer_colours, layer_scale, panels, plot_log
from actsweep.report.figures._numbers import thin
from actsweep.report.figures._runs import layer_number, loss_unit, sample, table, with_table
from actsweep.results.reading import Run

MEANING = {
    "grad_mean_abs": "mean |∂L/∂W|",
    "grad_magnitude": "Σ |∂L/∂W| / (fan_in + fan_out)",  # what the CS231n notebook draws
}
LONG = 2000


def _values(run: Run, quantity: str) -> pd.DataFrame:
    """Step, layer and value, thinned."""
    steps = table(run, "steps")
    steps = thin(steps, logarithmic=len(steps) > LONG)
    layers = [column for column in steps if str(column).startswith(f"{quantity}/")]
    found = steps.melt("step", layers, "layer", quantity)
    return found.assign(layer=[layer_number(name) for name in found["layer"]])


def draw(runs: list[dict[str, Any]]) -> Drawing:
    groups = with_table(runs, "steps")
    spiral = all(group.first["data"].startswith("spiral") for group in groups)
    quantity = "grad_magnitude" if spiral else "grad_mean_abs"
    unit = loss_unit(runs)
    figure, axes = panels(
        len(groups), (3.1, 2.4), "step", f"{MEANING[quantity]}\n({unit} per unit weight)", sharey=True
    )
    tables = []
    for each, group in zip(axes, groups, strict=True):
        found = _values(group.first, quantity)
        colours = layer_colours(found["layer"].nunique())
        for colour, (_, line) in zip(colours, found.groupby("layer"), strict=True):
            plot_log(each, line["step"] + 1, line[quantity], color=colour, linewidth=1)
        if found["step"].max() >= LONG:
            each.set_xscale("log")
        each.set_title(group.label)
        tables.append(found.assign(act=group.act, setting=group.label, seed=group.first["seed"]))
    layer_scale(figure, axes)
    caption = (
        f"Of each layer's weights, on the batch of each step: {MEANING[quantity]}, before the L2 penalty's part, in "
        f"{unit} per unit weight; steps are counted from 1. At most 1,000 steps of a run are drawn. "
        + (ZEROS if has_zeros(figure) else "")
        + sample(runs, groups, lowest_seed=True)
    )
    columns = ["act", "setting", "seed", "step", "layer", quantity]
    return Drawing(figure, pd.concat(tables, ignore_index=True)[columns], caption)
