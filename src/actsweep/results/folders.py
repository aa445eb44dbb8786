"""The tables in run folders, read fast and with distrust: a run may have been killed while it wrote them."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from actsweep.results.files import warn
from actsweep.results.measured import Measured, measured
from actsweep.results.reading import Run
from actsweep.results.run_folder import QUANTITIES, table

NUMBERS = ("epoch", "step", "value", "low", "high", "x", "slope", "label", "prediction", "loss", "example")
NAMES = ("layer", "quantity")


NEEDED = {"epochs": ("epoch",), "layers": ("epoch", "step", "layer", "quantity", "value")}


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
    try:
        found = pd.read_csv(io.BytesIO(whole), dtype=dict.fromkeys(NAMES, "category"), low_memory=False)
    except ValueError as error:
        faults.append(f"{path.name}: {error}")
        return None
    if missing := [column for column in needed if column not in found]:
        faults.append(f"{path.name} has no column {', '.join(missing)}")
        return None
    sound = _sound(found, path.stem, needed)
    if len(sound) < len(found):
        faults.append(f"{path.name}: {len(found) - len(sound)} unreadable rows are left out")
    return sound if len(sound) else None


def _sound(found: pd.DataFrame, name: str, needed: tuple[str, ...]) -> pd.DataFrame:
    """The rows that have numbers where numbers belong; a value may be NaN."""
    bad = pd.Series(False, index=found.index)
    for column, kind in found.dtypes.items():
        if (column in NUMBERS or name == "epochs") and not pd.api.types.is_numeric_dtype(kind):
            numbers = pd.to_numeric(found[column], errors="coerce")
            bad |= numbers.isna() & found[column].notna()
            found[column] = numbers
    for column in needed:
        if column in ("epoch", "step", *NAMES) and found[column].hasnans:
            bad |= found[column].isna()
    return found[~bad] if bad.any() else found


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
