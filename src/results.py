"""What a run leaves behind: the only module that knows names and formats of the files in a run folder.

Flow: diagnostics → **results** → statistics.

    epochs.csv        one row per epoch: losses in nats, accuracies as fractions
    layers.csv        one row per epoch × step × layer × quantity
    histograms.csv    one row per epoch × step × layer × quantity: the range and the counts of equal bins
    NAME.csv          what some diagnostics measure besides: the columns are theirs
    quantities.json   what each quantity of layers.csv and histograms.csv means, its unit and scale
    checkpoints/      best.ckpt, last.ckpt
    result.json       the run's summary, written last: while it is missing, the run has not ended
    error.txt         the traceback of a failed run

and in a sweep's folder:

    sweep.json        its question, the command, and the names of the runs that it consists of
    results.csv       one row per run (src/report.py)
"""

import csv
import json
import math
import os
import platform
import subprocess
import traceback
from argparse import Namespace
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from src import REPOSITORY
from src.config import Settings

RESULT, EPOCHS, LAYERS, HISTOGRAMS = "result.json", "epochs.csv", "layers.csv", "histograms.csv"
QUANTITIES, ERROR, SWEEP = "quantities.json", "error.txt", "sweep.json"
BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
LAYER_COLUMNS = ("epoch", "step", "layer", "quantity", "value")
COUNTS = ("dead_outputs", "dead_units")
SUMMARY = (*COUNTS, "dead_fraction", "saturated_fraction", "grad_norm", "grad_max_abs")
HISTOGRAM_COLUMNS = ("epoch", "step", "layer", "quantity", "low", "high", "counts")


def write_atomically(path: Path, text: str) -> None:
    """Write so that the file at `path` is at any time either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@rank_zero_only
def write_result(folder: Path, result: dict[str, Any]) -> None:
    write_atomically(folder / RESULT, json.dumps(result, indent=2, allow_nan=False, default=str) + "\n")


def read_result(folder: Path) -> dict[str, Any] | None:
    """A run's summary, or None where there is none (yet) that can be read."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and "status" in result else None


def write_sweep(folder: Path, question: str | None, command: str, expected: list[str]) -> None:
    """Note what a sweep is, before its first run. Runs that an earlier command put into the folder stay expected."""
    earlier = read_sweep(folder).get("expected", [])
    folder.mkdir(parents=True, exist_ok=True)
    noted = {"question": question, "command": command, "expected": list(dict.fromkeys([*earlier, *expected]))}
    write_atomically(folder / SWEEP, json.dumps(noted, indent=2) + "\n")


def read_sweep(folder: Path) -> dict[str, Any]:
    """What `write_sweep` noted; nothing where it can't be read."""
    try:
        noted = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def table(folder: Path, name: str) -> Path:
    """Where a run keeps a table."""
    return folder / f"{name}.csv"


@rank_zero_only
def prepare(folder: Path) -> None:
    """Make the folder, and remove what an earlier attempt at this run left in it, so that tables don't mix."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[str | Path] = [RESULT, QUANTITIES, ERROR, BEST, LAST]
    for path in [*(folder / name for name in files), *folder.glob("*.csv"), *folder.glob("events.out.tfevents.*")]:
        path.unlink(missing_ok=True)


@rank_zero_only
def write_quantities(folder: Path, quantities: Iterable[Any]) -> None:
    described = {quantity.name: vars(quantity) for quantity in quantities}
    write_atomically(folder / QUANTITIES, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def describe(settings: Settings, folder: Path) -> dict[str, Any]:
    """What a run was asked to do, with what: known before it starts."""
    names = settings.names
    return {
        "name": folder.name,
        "act": names.act,
        "depth": len(settings.layer_sizes),
        "hidden_sizes": settings.layer_sizes,
        "init": names.init,
        "norm": settings.norm,
        "data": names.data,
        "optim": names.optim,
        "seed": settings.seed,
        "config_hash": settings.hash(),
        "config": settings.plain(),
    } | provenance()


def summarise(tables: "Tables", tested: dict[str, Any] | None) -> dict[str, Any]:
    """What a run found. Accuracies are fractions; per-layer lists run from the input to the output layer.

    `tested`: the epoch whose weights were tested, test_loss and, unless it is a regression, test_accuracy. A run that
    was not tested is `diverged`: its loss stopped being finite, and it has no accuracy.
    """
    layers = tables.layer_values()
    epoch: int | None = tested["epoch"] if tested else None
    at_epoch = {} if epoch is None else tables.epochs.get(max(epoch, 1), {})  # untrained: validated in epoch 1

    def per_layer(quantity: str, at: int | None) -> list[float | None] | None:
        values = layers.get((-1 if at is None else at, quantity))
        as_number = int if quantity in COUNTS else float
        return [as_number(value) if math.isfinite(value) else None for value in values.values()] if values else None

    return {
        "status": "completed" if tested else "diverged",
        "epochs": 0 if epoch == 0 else max(tables.epochs, default=0),
        "best_epoch": epoch,
        "val_accuracy": at_epoch.get("val_accuracy"),
        "val_loss": at_epoch.get("val_loss"),
        "test_accuracy": tested.get("test_accuracy") if tested else None,
        "test_loss": tested.get("test_loss") if tested else None,
        "initial": {name: per_layer(name, 0) for name in SUMMARY},
        **{name: per_layer(name, epoch) for name in SUMMARY},
    }


@rank_zero_only
def write_failure(settings: Settings, folder: Path, error: Exception) -> None:
    """Leave the traceback in error.txt and a result.json that says `failed`."""
    write_atomically(folder / ERROR, "".join(traceback.format_exception(error)))
    reason = {
        "status": "failed",
        "error": " ".join(f"{type(error).__name__}: {error}".split()),
        "val_accuracy": None,
        "test_accuracy": None,
    }
    write_result(folder, describe(settings, folder) | reason)


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """Versions, machine and git revision: what else a result may depend on."""
    packages = ("torch", "pytorch-lightning", "hydra-core", "numpy")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "git": _git_revision(),
    }


def _git_revision() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """The device as a person names it, with the number of threads where that changes results."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


