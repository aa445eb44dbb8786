"""How large are the gradients of each layer's weights before training starts, and do they vanish towards the input?"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.figures import _histograms as histograms
from actsweep.report.figures._drawing import Drawing
from actsweep.report.figures._runs import loss_unit, sample


def _panel(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    histograms.bars(axes, bins, color=colour, fill=True)
    widest = max(abs(bins["low"].min()), abs(bins["high"].max()))
    if widest > 0:
        tick = float(f"{0.7 * widest:.0e}")
        axes.set_xlim(-1.08 * widest, 1.08 * widest)
        axes.set_xticks([-tick, 0, tick], [f"−{tick:.0e}", "0", f"{tick:.0e}"], fontsize=7)
    else:
        axes.set_xticks([0], ["0"], fontsize=7)


def draw(runs: list[dict[str, Any]]) -> Drawing:
    groups, found = histograms.of_lowest_seed(runs, ["weight_gradient"], tested=False)
    unit = loss_unit(runs)
    figure = histograms.grid(groups, found, _panel, f"∂L/∂W ({unit})", "density")
    caption = (
        f"Distribution of ∂L/∂W over each layer's weights in the untrained network, in {unit} per unit weight, on the "
        "probe (the first training examples). Each panel has its own axes, because ranges span decades: compare the "
        "numbers below them; every area is 1. "
        + histograms.room(groups, found)
        + sample(runs, groups, lowest_seed=True)
    )
    return Drawing(figure, histograms.values_of(groups, found), caption)
