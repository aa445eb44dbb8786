"""What does a chain of single units do to one input, and how much of the gradient reaches its first weight?"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.figures._drawing import ZEROS, Drawing, has_zeros, layer_colours, layer_scale, plot_log
from actsweep.report.figures._runs import layer_number, loss_unit, sample, table, with_table
from actsweep.statistics.setting import Setting, act_order

QUANTITIES = ("activation", "grad_norm")


def _values(group: Setting) -> pd.DataFrame:
    found = table(group.first, "examples")
    found = found.assign(layer=[layer_number(name) for name in found["layer"]], act=group.act, setting=group.label)
    columns = ["act", "setting", "seed", "layer", "example", "x", "label", "activation", "grad_norm"]
    return found.assign(seed=group.first["seed"]).sort_values(["layer", "x"])[columns]


def _panel(axes: Axes, found: pd.DataFrame, quantity: str) -> None:
    colours = layer_colours(found["layer"].nunique())
    for colour, (_, line) in zip(colours, found.groupby("layer"), strict=True):
        if quantity == "activation":
            axes.plot(line["x"], line["activation"], color=colour, linewidth=1.2)
        else:
            plot_log(axes, line["x"], line["grad_norm"], color=colour, linewidth=1.2)


def draw(runs: list[dict[str, Any]]) -> Drawing:
    groups = with_table(runs, "examples")
    acts = sorted({group.act for group in groups}, key=act_order)
    rests = list(dict.fromkeys(group.rest for group in groups))
    unit = loss_unit(runs)
    size = (max(2.4 * len(acts), 4) + 1.2, 3.4 * len(rests) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2 * len(rests), len(acts), squeeze=False, sharex=True)
    tables = []
    for group in groups:
        tables.append(_values(group))
        for half, quantity in enumerate(QUANTITIES):
            row, column = 2 * rests.index(group.rest) + half, acts.index(group.act)
            _panel(axes[row, column], tables[-1], quantity)
            if half == 0:
                axes[row, column].set_title(group.label)
    for row, quantity in enumerate([*QUANTITIES] * len(rests)):
        axes[row, 0].set_ylabel("activation (1)" if quantity == "activation" else f"|∂L/∂w|\n({unit} per unit weight)")
    for each in axes[-1]:
        each.set_xlabel("input x (1)")
    for row in axes[1::2]:
        ends = [each.get_ylim() for each in row if each.lines]
        for each in row:
            each.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    for each in axes.flat:
        if not each.lines:
            each.set_axis_off()
    layer_scale(figure, list(axes.flat))
    values = pd.concat(tables, ignore_index=True)
    examples = values["example"].nunique()
    caption = (
        f"Chains of one unit per layer, {examples} inputs, before training. Upper: each layer's activation, the "
        "prediction in the last. Lower: |∂L/∂w| of each layer's weight for that input alone, of its loss L. "
        + (ZEROS if has_zeros(figure) else "")
        + sample(runs, groups, lowest_seed=True)
    )
    return Drawing(figure, values, caption)
