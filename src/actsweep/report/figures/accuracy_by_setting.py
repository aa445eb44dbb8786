"""Which setting ends up best, and how sure is that?"""

import math

import pandas as pd

from actsweep.report.captions import sample, with_diverged
from actsweep.report.drawing import CHANCE, Drawing, beside, looks, rows, spread
from actsweep.report.frames import PERCENT, Runs, chances, keep, loss_unit, outcomes, t_interval, with_accuracy
from actsweep.statistics.setting import Setting, settings_of

MOST_ROWS = 60


def _compared(settings: list[Setting]) -> tuple[str, list[Setting]]:
    """What the settings are compared by, and the runs that have it: accuracies, or losses in regressions."""
    if any(run.get("test_accuracy") is not None for group in settings for run in group.completed):
        return "test_accuracy", with_accuracy(settings, "")
    missing = "no completed run has a test accuracy or a test loss"
    return "test_loss", keep(settings, lambda run: run.get("test_loss") is not None, missing)


def _best(groups: list[Setting], values: pd.DataFrame, column: str) -> list[Setting]:
    means = values.groupby("setting")[column].mean().sort_values(ascending=column != PERCENT, kind="stable")
    best = set(means.index[:MOST_ROWS])
    return [group for group in groups if group.label in best]


def draw(runs: Runs) -> Drawing:
    settings = settings_of(runs)
    quantity, groups = _compared(settings)
    is_accuracy = quantity == "test_accuracy"
    column, form, most = (PERCENT, ".2f", 100.0) if is_accuracy else ("test_loss", ".3g", math.inf)
    values = outcomes(groups, quantity, column)
    broken = [each for each in settings if not each.completed]
    shown = _best(groups, values, column)
    xlabel = "test accuracy (%)" if is_accuracy else f"test loss ({loss_unit(groups[0].completed)})"
    figure, axes = rows([*shown, *broken][:MOST_ROWS], xlabel)
    look = looks(group.act for group in shown)
    for row, group in enumerate(shown):
        found = values.loc[values["setting"] == group.label, column].to_numpy()
        colour = look[group.act]["color"]
        axes.plot(found, spread(row, len(found)), "o", color=colour, markersize=3.5, alpha=0.6)
        axes.plot([found.mean()] * 2, [row - 0.32, row + 0.32], color=colour, linewidth=1.8)
        said = f"{found.mean():{form}}"
        if interval := t_interval(found, (0, most)):
            axes.plot(interval, [row, row], color=colour, linewidth=1)
            said += f" [{interval[0]:{form}}, {interval[1]:{form}}]"
        beside(axes, row, said)
    low, high = values[column].min(), values[column].max()
    outside = []
    for chance in chances(groups) if is_accuracy else ():
        if low - 5 <= chance <= high + 5:
            axes.axvline(chance, **CHANCE)
        else:
            outside.append(f"{chance:.3g} %")
    if not is_accuracy and low > 0:
        axes.set_xscale("log")
    where = f"outside the axis, at {', '.join(outside)}" if outside else "the dotted line"
    by_chance = f"Chance, 100 / classes, is {where}. " if is_accuracy else ""
    some = f"The {MOST_ROWS} best of {len(groups)} settings are shown. " if len(shown) < len(groups) else ""
    caption = (
        f"{'Test accuracy in %' if is_accuracy else 'Test loss'}. Points: each seed; bar and number: their mean; line "
        "and brackets: its 95 % t-interval, cut at what is possible (from two seeds on). "
        f"{by_chance}{some}{with_diverged([*groups, *broken])}{sample(runs, groups)}"
    )
    return Drawing(figure, values, caption)
