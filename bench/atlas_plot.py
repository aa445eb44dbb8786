"""Draws the atlas in one picture: `python -m bench.atlas_plot bench/results/atlas.png`, from docs/atlas.csv.

Left: every different function at torch's initialisation, in the order of its mean, with 95 % intervals, and what it
reaches at the edge of chaos. Right: accuracy against the depth scale that theory predicts.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from actsweep.places import REPOSITORY
from actsweep.report.atlas.standing import Standings
from actsweep.report.drawing import COLOURS, STYLE
from actsweep.statistics.setting import ACTS

INITIALISED, AT_THE_EDGE = COLOURS[0], COLOURS[1]


def in_order(default: Standings, edge: Standings, axes: Axes) -> None:
    places = {act: place for place, act in enumerate(default.different, start=1)}
    found = [default.accuracy[act] for act in places]
    axes.vlines([*places.values()], [each.low for each in found], [each.high for each in found], COLOURS[6], lw=0.8)
    axes.plot(
        [*places.values()], [each.value for each in found], ".", color=INITIALISED, ms=3, label="torch’s initialisation"
    )
    both = [act for act in places if act in edge.values]
    reached = [edge.accuracy[act].value for act in both]
    axes.plot([places[act] for act in both], reached, ".", color=AT_THE_EDGE, ms=2.5, zorder=1, label="edge of chaos")
    label_six(axes, {act: (places[act], default.accuracy[act].value) for act in ACTS if act in places})
    axes.set(xlabel="place by mean at torch’s initialisation", ylabel="test accuracy, %", ylim=(0, 100))
    axes.legend(loc="lower left", markerscale=3)


def against_theory(default: Standings, scales: Mapping[Any, float], axes: Axes) -> None:
    known = [act for act in default.different if 0 < scales[act] < np.inf]
    x, y = [scales[act] for act in known], [default.accuracy[act].value for act in known]
    axes.semilogx(x, y, ".", color=INITIALISED, ms=3)
    label_six(axes, {act: (scales[act], default.accuracy[act].value) for act in ACTS if act in known})
    axes.set(xlabel="predicted depth scale at torch’s initialisation, layers", ylim=(0, 100))


def label_six(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    for place, (act, point) in enumerate(sorted(points.items(), key=lambda each: -each[1][1])):
        axes.plot(*point, "o", color=COLOURS[2], ms=4)
        at = (0.62, 0.62 - 0.055 * place)
        arrow = {"arrowstyle": "-", "lw": 0.5, "color": "#888888"}
        axes.annotate(act, point, at, textcoords="axes fraction", fontsize=8, arrowprops=arrow)


def main() -> None:
    target = Path(sys.argv[1])
    table = pd.read_csv(REPOSITORY / "docs/atlas.csv")
    default, edge = (Standings.of(table, init) for init in ("default", "critical"))
    scales = table[table["init"] == "default"].set_index("act")["depth_scale"].to_dict()
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
        in_order(default, edge, left)
        against_theory(default, scales, right)
        figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main()
