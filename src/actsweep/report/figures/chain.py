"""What does a chain of single units do to one input, and how much of the gradient reaches its first weight?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, layer_scale, layers_in_colours, literal, plot_log, zeros
from actsweep.report.frames import Runs, keep, layer_number, loss_unit, of_group, table, with_table
from actsweep.statistics.setting import Setting, act_order

NEEDS = "no completed run has a single input, of which these are functions: use data=line or data=sine"
QUANTITIES = ("activation", "grad_norm")
COLUMNS = ["act", "setting", "seed", "layer", "example", "x", "label", *QUANTITIES]


def _values(group: Setting) -> pd.DataFrame:
    found = of_group(group, table(group.first, "examples"))
    return found.assign(layer=found["layer"].map(layer_number)).sort_values(["layer", "x"])[COLUMNS]


def _panel(axes: Axes, found: pd.DataFrame, quantity: str) -> None:
    for line, colour in layers_in_colours(found):
        if quantity == "activation":
            axes.plot(line["x"], line["activation"], color=colour, linewidth=1.2)
        else:
            plot_log(axes, line["x"], line["grad_norm"], color=colour, linewidth=1.2)


def draw(runs: Runs) -> Drawing:
    groups = keep(with_table(runs, "examples"), lambda run: bool(table(run, "examples")["x"].notna().any()), NEEDS)
    chains = all(set(group.first["hidden_sizes"]) <= {1} for group in groups)
    regress = any(group.first["config"].get("loss") == "mse" for group in groups)
    last = "the output's sigmoid" if regress else "the prediction"
    networks = "Chains of one unit per layer" if chains else "Networks of one input"
    mean = "" if chains else ", the mean over its units"
    gradient = "|∂L/∂w|" if chains else "‖∂L/∂W‖₂"
    acts = sorted({group.act for group in groups}, key=act_order)
    rests = list(dict.fromkeys(group.rest for group in groups))
    size = (max(2.4 * len(acts), 4) + 1.2, 3.4 * len(rests) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2 * len(rests), len(acts), squeeze=False, sharex=True)
    tables = []
    for group in groups:
        tables.append(_values(group))
        row, column = 2 * rests.index(group.rest), acts.index(group.act)
        axes[row, column].set_title(literal(group.label))
        for half, quantity in enumerate(QUANTITIES):
            _panel(axes[row + half, column], tables[-1], quantity)
    for upper, lower in zip(axes[::2], axes[1::2], strict=True):
        upper[0].set_ylabel("activation (1)")
        lower[0].set_ylabel(f"{gradient}\n({loss_unit(runs)} per unit weight)")
        ends = [each.get_ylim() for each in lower if each.lines]
        for each in lower:
            each.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    for each in axes[-1]:
        each.set_xlabel("input x (1)")
    for each in axes.flat:
        if not each.lines:
            each.set_axis_off()
    layer_scale(figure, list(axes.flat))
    values = pd.concat(tables, ignore_index=True)
    caption = (
        f"{networks}, {values['example'].nunique()} inputs, before training. Upper: each layer's activation{mean}, "
        f"{last} in the last. Lower: {gradient} of each layer's weight{'' if chains else 's'} for that input alone, "
        "of its loss L. " + zeros(figure) + sample(runs, groups, lowest_seed=True)
    )
    return Drawing(figure, values, caption)
