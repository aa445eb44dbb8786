"""How fast does each setting learn, and where does it end?"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actsweep.errors import UserError
from actsweep.report.figures._drawing import (
    CHANCE,
    Drawing,
    Line,
    facets,
    legend,
    panels,
    plain_numbers,
    roomy,
    whole_numbers,
)
from actsweep.report.figures._runs import keep, loss_unit, sample, table, with_table
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting

SIZE = (3.4, 2.6)


def _curves(group: Setting, column: str) -> pd.DataFrame:
    """Every seed's curve, then their mean (seed "mean") up to the epoch that all of them reached."""
    logged, factor = (column, 1) if column == "val_loss" else ("val_accuracy", 100)
    seeds = {run["seed"]: factor * table(run, "epochs").set_index("epoch")[logged] for run in group.completed}
    wide = pd.DataFrame(seeds)
    mean = wide.dropna().mean(axis=1)
    parts = {str(seed): wide[seed].dropna() for seed in wide} | {"mean": mean}
    tables = [
        pd.DataFrame({"act": group.act, "setting": group.label, "seed": seed, "epoch": part.index, column: part.values})
        for seed, part in parts.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _quantity(groups: list[Setting]) -> tuple[str, list[Setting]]:
    """The column to draw and the settings that have it: accuracies, or losses where there are none (regressions)."""

    def has(column: str) -> Any:
        def wanted(run: Run) -> bool:
            return column in (found := table(run, "epochs")) and bool(found[column].notna().any())

        return wanted

    try:
        return "val_accuracy_percent", keep(groups, has("val_accuracy"), "")
    except UserError:
        return "val_loss", keep(groups, has("val_loss"), "no completed run has a validation loss or accuracy")


def _panel(axes: Axes, lines: list[Line], tables: list[pd.DataFrame], column: str) -> None:
    for line, curves in zip(lines, tables, strict=True):
        for seed, curve in curves.groupby("seed"):
            thick = {"linewidth": 1.8, "markevery": max(1, len(curve) // 6)} | line.look
            thin = {"linewidth": 0.6, "alpha": 0.5, "color": line.look["color"]}
            axes.plot(curve["epoch"], curve[column], **(thick if seed == "mean" else thin))
    for chance in {100 / run["classes"] for line in lines for run in line.setting.completed if column != "val_loss"}:
        axes.axhline(chance, **CHANCE)
    whole_numbers(axes)


def draw(runs: list[dict[str, Any]]) -> Drawing:
    column, groups = _quantity(with_table(runs, "epochs"))
    is_accuracy = column != "val_loss"
    by_panel, left_out = roomy(facets(groups))
    tables = {title: [_curves(line.setting, column) for line in lines] for title, lines in by_panel.items()}
    values = pd.concat([table for each in tables.values() for table in each], ignore_index=True)
    best = values[column].max()
    magnified = is_accuracy and len(by_panel) == 1 and best - values[column].min() > 30
    ylabel = "validation accuracy (%)" if is_accuracy else f"validation loss ({loss_unit(runs)})"
    figure, axes = panels(len(by_panel) + magnified, SIZE, "epoch", ylabel, sharey=not magnified)
    for each, (title, lines) in zip(axes, by_panel.items(), strict=False):
        _panel(each, lines, tables[title], column)
        each.set_title(title)
        if not is_accuracy:
            plain_numbers(each)
        if magnified:
            _panel(axes[1], lines, tables[title], column)
            axes[1].set_ylim(best - 10, best + 0.5)
            axes[1].set_title("the best 10 percentage points")
    legend(figure, by_panel.values(), *([Line2D([], [], label="chance", **CHANCE)] if is_accuracy else []))
    caption = (
        ("Validation accuracy in %" if is_accuracy else "Validation loss, on a logarithmic axis,")
        + " after each epoch. Thin: each seed; thick: their mean, as far as all seeds went before they stopped. "
        + ("Dotted: chance, 100 / classes. " if is_accuracy else "")
        + left_out
        + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
