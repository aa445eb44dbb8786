"""What do the activation functions and their derivatives look like, as they were built?"""

import json
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.figures._drawing import Drawing, looks, panels
from actsweep.report.figures._runs import table, with_table
from actsweep.results.reading import Run
from actsweep.statistics.setting import act_order


def _distinct(runs: list[Run]) -> dict[str, Run]:
    """Name → a run with this function; the name has the arguments where one activation was built in several ways."""
    built = {(run["act"], json.dumps(run["config"]["act"])): run for run in reversed(runs)}
    acts = [act for act, _ in built]
    named = {}
    for (act, _), run in sorted(built.items(), key=lambda each: (act_order(each[0][0]), each[0][1])):
        arguments = ", ".join(f"{key} {value}" for key, value in run["config"]["act"].items() if key != "_target_")
        named[f"{act}, {arguments}" if acts.count(act) > 1 else act] = run
    return named


def draw(runs: list[dict[str, Any]]) -> Drawing:
    functions = _distinct([run for group in with_table(runs, "curves") for run in group.completed])
    look = looks(run["act"] for run in functions.values())
    figure, axes = panels(len(functions), (2.4, 1.9), "input x (1)", "φ(x), φ′(x) (1)", sharex=True, sharey=True)
    tables = []
    for each, (name, run) in zip(axes, functions.items(), strict=True):
        curve = table(run, "curves")
        colour = look[run["act"]]["color"]
        each.axhline(0, color="#dddddd", linewidth=0.8, zorder=0)
        each.axvline(0, color="#dddddd", linewidth=0.8, zorder=0)
        each.plot(curve["x"], curve["value"], color=colour, linewidth=1.8, label="φ")
        each.plot(curve["x"], curve["slope"], color=colour, linewidth=1.2, linestyle="--", label="φ′")
        each.set_title(name)
        tables.append(curve.assign(function=name)[["function", "x", "value", "slope"]])
    axes[0].legend(loc="upper left")
    values = pd.concat(tables, ignore_index=True)
    steepest = np.nanmax(np.abs(values["slope"]))
    caption = (
        f"Activation functions φ (solid) and their derivatives φ′ (dashed, by automatic differentiation), "
        f"at {len(values) // len(functions):,} inputs each. The steepest slope anywhere is {steepest:.3g}. "
        f"n = {len(functions)} functions; nothing is random."
    )
    return Drawing(figure, values, caption)
