"""What enters and what leaves the activation functions of a trained network, layer by layer?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from actsweep.report import histograms
from actsweep.report.drawing import Drawing
from actsweep.report.frames import Runs


def _panel(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    axes.set_yscale("log")
    histograms.bars(axes, bins[bins["quantity"] == "pre_activation"], color="#bbbbbb", fill=True)
    if len(post := bins[bins["quantity"] == "post_activation"]):
        histograms.bars(axes, post, edgecolor=colour, fill=False, linewidth=1.3)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.tick_params(axis="x", labelsize=7)
    axes.minorticks_off()


def draw(runs: Runs) -> Drawing:
    caption = (
        "What enters the activation function (z, grey) and what leaves it (φ(z), coloured outline), over units and "
        "probe examples, at the tested epoch; the output layer has no activation function, z are its outputs. Density "
        "is logarithmic, so that φ(z) = 0 of many units doesn't hide the rest; each panel has its own axes. "
    )
    shown = histograms.densities(runs, ["pre_activation", "post_activation"], tested=True)
    return histograms.grid(runs, *shown, _panel, "z, φ(z) (1)", "log density", caption)
