"""A question's tidy table, computed once from settings: figures/ and page/ draw it. Needs no matplotlib, no torch."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.config.descriptions import flat
from actsweep.errors import UserError
from actsweep.report.wording import thinned
from actsweep.results import folders, run_folder
from actsweep.results.reading import Run, natural
from actsweep.statistics import inference
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import Setting, act_order, settings_of

Runs = Sequence[Run]
Values = Sequence[float] | npt.NDArray[np.float64]
SWITCH_ON = {
    "epochs": "train for at least one epoch",
    "layers": "switch on diagnostics=[gradients]",
    "histograms": "switch on diagnostics=[histograms]",
    "curves": "switch on diagnostics=[curve]",
    "steps": "switch on diagnostics=[steps]",
    "examples": "switch on diagnostics=[per_example]",
    "regions": "switch on diagnostics=[regions]",
    "predictions": "switch on diagnostics=[predictions]",
}
PLAIN_WITHOUT = (  # of which a published training has none unless it says so
    *("optim.momentum", "optim.dampening", "optim.nesterov", "optim.weight_decay", "optim.l2"),
    *("trainer.gradient_clip_val", "data.standardise", "data.replacement"),
)
TUTORIAL3 = {"optim.lr": 0.01, "optim.momentum": 0.9, "data.batch_size": 256}  # UvA DL notebooks
PERCENT = "test_accuracy_percent"
SMALL = 2**13  # bytes: tables of which those of thousands of runs are kept
WHEN = ("untrained", "trained")


def endings(settings: Sequence[Setting], missing: Sequence[Path]) -> dict[str, list[str]]:
    """How runs ended → the names of those that did, each seed of a setting once; those that never did are missing."""
    ended = ("completed", "diverged", "failed")
    named = {each: [run["name"] for setting in settings for run in getattr(setting, each)] for each in ended}
    return named | {"missing": [path.name for path in missing]}


def keep(
    groups: Iterable[Setting], wanted: Callable[[Run], bool], otherwise: str, most: int | None = None
) -> list[Setting]:
    """The settings' completed runs for which `wanted(run)`, `most` of each. Raises UserError, `otherwise`, if none is
    left."""
    groups = list(groups)
    if not any(group.completed for group in groups):
        raise UserError("no run completed")
    kept = [replace(group, completed=tuple(islice(filter(wanted, group.completed), most))) for group in groups]
    if found := [group for group in kept if group.completed]:
        return found
    raise UserError(otherwise)


def with_accuracy(settings: Iterable[Setting], otherwise: str) -> list[Setting]:
    """The settings' completed runs that have a test accuracy; `otherwise` as in `keep`."""
    return keep(settings, lambda run: run.get("test_accuracy") is not None, otherwise)


def with_table(runs: Runs, name: str, most: int | None = None) -> list[Setting]:
    """The settings' completed runs whose folder has NAME.csv, `most` of each. Raises UserError that says what to do if
    none has."""

    def has(run: Run) -> bool:  # an untrained network was validated, which is no learning curve
        return (run["epochs"] > 0 or name != "epochs") and has_table(run, name)

    return keep(settings_of(runs), has, f"no completed run has {name}.csv: {SWITCH_ON[name]}", most)


def has_table(run: Run, name: str) -> bool:
    """Whether there are rows in it that can be read; the page tells of others."""
    return _rows(run_folder.table(Path(run["folder"]), name)) is not None


def table(run: Run, name: str) -> pd.DataFrame:
    """NAME.csv of a run's folder, which it has."""
    found = _rows(run_folder.table(Path(run["folder"]), name))
    assert found is not None
    return found.copy()


