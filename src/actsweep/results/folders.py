"""The tables in run folders, read fast and with distrust: a run may have been killed while it wrote them.

Flow: results → statistics, report.
"""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.results.files import warn
from actsweep.results.reading import Run, natural
from actsweep.results.run_folder import QUANTITIES, table

NUMBERS = ("epoch", "step", "value", "low", "high", "x", "slope", "label", "prediction", "loss", "example")
NAMES = ("layer", "quantity")
OURS = ("train_", "val_")  # columns of epochs.csv that are read as numbers
NEEDED = {"epochs": ("epoch",), "layers": ("epoch", "step", "layer", "quantity", "value")}
Floats = npt.NDArray[np.float64]
Names = tuple[str, ...]


def rows(path: Path, faults: list[str], needed: tuple[str, ...] = ()) -> pd.DataFrame | None:
    """The rows of a table that are whole; what else there is goes to `faults`. None if there is none to read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        faults.append(f"{path.name}: {error.strerror}")
        return None
    needed = needed or NEEDED.get(path.stem, ())
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        faults.append(f"{path.name} is cut off in its last line, which is left out")
    lines = whole.splitlines(keepends=True) if b"\0" in whole else []
    torn = [line for line in lines[1:] if b"\0" in line]  # which pandas reads up to there, before 3.0
    for line in torn:
        whole = whole.replace(line, b"", 1)
    try:
        found = pd.read_csv(io.BytesIO(whole), dtype=dict.fromkeys(NAMES, "category"), low_memory=False)
    except ValueError as error:
        faults.append(f"{path.name}: {error}")
        return None
    if missing := [column for column in needed if column not in found]:
        faults.append(f"{path.name} has no column {', '.join(missing)}")
        return None
    sound = _sound(found, path.stem, needed)
    if unreadable := len(torn) + len(found) - len(sound):
        faults.append(f"{path.name}: {unreadable} unreadable rows are left out")
    return sound if len(sound) else None


def _sound(found: pd.DataFrame, name: str, needed: tuple[str, ...]) -> pd.DataFrame:
    """The rows that have numbers where numbers belong; a value may be NaN, and a column of one's own text."""
    bad = pd.Series(False, index=found.index)
    for column, kind in found.dtypes.items():
        if (column in NUMBERS or name == "epochs") and not pd.api.types.is_numeric_dtype(kind):
            numbers = pd.to_numeric(found[column], errors="coerce")
            if column not in NUMBERS and not str(column).startswith(OURS) and numbers.isna().all():
                continue  # somebody's text
            bad |= numbers.isna() & found[column].notna()
            found[column] = numbers
    for column in needed:
        if column in ("epoch", "step", *NAMES) and found[column].hasnans:
            bad |= found[column].isna()
    return found[~bad] if bad.any() else found


@dataclass(frozen=True)
class Measured:
    """One quantity of one run: (times, layers). inf: measured but not finite; NaN: not measured."""

    times: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    by_step: bool
    layers: Names
    values: Floats

    def at(self, epoch: int) -> "Measured":
        """The last measurement of this epoch alone; of epoch 0, the untrained network, the first."""
        rows = np.flatnonzero(self.epochs == epoch)
        row = rows[-1:] if epoch else rows[:1]
        return replace(self, times=np.zeros(1, dtype=np.int64), epochs=self.epochs[row], values=self.values[row])


def measured(table: pd.DataFrame) -> dict[str, Measured]:
    """layers.csv → quantity → its values; of several measurements in an epoch or step the last."""
    layers = table["layer"].cat.categories.astype(str)
    names = np.array(sorted(layers, key=natural))
    quantities, of_quantity = table["quantity"].cat, table["quantity"].cat.codes.to_numpy()
    of_layer = np.array([list(names).index(layer) for layer in layers])[table["layer"].cat.codes.to_numpy()]
    epochs, steps = (table[name].to_numpy(dtype=np.int64) for name in ("epoch", "step"))
    values = table["value"].to_numpy(dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.inf)
    found = {}
    for code, quantity in enumerate(quantities.categories):
        rows = np.flatnonzero(of_quantity == code)
        if not len(rows):
            continue
        by_step = len(np.unique(steps[rows])) > len(np.unique(epochs[rows]))
        times, row = np.unique((steps if by_step else epochs)[rows], return_inverse=True)
        present, column = np.unique(of_layer[rows], return_inverse=True)
        grid = np.full((len(times), len(present)), np.nan)
        grid[row, column] = values[rows]
        epoch_of = np.zeros(len(times), dtype=np.int64)
        epoch_of[row] = epochs[rows]
        found[str(quantity)] = Measured(times, epoch_of, by_step, tuple(names[present].tolist()), grid)
    return found


@dataclass
class Folders:
    """Reads run folders, and remembers what in them was damaged or absent; the person learns it at once."""

    damaged: list[tuple[str, str]] = field(default_factory=list)
    _epochs: dict[str, pd.DataFrame | None] = field(default_factory=dict)
    _layers: dict[str, dict[str, Measured]] = field(default_factory=dict)

    def epochs(self, run: Run) -> pd.DataFrame | None:
        """epochs.csv: the last row of each epoch, by epoch; None if there is none. Read once."""
        if run["folder"] not in self._epochs:
            found = self.read(run, "epochs")
            by_epoch = None if found is None else found.drop_duplicates("epoch", keep="last").set_index("epoch")
            self._epochs[run["folder"]] = by_epoch
        return self._epochs[run["folder"]]

    def layers(self, run: Run) -> dict[str, Measured]:
        """layers.csv by quantity; nothing if there is none. Read once."""
        if run["folder"] not in self._layers:
            found = self.read(run, "layers")
            self._layers[run["folder"]] = {} if found is None else measured(found)
        return self._layers[run["folder"]]

    def read(self, run: Run, name: str, needed: tuple[str, ...] = ()) -> pd.DataFrame | None:
        """NAME.csv of a run; of a table that was cut off, the complete rows. None if there is none to read."""
        faults: list[str] = []
        found = rows(table(Path(run["folder"]), name), faults, needed)
        for fault in faults:
            self._note(run, fault)
        return found

    def _note(self, run: Run, fault: str) -> None:
        if (run["name"], fault) not in self.damaged:
            self.damaged.append((run["name"], fault))
            warn(f"{run['folder']}: {fault}")

    def quantities(self, run: Run) -> dict[str, dict[str, str]]:
        """What a run says its quantities mean: name → unit, scale, definition, kind."""
        try:
            declared = json.loads(Path(run["folder"], QUANTITIES).read_text(encoding="utf-8"))
        except OSError:
            return {}
        except ValueError:
            self._note(run, f"{QUANTITIES} can’t be read")
            return {}
        parts: dict[str, Any] = declared if isinstance(declared, dict) else {}
        return {
            name: {key: str(part.get(key, "")) for key in ("unit", "scale", "definition", "kind")}
            for name, part in parts.items()
            if isinstance(part, dict)
        }
