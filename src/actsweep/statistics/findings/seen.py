"""What rules see of a setting: each run's tables, and numbers by layer and seed at the times that matter."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from actsweep.results.folders import Folders
from actsweep.results.measured import Floats, Measured
from actsweep.results.reading import Run, measured_at
from actsweep.statistics import inference
from actsweep.statistics.setting import Setting


@dataclass(frozen=True)
class Tables:
    """A run's epochs.csv, its last row of each epoch by epoch; layers.csv by quantity; steps.csv. Empty: not there."""

    epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: Mapping[str, Measured] = field(default_factory=dict)
    steps: pd.DataFrame = field(default_factory=pd.DataFrame)


def tables_of(run: Run, folders: Folders | None = None) -> Tables:
    """What lies in a run's folder."""
    folders = folders or Folders()
    epochs = folders.epochs(run)
    return Tables(pd.DataFrame() if epochs is None else epochs, folders.layers(run))


@dataclass(frozen=True)
class Seen:
    """A setting and its observed runs' tables, in the order of seeds."""

    setting: Setting
    runs: tuple[Run, ...]
    tables: tuple[Tables, ...]

    @property
    def n(self) -> int:
        return len(self.runs)

    def option(self, key: str, otherwise: Any = None) -> Any:
        """A key of the configuration, which all runs of a setting share."""
        found: Any = self.runs[0].get("config") or {}
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return otherwise if found is None else found

    def layers_at(self, quantity: str, when: Callable[[Run, Measured], int | None]) -> "ByLayer | None":
        """The quantity of each run that has it at the epoch that `when` says; None without any."""
        found = [
            part.at(epoch)
            for run, tables in zip(self.runs, self.tables, strict=True)
            if (part := tables.layers.get(quantity)) is not None
            and (epoch := when(run, part)) is not None
            and (part.epochs == epoch).any()
        ]
        return ByLayer.of(found)

    def untrained(self, quantity: str) -> "ByLayer | None":
        return self.layers_at(quantity, lambda run, part: 0)

    def trained(self, quantity: str) -> "ByLayer | None":
        """At the tested weights, of a run that was not tested at its last measurement."""
        return self.layers_at(quantity, lambda run, part: measured_at(run, part.epochs.tolist()) or None)

    @cached_property
    def classes(self) -> int | None:
        return next((run["classes"] for run in self.runs if run.get("classes")), None)


@dataclass(frozen=True)
class ByLayer:
    """One quantity at one time: layers' names, values (S, L) over seeds."""

    layers: tuple[str, ...]
    values: Floats

    @classmethod
    def of(cls, parts: Sequence[Measured]) -> "ByLayer | None":
        """Of the layers that all parts have."""
        if not parts:
            return None
        shared = [name for name in parts[0].layers if all(name in part.layers for part in parts)]
        rows = [[part.values[0, part.layers.index(name)] for name in shared] for part in parts]
        return cls(tuple(shared), np.array(rows)) if shared else None


def geometric(values: Floats) -> inference.Estimate:
    """Geometric mean with Student's interval of the logarithms; 0 where one is 0.

    >>> round(geometric(np.array([1.0, 100.0])).value, 9)
    10.0
    """
    finite = values[np.isfinite(values)]
    if not len(finite) or (finite <= 0).any():
        return inference.Estimate(0.0 if len(finite) else math.nan, n=len(finite))
    logs = inference.mean(np.log(finite).tolist())
    return inference.Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)


def seen(setting: Setting, read: Callable[[Run], Tables]) -> Seen:
    runs = setting.observed
    return Seen(setting, runs, tuple(read(run) for run in runs))
