"""layers.csv as arrays: what one run measured of each quantity, by time and layer.

Flow: results → statistics, report.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.results.reading import natural

Floats = npt.NDArray[np.float64]
Names = tuple[str, ...]


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
