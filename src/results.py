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
    NAME.unreadable   a damaged file, set aside
    .lock             names the process at work here (src/locks.py)

and in a sweep's folder:

    sweep.json        its question, the command, and the names of the runs that it consists of
    results.csv       one row per run, also of those that are missing (src/report.py)
"""

import json
import math
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_only

from src import REPOSITORY, threads

if TYPE_CHECKING:  # whoever only reads runs loads neither torch nor Lightning
    from src.config import Settings
    from src.tables import Tables

RESULT, EPOCHS, LAYERS, HISTOGRAMS = "result.json", "epochs.csv", "layers.csv", "histograms.csv"
QUANTITIES, ERROR, SWEEP = "quantities.json", "error.txt", "sweep.json"
BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
LAYER_COLUMNS = ("epoch", "step", "layer", "quantity", "value")
COUNTS = ("dead_outputs", "dead_units")
SUMMARY = (*COUNTS, "dead_fraction", "saturated_fraction", "grad_norm", "grad_max_abs")
HISTOGRAM_COLUMNS = ("epoch", "step", "layer", "quantity", "low", "high", "counts")


def temporary_beside(path: Path) -> Path:
    """Where to write what shall replace `path`: on the same file system. Leftovers of a kill have the same ending."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """Have the system put a file's content, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename so that `target` is at any time the old file or the whole new one, also after a power cut."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def write_atomically(path: Path, text: str, durable: bool = True) -> None:
    """Write so that the file at `path` is at any time either the old one or the whole new one.

    `durable`: also after a power cut; that takes the disk some milliseconds.
    """
    temporary = temporary_beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        replace(temporary, path) if durable else temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@rank_zero_only
def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Once everything else that the run left is on disk."""
    for path in folder.glob("*.csv"):
        sync(path)
    write_atomically(folder / RESULT, json.dumps(result, indent=2, allow_nan=False, default=str) + "\n")


@rank_zero_only
def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file, which is neither trusted nor deleted, and say so."""
    aside = path.with_name(f"{path.name}.unreadable")
    path.replace(aside)
    print(f"warning: {path} can't be read ({reason}); it is now {aside.name}", file=sys.stderr)


def finished(folder: Path, settings: "Settings") -> dict[str, Any] | None:
    """The result of these settings that `rerun` lets stand, if there is one. A damaged one is set aside."""
    found = read_result(folder)
    if found is None and (folder / RESULT).exists():
        set_aside(folder / RESULT, "no JSON of a run's summary")
    if found is None or settings.rerun == "all" or found.get("config_hash") != settings.hash():
        return None
    return None if found["status"] == "failed" and settings.rerun == "failed" else found


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
    patterns = ("*.csv", "events.out.tfevents.*", ".*.tmp", "checkpoints/.*.tmp")
    for path in [*(folder / name for name in files), *(path for each in patterns for path in folder.glob(each))]:
        path.unlink(missing_ok=True)


def table_sizes(folder: Path) -> dict[str, int]:
    """How many bytes each of a run's tables has."""
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.csv"))}


def rewind(folder: Path, sizes: dict[str, int]) -> bool:
    """Cut the tables back to the sizes they had at a checkpoint; False, and nothing done, where one is too short."""
    present = table_sizes(folder)
    if any(present.get(name, -1) < size for name, size in sizes.items()):
        return False
    _cut(folder, sizes)
    return True


@rank_zero_only
def _cut(folder: Path, sizes: dict[str, int]) -> None:
    for path in folder.glob("*.csv"):
        if path.name in sizes:
            os.truncate(path, sizes[path.name])
        else:
            path.unlink()  # written after the checkpoint: the resumed run writes it again
    for path in (folder / RESULT, folder / ERROR, *folder.glob(".*.tmp"), *folder.glob("checkpoints/.*.tmp")):
        path.unlink(missing_ok=True)


@rank_zero_only
def write_quantities(folder: Path, quantities: Iterable[Any]) -> None:
    described = {quantity.name: vars(quantity) for quantity in quantities}
    write_atomically(folder / QUANTITIES, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def describe(settings: "Settings", folder: Path) -> dict[str, Any]:
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
def write_failure(settings: "Settings", folder: Path, error: Exception) -> None:
    """Leave the traceback in error.txt and a result.json that says `failed`."""
    trace = "".join(traceback.format_exception(error))
    reason = {
        "status": "failed",
        "error": " ".join(f"{type(error).__name__}: {error}".split()),
        "val_accuracy": None,
        "test_accuracy": None,
    }
    try:
        write_atomically(folder / ERROR, trace)
        write_result(folder, describe(settings, folder) | reason)
    except OSError as second:  # a full disk: what there is room for is on the terminal
        print(f"{trace}error: {folder}: not even the failure could be noted: {second}", file=sys.stderr)


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """Versions, machine and git revision: what else a result may depend on."""
    packages = ("torch", "pytorch-lightning", "hydra-core", "numpy")
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "waiting": threads.waiting(),
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
