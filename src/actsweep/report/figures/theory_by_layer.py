"""Does an untrained network do what mean-field theory says, layer by layer?"""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from actsweep.report.figures._drawing import Drawing, looks, panels, whole_numbers
from actsweep.report.figures._numbers import geometric_mean
from actsweep.report.figures._runs import keep, layer_number, sample, table
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, act_order, settings_of

SHOWN = {"length": "√(mean z²)", "delta_ratio": "‖∂L/∂z‖, layer / next layer"}


def _of(run: Run) -> pd.DataFrame | None:
    path = Path(run["folder"], "layers.csv")
    if not path.is_file():
        return None
    rows = table(run, "layers")
    rows = rows[(rows["epoch"] == 0) & rows["quantity"].isin([*SHOWN, *(f"{name}_theory" for name in SHOWN)])]
    return None if rows.empty else rows


def _values(group: Setting) -> pd.DataFrame:
    """Geometric means over seeds, measured and predicted, per layer and quantity."""
    rows = pd.concat([found for run in group.completed if (found := _of(run)) is not None])
    rows = rows.assign(layer=rows["layer"].map(layer_number))
    wide = rows.pivot_table(
        index="layer", columns="quantity", values="value", aggfunc=lambda v: geometric_mean(list(v))
    )
    found_rows = []
    for name in SHOWN:
        if name in wide:
            for layer, row in wide.dropna(subset=[name, f"{name}_theory"]).iterrows():
                n = len(group.completed)
                found_rows.append((group.act, group.label, name, layer, n, row[name], row[f"{name}_theory"]))
    return pd.DataFrame(found_rows, columns=["act", "setting", "quantity", "layer", "n", "measured", "theory"])


def draw(runs: list[dict[str, Any]]) -> Drawing:
    missing = "no completed run has theory's predictions: switch on diagnostics=[theory]"
    groups = keep(settings_of(runs), lambda run: _of(run) is not None, missing)
    values = pd.concat([_values(group) for group in groups], ignore_index=True)
    look = looks(values["act"])
    titles = list(dict.fromkeys(group.rest for group in groups))
    figure, axes = panels(len(titles) * len(SHOWN), (3.4, 2.6), "layer, from input to output", "", len(SHOWN))
    cells = [(title, quantity) for title in titles for quantity in SHOWN]
    for each, (title, quantity) in zip(axes, cells, strict=True):
        for group in (group for group in groups if group.rest == title):
            own = values[(values["setting"] == group.label) & (values["quantity"] == quantity)]
            positive = own[(own["measured"] > 0) & (own["theory"] > 0)]
            colour = look[group.act]["color"]
            each.plot(positive["layer"], positive["theory"], color=colour, linewidth=1)
            each.plot(positive["layer"], positive["measured"], look[group.act]["marker"], color=colour, markersize=4)
        each.set_yscale("log")
        each.set_title(f"{title}: {SHOWN[quantity]}" if title else SHOWN[quantity])
        whole_numbers(each)
    acts = sorted(look, key=act_order)
    handles = [Line2D([], [], label=act, **look[act]) for act in acts]
    figure.legend(handles=handles, loc="outside right upper")
    errors = (values["measured"] / values["theory"] - 1).abs()
    caption = (
        "Untrained networks on the probe. Points: measured, geometric means over seeds; lines: mean-field theory for "
        "wide layers from the inputs and the layers' variances. "
        f"Median relative difference {100 * errors.median():.2g} %, "
        f"largest {100 * errors.max():.2g} %. " + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
