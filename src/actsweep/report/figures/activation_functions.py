"""What do the activation functions and their derivatives look like, as they were built?"""

import numpy as np
import pandas as pd

from actsweep.report.drawing import Drawing, looks, panels
from actsweep.report.frames import Runs, functions, table, with_table


def draw(runs: Runs) -> Drawing:
    built = functions(with_table(runs, "curves", most=1))
    look = looks(group.act for group in built.values())
    figure, axes = panels([*built], (2.4, 1.9), "input x (1)", "φ(x), φ′(x) (1)", sharex=True, sharey=True)
    tables = []
    for each, (name, group) in zip(axes, built.items(), strict=True):
        curve = table(group.first, "curves")
        colour = look[group.act]["color"]
        each.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
        each.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
        each.plot(curve["x"], curve["value"], color=colour, linewidth=1.8, label="φ")
        each.plot(curve["x"], curve["slope"], color=colour, linewidth=1.2, linestyle="--", label="φ′")
        tables.append(curve.assign(function=name)[["function", "x", "value", "slope"]])
    axes[0].legend(loc="upper left")
    values = pd.concat(tables, ignore_index=True)
    caption = (
        f"Activation functions φ (solid) and their derivatives φ′ (dashed, by automatic differentiation), "
        f"at {len(values) // len(built):,} inputs each. The steepest slope anywhere is "
        f"{np.nanmax(np.abs(values['slope'])):.3g}. n = {len(built)} functions; nothing is random."
    )
    return Drawing(figure, values, caption)
