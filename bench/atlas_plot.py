"""Draws the atlas in one picture: `python -m bench.atlas_plot bench/results/atlas.png`, from docs/atlas.csv.

Left: every different function at torch's initialisation, in the order of its mean, with 95 % intervals, and what it
reaches at the edge of chaos. Right: accuracy against the depth scale that theory predicts. Prints what README says.
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
from actsweep.report.atlas.answers import correlation
from actsweep.report.atlas.standing import ALIKE, BETTER, Standings
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
    axes.set(xlabel="place by mean at torch’s initialisation", ylabel="test accuracy, %", ylim=(0, 100))
    label_six(axes, {act: (places[act], default.accuracy[act].value) for act in ACTS if act in places})
    axes.legend(loc="lower left", markerscale=3)


def against_theory(default: Standings, scales: Mapping[Any, float], axes: Axes) -> None:
    known = [act for act in default.different if 0 < scales[act] < np.inf]
    x, y = [scales[act] for act in known], [default.accuracy[act].value for act in known]
    axes.semilogx(x, y, ".", color=INITIALISED, ms=3)
    axes.set(xlabel="predicted depth scale at torch’s initialisation, layers", ylim=(0, 100))
    label_six(axes, {act: (scales[act], default.accuracy[act].value) for act in ACTS if act in known})


def label_six(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    for place, (act, point) in enumerate(sorted(points.items(), key=lambda each: -each[1][1])):
        axes.plot(*point, "o", color=COLOURS[2], ms=4)
        at = (0.62, 0.66 - 0.06 * place)
        leader = {"arrowstyle": "-", "lw": 0.5, "color": "#888888"}
        axes.annotate("", point, at, textcoords="axes fraction", arrowprops=leader)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # over the others' leaders
        axes.text(*at, act, transform=axes.transAxes, fontsize=8, va="center", bbox=box, zorder=5)


def sentences(table: pd.DataFrame) -> str:
    """README's words about the table, in one line."""
    default, edge = (Standings.of(table, init) for init in ("default", "critical"))
    shares = table.set_index(["init", "act"])["trained"]
    trained, trained_there = (sum(shares[each.init, act] >= 0.5 for act in each.different) for each in (default, edge))
    verdicts, found = [edge.verdict(act) for act in edge.different], correlation(table)
    better, alike = verdicts.count(BETTER), verdicts.count(ALIKE)
    return (
        f"Of {len(default.different)} different ones {trained} train at torch's initialisation in half of their seeds "
        "or more, and theory says which: Spearman's ρ between predicted depth scale and share of seeds trained is "
        f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]. At the edge of chaos {trained_there} of "
        f"{len(verdicts)} train; {better} are better than ReLU there, {alike} can't be told apart from it (5 % false "
        "discoveries)."
    )


def main() -> None:
    target = Path(sys.argv[1])
    table = pd.read_csv(REPOSITORY / "docs/atlas.csv")
    print(sentences(table))
    default, edge = (Standings.of(table, init) for init in ("default", "critical"))
    scales = table[table["init"] == "default"].set_index("act")["depth_scale"].to_dict()
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
        in_order(default, edge, left)
        against_theory(default, scales, right)
        figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main()
