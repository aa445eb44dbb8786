"""How fast does each setting learn, and where does it end?"""

from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from actsweep.report.captions import sample
from actsweep.report.drawing import (
    CHANCE,
    Drawing,
    Line,
    legend_of_lines,
    panels,
    plain_numbers,
    plot_log,
    roomy,
    whole_ticks,
    zeros,
)
from actsweep.report.frames import Runs, by_epoch, chances, keep, loss_unit, table, with_table
from actsweep.statistics.setting import Setting

SIZE = (3.4, 2.6)
Tables = Mapping[str, pd.DataFrame]  # rows once an epoch, by the run's folder


def _curves(group: Setting, tables: Tables, logged: str, column: str) -> pd.DataFrame:
    """Every seed's curve, then their mean (seed "mean") up to the epoch that all of them reached."""
    wide = by_epoch({run["seed"]: tables[run["folder"]] for run in group.completed}, logged)
    parts = {str(seed): wide[seed].dropna() for seed in wide} | {"mean": wide.dropna().mean(axis=1)}
    curves = [
        pd.DataFrame({"act": group.act, "setting": group.label, "seed": seed, "epoch": part.index, column: part.values})
        for seed, part in parts.items()
    ]
    return pd.concat(curves, ignore_index=True)


def _logged(groups: list[Setting], tables: Tables) -> tuple[str, list[Setting]]:
    """The column to draw and the settings that have it: accuracies, or losses where there are none (regressions)."""
    known = {folder: {str(column) for column in each if each[column].notna().any()} for folder, each in tables.items()}
    column = "val_accuracy" if any("val_accuracy" in each for each in known.values()) else "val_loss"
    missing = "no completed run has a validation loss or accuracy"
    return column, keep(groups, lambda run: column in known[run["folder"]], missing)


def _panel(axes: Axes, lines: list[Line], tables: list[pd.DataFrame], column: str) -> None:
    draw_line = partial(plot_log, axes) if column == "val_loss" else axes.plot
    for line, curves in zip(lines, tables, strict=True):
        for seed, curve in curves.groupby("seed"):
            thick = {"linewidth": 1.8, "markevery": max(1, len(curve) // 6)} | line.look
            thin = {"linewidth": 0.6, "alpha": 0.5, "color": line.look["color"]}
            draw_line(curve["epoch"], curve[column], **(thick if seed == "mean" else thin))
    for chance in chances(line.setting for line in lines) if column != "val_loss" else ():
        axes.axhline(chance, **CHANCE)
    whole_ticks(axes)


def draw(runs: Runs) -> Drawing:
    groups = with_table(runs, "epochs")
    found = {run["folder"]: table(run, "epochs") for group in groups for run in group.completed}
    rows = {folder: each.drop_duplicates("epoch", keep="last").set_index("epoch") for folder, each in found.items()}
    logged, groups = _logged(groups, rows)
    is_accuracy = logged == "val_accuracy"
    column = "val_accuracy_percent" if is_accuracy else logged
    by_panel, left_out = roomy(groups)
    curves = partial(_curves, tables=rows, logged=logged, column=column)
    tables = {title: [curves(line.setting) for line in lines] for title, lines in by_panel.items()}
    values = pd.concat([table for each in tables.values() for table in each], ignore_index=True)
    best = values[column].max()
    magnified = bool(is_accuracy and len(by_panel) == 1 and best - values[column].min() > 30)
    ylabel = "validation accuracy (%)" if is_accuracy else f"validation loss ({loss_unit(runs)})"
    titles = [*by_panel, *["the best 10 percentage points"] * magnified]
    figure, axes = panels(titles, SIZE, "epoch", ylabel, sharey=not magnified)
    for each, title in zip(axes, [*by_panel] * (1 + magnified), strict=True):
        _panel(each, by_panel[title], tables[title], column)
        if not is_accuracy:
            plain_numbers(each)
    if magnified:
        axes[1].set_ylim(best - 10, best + 0.5)
    more = [Line2D([], [], label="chance", **CHANCE)] if is_accuracy else []
    legend_of_lines(figure, by_panel.values(), *more)
    what = "Validation accuracy in %" if is_accuracy else "Validation loss, on a logarithmic axis,"
    dotted = "Dotted: chance, 100 / classes. " if is_accuracy else ""
    caption = (
        f"{what} after each epoch. Thin: each seed; thick: their mean, as far as all seeds went before they stopped. "
        f"{dotted}{zeros(figure, 'a loss of exactly 0')}{left_out}{sample(runs, groups)}"
    )
    return Drawing(figure, values, caption)
