"""Histograms of every quantity that has them, by layer and time, of one run per setting."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.wording import plain_list, spoken, thinned
from actsweep.results.folders import Folders
from actsweep.results.reading import natural
from actsweep.statistics.setting import Setting

NEEDED = ("epoch", "step", "layer", "quantity", "low", "high", "counts")
MOST_SETTINGS, MOST_LAYERS, MOST_TIMES, FEWEST_TIMES, MOST_NUMBERS = 24, 12, 25, 4, 250_000


def _times(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of at most so many epochs, and of each epoch those of the last step."""
    last = table[table["step"] == table.groupby("epoch")["step"].transform("max")]
    epochs = np.unique(last["epoch"].to_numpy())
    return last[last["epoch"].isin(epochs[thinned(len(epochs), most)])]


def _counts(text: str) -> list[int] | None:
    try:
        return [int(part) for part in text.split()]
    except ValueError:
        return None


def _layer(rows: pd.DataFrame, epochs: list[int]) -> dict[str, Any]:
    """Range and counts at each epoch; null where this layer was not measured."""
    by_epoch = rows.drop_duplicates("epoch", keep="last").set_index("epoch").astype({"counts": str}).reindex(epochs)
    ends = {end: plain_list(by_epoch[end].astype(float)) for end in ("low", "high")}
    return ends | {"counts": [_counts(str(counts)) for counts in by_epoch["counts"]]}


def _setting(table: pd.DataFrame, most: int) -> dict[str, Any]:
    quantities = {}
    for name in table["quantity"].unique():
        rows = _times(table[table["quantity"] == name], most)
        layers = sorted(rows["layer"].astype(str).unique(), key=natural)
        kept = [layers[position] for position in thinned(len(layers), MOST_LAYERS)]
        epochs = sorted(int(epoch) for epoch in rows["epoch"].unique())
        quantities[str(name)] = {
            "epochs": epochs,
            "of": len(layers),
            "layers": [{"name": spoken(name)} | _layer(rows[rows["layer"] == name], epochs) for name in kept],
        }
    return quantities


def _most_times(tables: Sequence[pd.DataFrame]) -> int:
    """How many times fit the page: fewer with many layers, quantities and bins."""
    bins = [len(str(table["counts"].iloc[0]).split()) for table in tables]
    panels = [table["quantity"].nunique() * min(table["layer"].nunique(), MOST_LAYERS) for table in tables]
    per_time = int(np.dot(panels, bins))
    return int(np.clip(MOST_NUMBERS // max(per_time, 1), FEWEST_TIMES, MOST_TIMES))


def histograms_of(groups: Sequence[Setting], folders: Folders, declared: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Of the lowest seed of each setting; `settings`: position → its seed and quantities."""
    watched = [(position, group.observed[0]) for position, group in enumerate(groups) if group.observed]
    read = ((position, folders.read(run, "histograms", NEEDED)) for position, run in watched)
    tables = dict(islice(((position, table) for position, table in read if table is not None), MOST_SETTINGS))
    most = _most_times(list(tables.values()))
    names = dict.fromkeys(str(name) for table in tables.values() for name in table["quantity"].unique())
    settings = {
        position: {"seed": groups[position].observed[0]["seed"], "quantities": _setting(table, most)}
        for position, table in tables.items()
    }
    quantities = [{"name": name} | declared.get(name, {}) for name in names]
    return {"quantities": quantities, "settings": settings, "most": most}