class Tables(Logger):
    """A Lightning logger that writes a run's tidy tables, in the first process only where there are several.

    What a LightningModule logs once per epoch goes to epochs.csv; what diagnostics measure goes to layers.csv and
    histograms.csv. Rows are on disk at the end of each epoch.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.epochs: dict[int, dict[str, float]] = {}
        self._layer_rows: list[tuple[Any, ...]] = []
        self._histogram_rows: list[tuple[Any, ...]] = []

    @property
    def name(self) -> str:
        return "tables"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass  # they are in result.json

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        metrics = dict(metrics)
        epoch = int(metrics.pop("epoch", -1)) + 1  # Lightning counts from 0, the tables count completed epochs
        if epoch and not any(name.startswith("test_") for name in metrics):
            row = self.epochs.setdefault(epoch, {"step": step or 0})
            row.update({name: float(f"{value:.7g}") for name, value in metrics.items()})  # all that float32 holds

    @rank_zero_only
    def log_layers(self, metrics: dict[str, float], epoch: int, step: int) -> None:
        """Values by `quantity/layer`."""
        for tag, value in metrics.items():
            quantity, _, layer = tag.partition("/")
            self._layer_rows.append((epoch, step, layer, quantity, repr(value)))

    @rank_zero_only
    def log_histogram(
        self, tag: str, counts: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], epoch: int, step: int
    ) -> None:
        quantity, _, layer = tag.partition("/")
        row = (epoch, step, layer, quantity, repr(float(edges[0])), repr(float(edges[-1])))
        self._histogram_rows.append((*row, " ".join(str(int(count)) for count in counts)))

    @rank_zero_only
    def log_table(self, name: str, columns: dict[str, Iterable[Any]]) -> None:
        """Append rows to NAME.csv: values by column."""
        self._append(table(self.folder, name).name, tuple(columns), list(zip(*columns.values(), strict=True)))

    @rank_zero_only
    def save(self) -> None:
        self._append(LAYERS, LAYER_COLUMNS, self._layer_rows)
        self._append(HISTOGRAMS, HISTOGRAM_COLUMNS, self._histogram_rows)
        if self.epochs:
            columns = ["epoch", *dict.fromkeys(name for row in self.epochs.values() for name in row)]
            lines = [",".join(columns)]
            for epoch, row in self.epochs.items():
                lines.append(",".join(str({"epoch": epoch, **row}.get(name, "")) for name in columns))
            write_atomically(self.folder / EPOCHS, "\n".join(lines) + "\n")

    def _append(self, name: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        path = self.folder / name
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(columns)
            writer.writerows(rows)
        rows.clear()

    def finalize(self, status: str) -> None:
        self.save()

    def layer_values(self) -> dict[tuple[int, str], dict[str, float]]:
        """What layers.csv holds, as (epoch, quantity) → layer → value; of several steps in an epoch the last."""
        self.save()
        values: dict[tuple[int, str], dict[str, float]] = {}
        path = self.folder / LAYERS
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    key = int(row["epoch"]), row["quantity"]
                    values.setdefault(key, {})[row["layer"]] = float(row["value"])
        return values
