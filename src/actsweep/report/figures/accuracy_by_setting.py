"""Which setting ends up best, and how sure is that?"""

import math
from typing import Any

import pandas as pd

from actsweep.report.figures._drawing import CHANCE, Drawing, looks
from actsweep.report.figures._numbers import t_interval
from actsweep.report.figures._rows import beside, rows, spread
from actsweep.report.figures._runs import keep, loss_unit, sample, with_diverged
from actsweep.statistics.setting import Setting, settings_of

MOST_ROWS = 60


def _quantity(groups: list[Setting]) -> tuple[str, list[Setting]]:
    """What the settings are compared by, and the runs that have it: accuracies, or losses in regressions."""
    if any(run.get("test_accuracy") is not None for group in groups for run in group.completed):
        return "test_accuracy", keep(groups, lambda run: run.get("test_accuracy") is not None, "")
    missing = "no completed run has a test accuracy or a test loss"
    return "test_loss", keep(groups, lambda run: run.get("test_loss") is not None, missing)


def _values(groups: list[Setting], quantity: str, column: str) -> pd.DataFrame:
    factor = 100 if quantity == "test_accuracy" else 1
    found = [(g.act, g.label, run["seed"], factor * run[quantity]) for g in groups for run in g.completed]
    return pd.DataFrame(found, columns=["act", "setting", "seed", column])


def _best(groups: list[Setting], values: pd.DataFrame, column: str, is_accuracy: bool) -> list[Setting]:
    """As many settings as have room, in their order."""
    means = values.groupby("setting")[column].mean().sort_values(ascending=not is_accuracy, kind="stable")
    best = set(means.index[:MOST_ROWS])
    return [group for group in groups if group.label in best]


def draw(runs: list[dict[str, Any]]) -> Drawing:
    quantity, groups = _quantity(settings_of(runs))
    is_accuracy = quantity == "test_accuracy"
    column = "test_accuracy_percent" if is_accuracy else "test_loss"
    values = _values(groups, quantity, column)
    broken = [each for each in settings_of(runs) if not each.completed]
    shown = _best(groups, values, column, is_accuracy)
    xlabel = "test accuracy (%)" if is_accuracy else f"test loss ({loss_unit(runs)})"
    figure, axes = rows([*shown, *broken][:MOST_ROWS], xlabel)
    look = looks(group.act for group in shown)
    for row, group in enumerate(shown):
        found = values.loc[values["setting"] == group.label, column].to_numpy()
        colour = look[group.act]["color"]
        axes.plot(found, spread(row, len(found)), "o", color=colour, markersize=3.5, alpha=0.6)
        axes.plot([found.mean()] * 2, [row - 0.32, row + 0.32], color=colour, linewidth=1.8)
        words = f"{found.mean():.2f}" if is_accuracy else f"{found.mean():.3g}"
        if interval := t_interval(found, (0, 100 if is_accuracy else math.inf)):
            axes.plot(interval, [row, row], color=colour, linewidth=1)
            words += " [{:.2f}, {:.2f}]".format(*interval) if is_accuracy else " [{:.3g}, {:.3g}]".format(*interval)
        beside(axes, row, words)
    low, high = values[column].min(), values[column].max()
    chances = {100 / run["classes"] for group in groups for run in group.completed if is_accuracy}
    outside = [f"{chance:.3g} %" for chance in chances if not low - 5 <= chance <= high + 5]
    if is_accuracy:
        for chance in chances:
            if low - 5 <= chance <= high + 5:
                axes.axvline(chance, **CHANCE)
    elif low > 0:
        axes.set_xscale("log")
    where = f"outside the axis, at {', '.join(outside)}" if outside else "the dotted line"
    caption = (
        f"{'Test accuracy in %' if is_accuracy else 'Test loss'}. Points: each seed; bar and number: their mean; line "
        "and brackets: its 95 % t-interval, cut at what is possible (from two seeds on). "
        + (f"Chance, 100 / classes, is {where}. " if is_accuracy else "")
        + (f"The {MOST_ROWS} best of {len(groups)} settings are shown. " if len(shown) < len(groups) else "")
        + with_diverged([*groups, *broken])
        + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
