"""Learning curves, and what the activation functions look like."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.report.figures._runs import loss_unit
from actsweep.report.page.tables import Folders
from actsweep.report.page.tasks import Styles
from actsweep.report.page.words import plain_list, thinned
from actsweep.statistics.setting import Setting, act_order

MOST_TIMES, FEWEST_TIMES, MOST_EPOCHS, MOST_COLUMNS, MOST_FUNCTIONS, MOST_INPUTS = 40, 12, 15_000, 8, 36, 121
SPOKEN = {"val": "validation", "train": "training"}
FIRST = ("val_accuracy", "val_loss")

Floats = npt.NDArray[np.float64]


def _titled(column: str) -> str:
    """val_accuracy → validation accuracy"""
    before, _, after = column.partition("_")
    return f"{SPOKEN[before]} {after.replace('_', ' ')}" if before in SPOKEN and after else column


def _percent(column: str) -> bool:
    return column.endswith("accuracy")


def _columns(table: pd.DataFrame) -> dict[str, Floats]:
    """The numbers of epochs.csv, by column."""
    return {
        str(name): table[name].to_numpy(dtype=np.float64)
        for name, kind in table.dtypes.items()
        if name != "step" and pd.api.types.is_numeric_dtype(kind)
    }


def _aligned(tables: Sequence[dict[str, Floats]], column: str) -> tuple[Floats, Floats]:
    """All epochs (E,), and the value of each seed at them (E, S); NaN where it has none that is finite."""
    epochs = np.unique(np.concatenate([table["epoch"] for table in tables]))
    values = np.full((len(epochs), len(tables)), np.nan)
    for seed, table in enumerate(tables):
        values[np.searchsorted(epochs, table["epoch"]), seed] = table[column]
    values[~np.isfinite(values)] = np.nan
    return epochs, (100 if _percent(column) else 1) * values


def _curve(seeds: Sequence[int], epochs: Floats, values: Floats, most: int) -> dict[str, Any]:
    """Mean and range as far as all seeds went; beyond that, each seed that went on by itself."""
    known = ~np.isnan(values)
    together = np.flatnonzero(known.all(axis=1))
    kept = together[thinned(len(together), most)] if len(together) else together
    last = together[-1] if len(together) else 0
    alone = []
    for column, seed in enumerate(seeds):
        rest = last + np.flatnonzero(known[last:, column])
        if len(rest) > 1 or not len(together):
            rest = rest[thinned(len(rest), most)]
            alone.append({"seed": seed, "x": plain_list(epochs[rest]), "y": plain_list(values[rest, column])})
    several = len(seeds) > 1
    return {
        "x": plain_list(epochs[kept]),
        "mean": plain_list(values[kept].mean(axis=1)),
        "low": plain_list(values[kept].min(axis=1)) if several else None,
        "high": plain_list(values[kept].max(axis=1)) if several else None,
        "n": len(seeds),
        "alone": alone,
    }


def _curves(group: Setting, folders: Folders, most: int) -> tuple[int, dict[str, Any]]:
    """How many completed runs of a setting have a learning curve, and the curve of each column."""
    tables = {
        run["seed"]: _columns(table)
        for run in group.completed
        if run["epochs"] and (table := folders.read(run, "epochs", ("epoch",))) is not None
    }
    found = {}
    for column in dict.fromkeys(name for table in tables.values() for name in table if name != "epoch"):
        having = {seed: table for seed, table in tables.items() if np.isfinite(table.get(column, np.nan)).any()}
        if having:
            found[column] = _curve(list(having), *_aligned(list(having.values()), column), most)
    return len(tables), found


def learning_curves(groups: Sequence[Setting], folders: Folders) -> dict[str, Any]:
    """Every column of epochs.csv, per setting: what may be drawn, and of how many runs."""
    found: dict[str, dict[int, Any]] = {}
    used = 0
    most = int(np.clip(MOST_EPOCHS // max(len(groups), 1), FEWEST_TIMES, MOST_TIMES))
    for position, group in enumerate(groups):
        count, curves = _curves(group, folders, most)
        used += count
        for column, curve in curves.items():
            found.setdefault(column, {})[position] = curve
    unit = " or ".join(sorted({loss_unit(group.runs) for group in groups}, reverse=True))
    order = sorted(found, key=lambda column: FIRST.index(column) if column in FIRST else len(FIRST))
    columns = [
        {
            "title": _titled(column),
            "unit": "%" if _percent(column) else unit if column.endswith("loss") else "",
            "percent": _percent(column),
            "settings": found[column],
        }
        for column in order[:MOST_COLUMNS]
    ]
    return {"columns": columns, "used": used}


def activation_functions(groups: Sequence[Setting], folders: Folders, styles: Styles) -> list[dict[str, Any]]:
    """Each function and its derivative once; under a longer name where one was built with several arguments."""
    built: dict[tuple[str, str], Setting] = {}
    for group in groups:
        if group.observed:
            arguments = group.observed[0]["config"].get("act") or {}
            told = ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "_target_")
            built.setdefault((group.act, told if told else json.dumps(arguments.get("_target_"))), group)
    acts = [act for act, _ in built]
    functions = []
    for (act, arguments), group in sorted(built.items(), key=lambda each: (act_order(each[0][0]), each[0][1])):
        table = folders.read(group.observed[0], "curves", ("x", "value", "slope"))
        if table is not None:
            table = table.iloc[thinned(len(table), MOST_INPUTS)]
            name = f"{act}, {arguments}" if acts.count(act) > 1 else act
            columns = {column: plain_list(table[column].to_numpy(dtype=float)) for column in ("x", "value", "slope")}
            functions.append({"name": name, "look": styles[group.label]} | columns)
    return functions[:MOST_FUNCTIONS]
