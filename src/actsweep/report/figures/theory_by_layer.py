"""Does an untrained network do what mean-field theory says, layer by layer?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, Look, legend, looks, panels, whole_ticks
from actsweep.report.frames import Runs, by_layer, geometric_mean, keep
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, act_order, settings_of

SHOWN = {
    "pre_activation_rms": "√(mean z²)",
    "delta_ratio": "‖∂L/∂z‖, layer / next layer",
    "correlation": "correlation of two inputs",
    "jacobian_mean_square": "Jacobian, mean square",
}
LINEAR = "correlation"  # the others are positive, and a logarithmic axis' matter
COLUMNS = ["act", "setting", "quantity", "layer", "n", "measured", "theory", "low", "high"]
NORMAL_95 = 1.96  # standard deviations on either side of the mean
MISSING = "no completed run has theory's predictions: switch on diagnostics=[theory], or correlations, or jacobian"


def _of(run: Run) -> pd.DataFrame:
    found = by_layer(run, [f"{name}{end}" for name in SHOWN for end in ("", "_theory", "_noise")], epoch=0)
    return found[found["step"] == 0] if len(found) else found


def _values(group: Setting) -> pd.DataFrame:
    """Means over seeds per layer and quantity, measured and predicted; between what theory expects 95 % of networks."""
    rows = pd.concat([found for run in group.completed if len(found := _of(run))])
    grouped = rows.groupby(["layer", "quantity"])["value"]
    wide, plain = grouped.agg(lambda each: geometric_mean(list(each))).unstack(), grouped.mean().unstack()
    of_correlations = wide.columns.str.startswith(LINEAR)
    wide.loc[:, of_correlations] = plain.loc[:, of_correlations]
    tables = []
    for name in (name for name in SHOWN if name in wide):
        theory, noise = (wide.get(f"{name}_{end}", pd.Series(np.nan, wide.index)) for end in ("theory", "noise"))
        low, high = (theory * np.exp(sign * NORMAL_95 * noise - noise**2) for sign in (-1, 1))  # log-normal
        both = pd.DataFrame({"measured": wide[name], "theory": theory, "low": low, "high": high})
        tables.append(both[both["measured"].notna()].rename_axis("layer").reset_index().assign(quantity=name))
    table = pd.concat(tables, ignore_index=True).assign(act=group.act, setting=group.label, n=len(group.completed))
    return table[COLUMNS]


def _draw(axes: Axes, own: pd.DataFrame, look: Look, is_linear: bool) -> None:
    theory = own["theory"]
    if is_linear and theory.notna().any():
        theory = theory.fillna(own["measured"])  # in the first layer, from which the map goes
    shown = own[(own["measured"] > 0) | is_linear]
    axes.plot(own["layer"], theory.where((theory > 0) | is_linear), color=look["color"], linewidth=1)
    axes.plot(shown["layer"], shown["measured"], look["marker"], color=look["color"], markersize=4)
    axes.fill_between(own["layer"], own["low"], own["high"], color=look["color"], alpha=0.15, lw=0)
    axes.set_yscale("linear" if is_linear else "log")
    whole_ticks(axes)


def said(values: pd.DataFrame) -> str:
    """How far measurement and theory are from each other, and of which settings theory says nothing.

    >>> rows = [("tanh", "delta_ratio", 1.1, 1.0), ("tanh", "correlation", 0.5, 0.52), ("glu", "correlation", 1, None)]
    >>> said(pd.DataFrame(rows, columns=["setting", "quantity", "measured", "theory"]))
    'Median relative difference 10 %, largest 10 %. Of correlations at most 0.02. Theory says nothing of glu. '
    """
    known = values[values["theory"].notna()]
    is_linear = known["quantity"] == LINEAR
    errors, differences = known["measured"] / known["theory"] - 1, known["measured"] - known["theory"]
    errors, differences = errors[~is_linear].abs(), differences[is_linear].abs()
    sentences = []
    if len(errors):
        median, largest = 100 * errors.median(), 100 * errors.max()
        sentences.append(f"Median relative difference {median:.2g} %, largest {largest:.2g} %. ")
    if len(differences):
        sentences.append(f"Of correlations at most {differences.max():.2g}. ")
    if without := [name for name in dict.fromkeys(values["setting"]) if name not in set(known["setting"])]:
        sentences.append(f"Theory says nothing of {'; '.join(without)}. ")
    return "".join(sentences)


def draw(runs: Runs) -> Drawing:
    groups = keep(settings_of(runs), lambda run: len(_of(run)) > 0, MISSING)
    values = pd.concat([_values(group) for group in groups], ignore_index=True)
    look, names = looks(values["act"]), [name for name in SHOWN if (values["quantity"] == name).any()]
    cells = [(rest, quantity) for rest in dict.fromkeys(group.rest for group in groups) for quantity in names]
    titles = [f"{rest}: {SHOWN[quantity]}" if rest else SHOWN[quantity] for rest, quantity in cells]
    figure, axes = panels(titles, (3.4, 2.6), "layer, from input to output", "", min(len(names), 2))
    for each, (rest, quantity) in zip(axes, cells, strict=True):
        for group in (group for group in groups if group.rest == rest):
            own = values[(values["setting"] == group.label) & (values["quantity"] == quantity)]
            _draw(each, own, look[group.act], quantity == LINEAR)
    legend(figure, {act: look[act] for act in sorted(look, key=act_order)})
    caption = (
        "Untrained networks on the probe. Points: measured, means over seeds, geometric but for correlations; lines: "
        "mean-field theory for wide layers from the inputs and the layers' variances, of correlations from those in "
        "the first layer. " + said(values)
    )
    if "jacobian_mean_square" in names:
        what = "of the outputs with respect to what enters the layer"
        caption += f"Jacobian: {what}, mean square of its singular values. "
    if values["low"].notna().any():
        caption += "Bands: 95 % of single networks by theory, at one example; means over many examples vary less. "
    return Drawing(figure, values.dropna(axis=1, how="all"), caption + sample(runs, groups))
