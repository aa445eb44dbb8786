"""What rules see of a setting: each run's tables, and numbers by layer and seed at the times that matter."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from actsweep.results.folders import Floats, Folders, Measured
from actsweep.results.reading import Run, status
from actsweep.statistics import inference
from actsweep.statistics.findings.finding import BREAKS, HARMS, NOTE, Fact
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import Setting

WIDE = 32  # units: a layer so wide is never off by chance
AT_CHANCE = 0.9  # of the loss of guessing: what is above it has learnt nothing yet


@dataclass(frozen=True)
class Tables:
    """epochs.csv, a row an epoch, by epoch; layers.csv by quantity; `read(name)`: another table; None: not there."""

    epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: Mapping[str, Measured] = field(default_factory=dict)
    read: Callable[[str], pd.DataFrame | None] = lambda name: None


def tables_of(run: Run, folders: Folders | None = None) -> Tables:
    """What lies in a run's folder."""
    folders = folders or Folders()
    epochs = folders.epochs(run)
    return Tables(pd.DataFrame() if epochs is None else epochs, folders.layers(run), partial(folders.read, run))


@dataclass(frozen=True)
class ByLayer:
    """One quantity at one time: layers' names, values (S, L) over seeds."""

    layers: tuple[str, ...]
    values: Floats

    @property
    def mean(self) -> Floats:
        """(L,)"""
        return self.values.mean(axis=0)

    def worst(self) -> tuple[str, Floats]:
        """The layer with the highest mean, and its values (S,)."""
        place = int(np.argmax(self.mean))
        return self.layers[place], self.values[:, place]


@dataclass(frozen=True)
class Seen:
    """A setting and the tables of its runs that ended with numbers, those that diverged last."""

    setting: Setting
    runs: tuple[Run, ...]
    tables: tuple[Tables, ...]

    @classmethod
    def of(cls, setting: Setting, read: Callable[[Run], Tables]) -> "Seen":
        runs = (*setting.completed, *setting.diverged)
        return cls(setting, runs, tuple(map(read, runs)))

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def label(self) -> str:
        return self.setting.label

    def only(self, runs: Sequence[Run]) -> "Seen":
        """What these of its runs recorded."""
        known = {id(run): tables for run, tables in zip(self.runs, self.tables, strict=True)}
        return replace(self, runs=tuple(runs), tables=tuple(known[id(run)] for run in runs))

    def option(self, key: str) -> Any:
        """A value of the configuration, which all runs of a setting share; None: not said."""
        found: Any = self.setting.runs[0].get("config") or {}
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def number(self, key: str) -> float | None:
        found = self.option(key)
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    def at(self, quantity: str, when: Callable[[Run, Measured], int | None]) -> ByLayer | None:
        """The quantity of each run that has it, finite, in the epoch that `when` says, by the layers that all have."""
        found = [
            part.at(epoch)
            for run, tables in zip(self.runs, self.tables, strict=True)
            if (part := tables.layers.get(quantity)) is not None
            and (epoch := when(run, part)) is not None
            and (part.epochs == epoch).any()
            and np.isfinite(part.at(epoch).values).all()
        ]
        shared = [name for name in found[0].layers if all(name in part.layers for part in found)] if found else []
        rows = [[part.values[0, part.layers.index(name)] for name in shared] for part in found]
        return ByLayer(tuple(shared), np.array(rows)) if shared else None

    def measured(self, quantity: str, layer: str | None = None) -> list[Measured]:
        """All measurements of the runs that have it, and this layer."""
        found = (each.layers.get(quantity) for each in self.tables)
        return [part for part in found if part is not None and (layer is None or layer in part.layers)]

    def untrained(self, quantity: str) -> ByLayer | None:
        return self.at(quantity, lambda run, part: 0)

    def trained(self, quantity: str) -> ByLayer | None:
        """At the last measurement, of the completed runs: a diverged one's is of what is no network any more."""
        return self.at(quantity, lambda run, part: (status(run) == "completed" and int(part.epochs.max())) or None)

    @property
    def ends(self) -> Iterable[tuple[str, int | None, Callable[[str], ByLayer | None]]]:
        """Before and after training: in words, as Where's epoch, and how a quantity is read."""
        return ("before training", 0, self.untrained), ("at the end", None, self.trained)

    @cached_property
    def guessing(self) -> float:
        """The cross-entropy of guessing, nats; NaN of a regression."""
        classes = next((run["classes"] for run in self.runs if run.get("classes")), None)
        return math.log(classes) if classes and classes > 1 and self.setting.measure == "test_accuracy" else math.nan

    @property
    def patience(self) -> float | None:
        """Unless something else may have ended the runs before their last epoch."""
        return None if self.option("trainer.max_time") else self.number("patience")

    @staticmethod
    def of_epochs(tables: Tables, *columns: str) -> pd.DataFrame:
        """The rows of epochs.csv in which all of these are finite numbers; none where a column is not there."""
        if not {*columns} <= {*tables.epochs}:
            return pd.DataFrame(columns=list(columns), dtype=float)
        found = tables.epochs[list(columns)].astype(float)
        return found[np.isfinite(found.to_numpy()).all(axis=1)]

    def curves(self, column: str) -> list[Floats]:
        """The finite numbers of a column of each run's epochs.csv, by epoch, where there are some."""
        found = [each.epochs[column].to_numpy(dtype=float) for each in self.tables if column in each.epochs]
        return [finite for curve in found if len(finite := curve[np.isfinite(curve)])]

    @property
    def is_penalised(self) -> bool:
        """Whether training losses hold a penalty: then those of the validation tell how far training came."""
        return bool(self.number("optim.l2"))

    @property
    def loss(self) -> str:
        """What `losses` are, in words."""
        return "validation loss" if self.is_penalised else "training loss"

    def losses(self) -> list[Floats]:
        """Those of each run, by epoch, that tell how far training came."""
        return self.curves("val_loss" if self.is_penalised else "train_loss")

    @cached_property
    def learnt(self) -> list[bool]:
        """Of each run whether it learnt anything; a diverged one did not. Of regressions and of networks without an
        accuracy, whether its loss fell by a tenth; of untrained ones, nothing."""
        return [known for known in map(_learnt, self.runs, self.tables) if known is not None]

    @cached_property
    def unlearnt(self) -> Estimate:
        """The share of runs that learnt nothing."""
        return inference.proportion(self.learnt.count(False), len(self.learnt))

    @property
    def severity(self) -> int:
        """Where nobody knows whether the runs learnt, as of untrained networks: worth knowing."""
        if not self.learnt:
            return NOTE
        return BREAKS if self.unlearnt.value > 0.5 else HARMS

    @cached_property
    def waited(self) -> Estimate:
        """Mean share of a run's epochs in which its training loss was still that of guessing."""
        shares = [float(np.mean(~(curve < AT_CHANCE * self.guessing))) for curve in self.losses() if len(curve)]
        return average(shares if not math.isnan(self.guessing) else []).within(0, 1)

    @property
    def suffers(self) -> bool:
        """Whether most runs learnt nothing, or spent a tenth of their epochs, and at least two, on learning nothing."""
        epochs = [run["epochs"] for run in self.runs if run.get("epochs")]
        late = self.waited.value >= 0.1 and self.waited.value * float(np.mean(epochs or [0])) >= 1.5
        return self.unlearnt.value > 0.5 or late

    def lost(self) -> str:
        """How many runs learnt nothing, in words."""
        n = len(self.learnt)
        return f"{self.learnt.count(False)} of {n} run{'s' * (n != 1)} learnt nothing"

    def said(self) -> str:
        """What came of the runs, in words."""
        if not self.learnt:
            return "Whether the runs learn isn’t known yet."
        if not all(self.learnt):
            return f"{self.lost()}{self.stopped()}."
        if not self.waited.value >= 0.005:  # or unknown, as of regressions
            return "The runs learnt all the same."
        late = f"{self.waited.value:.0%} of their epochs"
        return f"The runs learnt all the same, but spent {late} at the loss of guessing."

    def stopped(self) -> str:
        """What ended the runs that learnt nothing, if it was patience, in words."""
        patience, most = self.patience, self.number("trainer.max_epochs") or 0
        ended = [run["epochs"] for run in self.runs if run.get("best_epoch") and run["epochs"] < most]
        if not patience or self.unlearnt.value <= 0.5 or len(ended) * 2 <= self.n:
            return ""
        return f": early stopping (patience {patience:.0f}) ended them on a plateau after {span(ended)} epochs"

    def left(self) -> float:
        """The last training loss in losses of guessing, the median over runs; NaN where that is not known."""
        lasts = [float(curve[-1]) for curve in self.losses()]
        return float(np.median(lasts)) / self.guessing if lasts else math.nan

    def outcome(self) -> Fact:
        return fact("runs that learnt nothing", self.unlearnt)


