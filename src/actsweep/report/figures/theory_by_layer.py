"""Does an untrained network do what mean-field theory says, layer by layer?"""

import pandas as pd

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, legend, looks, panels, whole_numbers
from actsweep.report.frames import Runs, by_layer, geometric_mean, keep
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, act_order, settings_of

SHOWN = {"pre_activation_rms": "√(mean z²)", "delta_ratio": "‖∂L/∂z‖, layer / next layer"}


def _of(run: Run) -> pd.DataFrame:
    return by_layer(run, [*SHOWN, *(f"{name}_theory" for name in SHOWN)], epoch=0)


def _values(group: Setting) -> pd.DataFrame:
    """Geometric means over seeds, measured and predicted, per layer and quantity."""
    rows = pd.concat([found for run in group.completed if len(found := _of(run))])
    wide = rows.groupby(["layer", "quantity"])["value"].agg(lambda each: geometric_mean(list(each))).unstack()
    tables = [
        wide[[name, f"{name}_theory"]].set_axis(["measured", "theory"], axis=1).dropna().assign(quantity=name)
        for name in SHOWN
        if name in wide
    ]
    found = pd.concat(tables).reset_index().assign(act=group.act, setting=group.label, n=len(group.completed))
    return found[["act", "setting", "quantity", "layer", "n", "measured", "theory"]]


def draw(runs: Runs) -> Drawing:
    missing = "no completed run has theory's predictions: switch on diagnostics=[theory]"
    groups = keep(settings_of(runs), lambda run: len(_of(run)) > 0, missing)
    values = pd.concat([_values(group) for group in groups], ignore_index=True)
    look = looks(values["act"])
    cells = [(rest, quantity) for rest in dict.fromkeys(group.rest for group in groups) for quantity in SHOWN]
    titles = [f"{rest}: {SHOWN[quantity]}" if rest else SHOWN[quantity] for rest, quantity in cells]
    figure, axes = panels(titles, (3.4, 2.6), "layer, from input to output", "", len(SHOWN))
    for each, (rest, quantity) in zip(axes, cells, strict=True):
        for group in (group for group in groups if group.rest == rest):
            own = values[(values["setting"] == group.label) & (values["quantity"] == quantity)]
            positive = own[(own["measured"] > 0) & (own["theory"] > 0)]
            colour = look[group.act]["color"]
            each.plot(positive["layer"], positive["theory"], color=colour, linewidth=1)
            each.plot(positive["layer"], positive["measured"], look[group.act]["marker"], color=colour, markersize=4)
        each.set_yscale("log")
        whole_numbers(each)
    legend(figure, {act: look[act] for act in sorted(look, key=act_order)})
    errors = (values["measured"] / values["theory"] - 1).abs()
    caption = (
        "Untrained networks on the probe. Points: measured, geometric means over seeds; lines: mean-field theory for "
        "wide layers from the inputs and the layers' variances. "
        f"Median relative difference {100 * errors.median():.2g} %, "
        f"largest {100 * errors.max():.2g} %. " + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
