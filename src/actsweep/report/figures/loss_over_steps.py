"""How does the training loss fall, step by step, and as the CS231n notebook publishes it?"""

import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import (
    Drawing,
    Line,
    legend_of_lines,
    open_mark,
    panels,
    plain_numbers,
    plot_log,
    roomy,
    zeros,
)
from actsweep.report.frames import Runs, loss_unit, table, thin, trains_as, with_table
from actsweep.results.reading import Run

AT = (0, 1000, 2000, 3000, 4000, 5000, 49000)
PUBLISHED = {  # vanishing-gradients notebook of Stanford's CS231n: loss printed at these steps
    "sigmoid": (1.156405, 1.100737, 0.999698, 0.855495, 0.819427, 0.814825, 0.433092),
    "relu": (1.116188, 0.275047, 0.152297, 0.136370, 0.130853, 0.127878, 0.114522),
}
SETUP = {"data": "spiral", "hidden_sizes": [50, 50], "init": "notebook", "norm": "none", "optim": "sgd"}
SPIRAL = {"seed": 0, "points": 100, "classes": 3, "noise": 0.2}
TRAINING = {"optim.lr": 0.1, "optim.weight_decay": 0.001, "data.batch_size": "all", "data.val_size": 0} | {
    f"data.source.{key}": value for key, value in SPIRAL.items()
}
SOURCE = "CS231n notebook"


def _is_published(run: Run) -> bool:
    return run["act"] in PUBLISHED and run.items() >= SETUP.items() and trains_as(run, TRAINING)


def _values(line: Line) -> pd.DataFrame:
    """Source (a run's seed or the notebook), step and loss with penalty."""
    tables = []
    for run in line.setting.completed:
        steps = thin(table(run, "steps"))
        total = steps["loss"] + steps["penalty"]
        tables.append(pd.DataFrame({"source": f"seed {run['seed']}", "step": steps["step"], "loss": total}))
    if any(_is_published(run) for run in line.setting.completed):
        last = max(table["step"].max() for table in tables)
        points = pd.DataFrame({"source": SOURCE, "step": AT, "loss": PUBLISHED[line.setting.act]})
        tables.append(points[points["step"] <= last])
    return pd.concat(tables, ignore_index=True).assign(act=line.setting.act, setting=line.setting.label)


def _panel(axes: Axes, line: Line, found: pd.DataFrame) -> None:
    colour = line.look["color"]
    for source, each in found.groupby("source"):
        if source == SOURCE:
            axes.plot(each["step"], each["loss"], "D", color=colour, markerfacecolor="white", markersize=6, zorder=4)
        else:
            look = line.look | {"marker": None, "linewidth": 1}
            plot_log(axes, each["step"], each["loss"], **look)


def draw(runs: Runs) -> Drawing:
    groups = with_table(runs, "steps")
    by_panel, left_out = roomy(groups)
    unit = loss_unit(runs)
    figure, axes = panels([*by_panel], (4, 3), "step", f"loss + L2 penalty ({unit})", sharey=True)
    tables = []
    for each, lines in zip(axes, by_panel.values(), strict=True):
        for line in lines:
            tables.append(_values(line))
            _panel(each, line, tables[-1])
        plain_numbers(each)
    values = pd.concat(tables, ignore_index=True)[["act", "setting", "source", "step", "loss"]]
    published = (values["source"] == SOURCE).any()
    legend_of_lines(figure, by_panel.values(), *([open_mark(SOURCE, "D")] if published else []), marker=None)
    marked = "Open diamonds: the losses that the notebook prints. " if published else ""
    marked += zeros(figure, "a loss of exactly 0")
    caption = (
        f"Training loss of each step's batch before the step, with the L2 penalty that training adds, in {unit}; one "
        f"line per run, at most 1,000 steps of it, evenly spaced. {marked}{left_out}{sample(runs, groups)}"
    )
    return Drawing(figure, values, caption)