def _learnt(run: Run, tables: Tables) -> bool | None:
    if status(run) != "completed":
        return False
    if not run.get("epochs"):
        return None
    accuracy = run.get("test_accuracy") if run.get("test_accuracy") is not None else run.get("val_accuracy")
    if accuracy is not None and run.get("classes"):
        return inference.trained(accuracy, run["classes"])
    loss = next((tables.epochs[name] for name in ("train_loss", "val_loss") if name in tables.epochs), None)
    if loss is None or len(loss) < 2:
        return None
    if loss.min() < AT_CHANCE * loss.iloc[0]:
        return True
    # What the first epoch has brought, its mean hides.
    return None if loss.iloc[0] < AT_CHANCE * run.get("first_loss", math.nan) else False


def fact(name: str, found: Estimate, unit: str = "1", theory: float = math.nan, threshold: float = math.nan) -> Fact:
    return Fact(name, found.value, unit, found.n, found.low, found.high, theory, threshold)


def wider(seen: Seen) -> tuple[str, ...]:
    """Layers four times as wide, and of WIDE units at least."""
    sizes = seen.runs[0].get("hidden_sizes") or []
    if not sizes:
        return ()
    wide = [max(WIDE, 4 * size) for size in sizes]
    is_even = len(set(wide)) == 1
    return (f"depth={len(wide)}", f"width={wide[0]}") if is_even else (f"hidden_sizes=[{','.join(map(str, wide))}]",)


def span(numbers: Sequence[int]) -> str:
    """The smallest and the largest, in words.

    >>> span([9, 8, 14]), span([3])
    ('8 to 14', '3')
    """
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def average(values: Iterable[float]) -> Estimate:
    """The mean of those that are finite."""
    return inference.mean([float(value) for value in values if math.isfinite(value)])


def geometric(values: Sequence[float] | Floats) -> Estimate:
    """Geometric mean of those of (S,) that are finite, with Student's interval of the logarithms; 0 where one is 0.

    >>> round(geometric([1.0, 100.0]).value, 9)
    10.0
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite) or (finite <= 0).any():
        return Estimate(0.0 if len(finite) else math.nan, n=len(finite))
    logs = average(np.log(finite))
    with np.errstate(over="ignore"):
        return Estimate(float(np.exp(logs.value)), float(np.exp(logs.low)), float(np.exp(logs.high)), logs.n)
