"""How large are the gradients of each layer's weights before training starts, and do they vanish towards the input?"""

import pandas as pd
from matplotlib.axes import Axes

from actsweep.report import histograms
from actsweep.report.drawing import Drawing
from actsweep.report.frames import Runs, loss_unit


def _panel(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    histograms.bars(axes, bins, color=colour, fill=True)
    widest = max(abs(bins["low"].min()), abs(bins["high"].max()))
    if widest > 0:
        tick = float(f"{0.7 * widest:.0e}")
        axes.set_xlim(-1.08 * widest, 1.08 * widest)
        axes.set_xticks([-tick, 0, tick], [f"−{tick:.0e}", "0", f"{tick:.0e}"], fontsize=7)
    else:
        axes.set_xticks([0], ["0"], fontsize=7)


def draw(runs: Runs) -> Drawing:
    unit = loss_unit(runs)
    caption = (
        f"Distribution of ∂L/∂W over each layer's weights in the untrained network, in {unit} per unit weight, on the "
        "probe (the first training examples). Each panel has its own axes, because ranges span decades: compare the "
        "numbers below them; every area is 1. "
    )
    shown = histograms.densities(runs, ["weight_gradient"], tested=False)
    return histograms.grid(runs, *shown, _panel, f"∂L/∂W ({unit})", "density", caption)
