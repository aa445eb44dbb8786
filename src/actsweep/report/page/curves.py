"""Learning curves, and what the activation functions look like."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.frames import by_epoch, functions, loss_unit
from actsweep.report.page.comparisons import Styles
from actsweep.report.wording import plain_list, thinned
from actsweep.results.folders import Folders
from actsweep.statistics.setting import Setting

MOST_TIMES, FEWEST_TIMES, MOST_EPOCHS, MOST_COLUMNS, MOST_FUNCTIONS, MOST_INPUTS = 40, 12, 15_000, 8, 36, 121
SPOKEN = {"val": "validation", "train": "training"}
FIRST = ("val_accuracy", "val_loss")


def _titled(column: str) -> str:
    """val_accuracy → validation accuracy"""
    before, _, after = column.partition("_")
    return f"{SPOKEN[before]} {after.replace('_', ' ')}" if before in SPOKEN and after else column


def _curve(wide: pd.DataFrame, most: int) -> dict[str, Any]:
    """Mean and range as far as all seeds went; beyond that, each seed that went on by itself."""
    epochs, values = wide.index.to_numpy(dtype=float), wide.to_numpy()
    known = ~np.isnan(values)
    together = np.flatnonzero(known.all(axis=1))
    kept = together[thinned(len(together), most)]
    last = together[-1] if len(together) else 0
    alone = []
    for column, seed in enumerate(wide.columns):
        rest = last + np.flatnonzero(known[last:, column])
        if len(rest) > 1 or not len(together):
            rest = rest[thinned(len(rest), most)]
            alone.append({"seed": seed, "x": plain_list(epochs[rest]), "y": plain_list(values[rest, column])})
    n, shown = wide.shape[1], values[kept]
    low, high = (plain_list(shown.min(axis=1)), plain_list(shown.max(axis=1))) if n > 1 else (None, None)
    mean = plain_list(shown.mean(axis=1))
    return {"x": plain_list(epochs[kept]), "mean": mean, "low": low, "high": high, "n": n, "alone": alone}


def _curves(group: Setting, folders: Folders, most: int) -> tuple[int, dict[str, Any]]:
    """How many completed runs of a setting have a learning curve, and the curve of each column."""
    tables = {
        run["seed"]: table for run in group.completed if run["epochs"] and (table := folders.epochs(run)) is not None
    }
    found = {}
    for column in dict.fromkeys(str(name) for table in tables.values() for name in table.select_dtypes("number")):
        having = {
            seed: each
            for seed, each in tables.items()
            if column in each.select_dtypes("number") and np.isfinite(each[column]).any()
        }
        if having and column != "step":
            found[column] = _curve(by_epoch(having, column), most)
    return len(tables), found


def learning_curves(groups: Sequence[Setting], folders: Folders) -> dict[str, Any]:
    """Every column of numbers in epochs.csv, per setting: what may be drawn, and of how many runs."""
    found: dict[str, dict[int, Any]] = defaultdict(dict)  # column → position of the setting → its curve
    used = 0
    most = int(np.clip(MOST_EPOCHS // max(len(groups), 1), FEWEST_TIMES, MOST_TIMES))
    for position, group in enumerate(groups):
        count, curves = _curves(group, folders, most)
        used += count
        for column, curve in curves.items():
            found[column][position] = curve
    unit = loss_unit(run for group in groups for run in group.runs)
    columns = []
    for column in sorted(found, key=lambda name: (*FIRST, name).index(name))[:MOST_COLUMNS]:
        percent = column.endswith("accuracy")
        what = {"unit": "%" if percent else unit if column.endswith("loss") else "", "percent": percent}
        columns.append({"title": _titled(column)} | what | {"settings": found[column]})
    return {"columns": columns, "used": used}


def activation_functions(groups: Sequence[Setting], folders: Folders, styles: Styles) -> list[dict[str, Any]]:
    """Each function and its derivative once."""
    found = []
    for name, group in functions(groups).items():
        table = folders.read(group.observed[0], "curves", ("x", "value", "slope"))
        if table is not None:
            kept = table.iloc[thinned(len(table), MOST_INPUTS)]
            columns = {column: plain_list(kept[column].astype(float)) for column in ("x", "value", "slope")}
            found.append({"name": name, "look": styles[group.label]} | columns)
    return found[:MOST_FUNCTIONS]