def _rows(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    of = path.stat()
    return (_read_small if of.st_size <= SMALL else _read_large)(path, of.st_mtime_ns)


def _read(path: Path, written_ns: int) -> pd.DataFrame | None:
    found = folders.rows(path, [])
    if found is None or not (names := [name for name in folders.NAMES if name in found]):
        return found
    return found.astype(dict.fromkeys(names, str))


_read_small, _read_large = lru_cache(maxsize=2**13)(_read), lru_cache(maxsize=2**8)(_read)  # many figures ask for them


def by_layer(run: Run, quantities: Iterable[str], epoch: int | None = None) -> pd.DataFrame:
    """The rows of layers.csv with these quantities, of all epochs or one, layers as numbers; empty without any."""
    if not has_table(run, "layers"):
        return pd.DataFrame()
    found = table(run, "layers")
    found = found[found["quantity"].isin(list(quantities)) & ((found["epoch"] == epoch) | (epoch is None))]
    return found.assign(layer=found["layer"].map(layer_number))


def layer_number(layer: str) -> int:
    """layer_03 → 3."""
    return int(layer.rpartition("_")[2])


def of_group(group: Setting, found: pd.DataFrame) -> pd.DataFrame:
    """What was found in the setting's first run, with columns that say so."""
    return found.assign(act=group.act, setting=group.label, seed=group.first["seed"])


def trains_as(run: Run, published: Mapping[str, Any]) -> bool:
    """Whether a run's configuration has these values, and otherwise none of what would change its training."""
    found = flat(run["config"])
    as_published = all(found.get(key) == value for key, value in published.items())
    return as_published and not any(found.get(key) for key in PLAIN_WITHOUT if key not in published)


def loss_unit(runs: Iterable[Run]) -> str:
    """The unit of these runs' losses: nats, or in regressions the square of the labels' unit; both where both are."""
    units = {"label²" if run["config"].get("loss") == "mse" else "nats" for run in runs}
    return " or ".join(sorted(units, reverse=True)) or "nats"


def t_interval(values: Values, possible: tuple[float, float]) -> tuple[float, float] | None:
    """The mean's 95 % interval by Student's t, without what is not possible; None for fewer than two values.

    >>> low, high = t_interval([1.0, 2.0, 3.0], possible=(-9, 9))
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    >>> t_interval([0.0, 100.0], possible=(0, 100))
    (0, 100)
    """
    if len(values) < 2:
        return None
    estimate = inference.mean(list(values)).within(*possible)
    return estimate.low, estimate.high


def geometric_mean(values: Values) -> float:
    """exp of the mean logarithm; 0 if any value is 0.

    >>> round(geometric_mean([1.0, 100.0]), 9), geometric_mean([0.0, 1.0])
    (10.0, 0.0)
    """
    found = np.asarray(values, dtype=np.float64)
    return float(np.exp(np.mean(np.log(found)))) if (found > 0).all() else 0.0


def mean_of(values: Sequence[float | None] | None) -> float | None:
    """The mean of those there are; None without any.

    >>> mean_of([1, None, 2]), mean_of(None)
    (1.5, None)
    """
    known = [float(value) for value in values or () if value is not None]
    return sum(known) / len(known) if known else None


def thin(frame: pd.DataFrame, most: int = 1000, logarithmic: bool = False) -> pd.DataFrame:
    """At most so many rows, evenly spaced (on a logarithmic axis, if asked), the first and the last among them."""
    return frame.iloc[thinned(len(frame), most, logarithmic)]


def outcomes(groups: Iterable[Setting], quantity: str = "test_accuracy", column: str = PERCENT) -> pd.DataFrame:
    """A row per completed run; accuracies in %."""
    factor = 100 if quantity == "test_accuracy" else 1
    found = [(g.act, g.label, run["seed"], factor * run[quantity]) for g in groups for run in g.completed]
    return pd.DataFrame(found, columns=["act", "setting", "seed", column])


def averaged(values: Values, possible: tuple[float, float]) -> tuple[int, float, float, float]:
    """n, mean, and the ends of its 95 % interval; NaN for a single value, which has none, and without any."""
    low, high = t_interval(values, possible) or (math.nan, math.nan)
    return len(values), float(np.mean(values)) if len(values) else math.nan, low, high


def chances(groups: Iterable[Setting]) -> set[float]:
    """Accuracies by chance, in %."""
    return {100 / run["classes"] for group in groups for run in group.completed}


def trained_of(setting: Setting) -> tuple[int, int]:
    """How many runs learnt anything, and of how many: those that diverged did not, those that failed don't count."""
    known = [run for run in setting.completed if run.get("test_accuracy") is not None and run.get("classes")]
    count = sum(inference.trained(run["test_accuracy"], run["classes"]) for run in known)
    return count, len(known) + len(setting.diverged)


def trained_share(setting: Setting) -> Estimate | None:
    """The share of runs that learnt anything; of regressions, which know no chance, none."""
    count, n = trained_of(setting)
    return inference.proportion(count, n) if n and setting.measure == "test_accuracy" else None


def at(when: str, run: Run, quantity: str) -> list[Any] | None:
    """What a run's summary says of each layer before training, or at the end; an untrained one has no end."""
    if when == "trained":
        return run.get(quantity) if run["epochs"] else None
    return (run.get("initial") or {}).get(quantity)


def norms(group: Setting, when: str) -> pd.DataFrame:
    """One row per layer: geometric mean, minimum and maximum over the n seeds with a finite norm."""
    rows = []
    found = [each for run in group.completed if (each := at(when, run, "grad_norm"))]
    for layer, values in enumerate(zip(*found, strict=True), start=1):
        finite = [value for value in values if value is not None and math.isfinite(value)]
        if finite:
            summary = (len(finite), geometric_mean(finite), min(finite), max(finite))
            rows.append((group.act, group.label, when, layer, *summary))
    return pd.DataFrame(rows, columns=["act", "setting", "when", "layer", "n", "grad_norm", "lowest", "highest"])


def first_to_last(setting: Setting) -> float | None:
    """The untrained network's gradient norm, first layer ÷ output layer: geometric mean over runs; 0 where one is 0."""
    ends = [(each[0], each[-1]) for run in setting.observed if (each := at("untrained", run, "grad_norm"))]
    ratios = [first / last for first, last in ends if first is not None and last]
    return geometric_mean(ratios) if ratios else None


def by_epoch(tables: Mapping[int, pd.DataFrame], column: str) -> pd.DataFrame:
    """Seed → rows once an epoch: a column of them by epoch, a column per seed; accuracies in %. NaN: none finite."""
    wide = pd.DataFrame({seed: table[column] for seed, table in tables.items()}).astype(float).sort_index()
    return (100 if column.endswith("accuracy") else 1) * wide.where(np.isfinite(wide))


def functions(groups: Iterable[Setting]) -> dict[str, Setting]:
    """Name → the first setting with this function; the name has its arguments where an activation has several."""
    built: dict[tuple[str, str], Setting] = {}
    for group in groups:
        if group.observed:
            arguments = group.observed[0]["config"].get("act") or {}
            said = ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "_target_")
            built.setdefault((group.act, said or json.dumps(arguments.get("_target_"))), group)
    acts = [act for act, _ in built]
    return {
        f"{act}, {said}" if acts.count(act) > 1 else act: group
        for (act, said), group in sorted(built.items(), key=lambda each: (act_order(each[0][0]), natural(each[0][1])))
    }
