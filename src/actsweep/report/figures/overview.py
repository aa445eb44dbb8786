"""The project's question in one look: which activation ends up best, how sure is that, and what its gradients did."""

from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.captions import sample, with_diverged
from actsweep.report.drawing import Drawing, Look, beside, looks, name_rows, plot_log, spread, whole_ticks, zeros
from actsweep.report.frames import PERCENT, WHEN, Runs, loss_unit, norms, outcomes, t_interval, with_accuracy
from actsweep.statistics.setting import Setting, settings_of

MOST = 12  # settings
ROOMY = 14  # characters of names, that leave the titles room in one line
NEAR = 5  # percentage points behind the best mean: the axis of accuracies reaches no further if most settings are there


def _limits(rows: list[list[float]]) -> tuple[float, float]:
    """An axis on which the best settings can be told apart; rows are best first."""
    means = [sum(values) / len(values) for values in rows]
    near = [values for values, mean in zip(rows, means, strict=True) if means[0] - mean <= NEAR]
    if 2 * len(near) < len(rows):
        return 0, 100
    ends = [end for values in near for end in (*values, *(t_interval(values, (0, 100)) or ()))]
    low, high = max(min(ends), means[0] - 2 * NEAR), min(max(ends), means[0] + NEAR)
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _row(axes: Axes, row: int, values: list[float], look: Look) -> bool:
    """A setting's seeds, mean and interval; whether the mean lies left of the axis."""
    mean, interval = sum(values) / len(values), t_interval(values, (0, 100))
    colour, outside = look["color"], mean < axes.get_xlim()[0]
    beside(axes, row, f"{mean:.2f}")
    mark = {"color": colour, "markersize": 8, "markeredgecolor": "white"}
    if outside:
        edge = axes.get_yaxis_transform()
        axes.annotate("◂", (0, row), (3, 0), xycoords=edge, textcoords="offset points", va="center")
        axes.plot(0.08, row, look["marker"], transform=edge, **mark)
    else:
        axes.plot(values, spread(row, len(values)), "o", color=colour, markersize=3.5, alpha=0.45, markeredgewidth=0)
        axes.plot(interval or [mean], [row] * (2 if interval else 1), color=colour, linewidth=1.6)
        axes.plot(mean, row, look["marker"], **mark)
    return outside


def _compared(axes: Axes, groups: list[Setting], found: pd.DataFrame, look: dict[str, Look]) -> bool:
    """The left panel; whether any setting lies outside its axis."""
    by_setting = {name: each.tolist() for name, each in found.groupby("setting")[PERCENT]}
    rows = [by_setting[group.label] for group in groups]
    axes.set_xlim(_limits(rows))
    outside = [_row(axes, at, rows[at], look[group.act]) for at, group in enumerate(groups)]
    axes.set_title("test accuracy (%), best first", loc="left")
    return any(outside)


def _gradients(axes: Axes, groups: list[Setting], when: str, look: dict[str, Look], gap: str) -> pd.DataFrame:
    tables = [norms(group, when) for group in groups]
    for group, table in zip(groups, tables, strict=True):
        if len(table):
            plot_log(axes, table["layer"], table["grad_norm"], **look[group.act] | {"markersize": 6})
    axes.set_title(f"gradient norm,{gap}{when}", loc="left")
    axes.set_xlabel("layer, input → output")
    whole_ticks(axes)
    return pd.concat(tables, ignore_index=True)


def draw(runs: Runs) -> Drawing:
    usable = with_accuracy(settings_of(runs), "no completed run has a test accuracy")
    accuracies = outcomes(usable)
    means = accuracies.groupby("setting")[PERCENT].mean()
    groups = sorted(usable, key=lambda group: -means[group.label])[:MOST]
    look = looks(group.act for group in groups)
    names = [fill(group.label_with_broken, 24) for group in groups]
    lines = max(len(name.splitlines()) for name in names)
    figure = Figure(figsize=(8, max(0.28, 0.16 * lines) * len(groups) + 2.1), layout="constrained")
    left, *right = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    right[1].sharey(right[0])
    outside = _compared(left, groups, accuracies, look)
    name_rows(left, names)
    gap = "\n" if max(len(line) for name in names for line in name.splitlines()) > ROOMY else " "
    gradients = pd.concat([_gradients(axes, groups, when, look, gap) for axes, when in zip(right, WHEN, strict=True)])
    right[0].set_ylabel(f"‖∂L/∂W‖₂ ({loss_unit(groups[0].completed)} per unit weight)")
    right[1].tick_params(labelleft=False)
    some = f"The {MOST} best of {len(usable)} settings. " if len(usable) > MOST else ""
    caption = (
        "Left: small points are seeds, large marks their means, lines 95 % t-intervals, cut at 0 and 100 % and at the "
        f"axis{', ◂ means outside it' if outside else ''}; numbers: means. Right, same marks: norm of the loss "
        "gradient of each layer’s weights before training and at the tested epoch, geometric mean over seeds. "
        f"{zeros(figure)}{some}{with_diverged(settings_of(runs))}{sample(runs, groups, usable=usable)}"
    )
    table = pd.concat([accuracies, gradients], ignore_index=True)
    return Drawing(figure, table.astype(dict.fromkeys(("seed", "layer", "n"), "Int64")), caption)
