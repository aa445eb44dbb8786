"""What a run leaves behind: the only module that knows names and formats of the files in a run folder.

Flow: diagnostics → **results** → statistics.

    epochs.csv        one row per epoch: losses in nats, accuracies as fractions
    layers.csv        one row per epoch × step × layer × quantity
    histograms.csv    one row per epoch × step × layer × quantity: the range and the counts of equal bins
    NAME.csv          what some diagnostics measure besides: the columns are theirs
    quantities.json   what each quantity of layers.csv and histograms.csv means, its unit and scale
    checkpoints/      best.ckpt, last.ckpt
    run.json          what the run was asked to do, with what: written first
    result.json       the same and the run's summary, written last: while it is missing, the run has not ended
    error.txt         the traceback of a failed run
    NAME.unreadable   a damaged file, set aside
    .replaced/        an earlier run, moved aside by rerun=all; nobody reads it
    .actsweep         lists the files that are ours (results/ownership.py)
    .lock             names the process at work here (results/locks.py)

and in a sweep's folder:

    sweep.json        its question, the command, and the names of the runs that it consists of
    results.csv       one row per run, also of those that are missing (report/writing.py)
    report.html, report.json, report.md, results.tex    what the sweep found (report/summary.py)
"""

import json
import math
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actsweep.results import ownership
from actsweep.results.damage import fault
from actsweep.results.files import as_json, heard, listed_at, read_json, sync, warn, write_atomically
from actsweep.results.provenance import provenance
from actsweep.results.rank import zero_only

if TYPE_CHECKING:  # whoever only reads runs loads neither torch nor Lightning
    from actsweep.config.schema import Settings

RESULT, EPOCHS, LAYERS, HISTOGRAMS = "result.json", "epochs.csv", "layers.csv", "histograms.csv"
QUANTITIES, ERROR, RUN, SWEEP, RESULTS = "quantities.json", "error.txt", "run.json", "sweep.json", "results.csv"
BEST, LAST = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
LAYER_COLUMNS = ("epoch", "step", "layer", "quantity", "value")
COUNTS = ("dead_outputs", "dead_units")
VALUES = "own_values"
SUMMARY = (*COUNTS, "dead_fraction", "saturated_fraction", "grad_norm", "grad_max_abs")
HISTOGRAM_COLUMNS = ("epoch", "step", "layer", "quantity", "low", "high", "counts")
EVENTS, REPLACED = "events.out.tfevents.*", ".replaced"
UNFINISHED = "*.tmp"  # was being written when a process died
TRACES = "*.pt.trace.json"  # of trainer.profiler=pytorch
OF_SWEEPERS = ("multirun.yaml", "optimization_results.yaml", ".submitit/")  # what Hydra's plugins write for a sweep


@zero_only
def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Once everything else that the run left is on disk."""
    for path in [*_tables(folder), *(folder / name for name in (QUANTITIES, RUN) if (folder / name).exists())]:
        sync(path)
    write_atomically(folder / RESULT, as_json(result))


@zero_only
def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file, which is neither trusted nor deleted, and say so."""
    names = (f"{path.name}.unreadable{number}" for number in ["", *range(2, 10**6)])
    aside = next(each for name in names if not os.path.lexists(each := path.with_name(name)))
    ownership.record(*listed_at(aside))
    path.replace(aside)
    print(f"warning: {path} can't be read ({reason}); it is now {aside.name}", file=sys.stderr)


def finished(folder: Path, settings: "Settings") -> dict[str, Any] | None:
    """The result that stands in the folder, if there is one. A damaged one is set aside."""
    found = read_result(folder)
    why = fault(found) if found else "no JSON of a run's summary"
    if why and (folder / RESULT).exists() and RESULT in ownership.recorded(folder):
        set_aside(folder / RESULT, why)
    return None if why else standing(found, settings)


def standing(found: dict[str, Any] | None, settings: "Settings") -> dict[str, Any] | None:
    """A result, if it is of these settings and their `rerun` lets it stand."""
    if found is None or settings.rerun == "all" or not is_of(found, settings):
        return None
    return None if found["status"] == "failed" and settings.rerun == "failed" else found


def is_of(result: Mapping[str, Any], settings: "Settings") -> bool:
    """Whether it is what these settings ask for; one of other epochs isn't: its run resumes."""
    epochs = result.get("config", {}).get("trainer", {}).get("max_epochs")
    return result.get("config_hash") == settings.hash() and epochs == settings.trainer.max_epochs


def when_written(folder: Path) -> int | None:
    """When a run's result was written, in ns since 1970; None where there is none."""
    path = folder / RESULT
    return path.stat().st_mtime_ns if path.exists() else None


def read_result(folder: Path) -> dict[str, Any] | None:
    """A run's summary, or None where there is none (yet) that can be read."""
    result = heard(read_json(folder / RESULT))
    return result if {"status", "config"} <= result.keys() else None  # else it is another program's


def read_run(folder: Path) -> dict[str, Any]:
    """What the run in the folder was asked to do, and with what; nothing where none has begun, or no file says it."""
    found = heard(read_json(folder / RUN))
    return found if isinstance(found.get("config"), dict) else {}


def write_sweep(folder: Path, question: str | None, command: str, expected: list[str]) -> None:
    """Note what a sweep is, before its first run. Runs that an earlier command put into the folder stay expected; what
    ended that command doesn't, nor what it was writing here when it was killed."""
    ownership.remove(ownership.own(folder, f".{SWEEP}{UNFINISHED}"))
    earlier = read_sweep(folder).get("expected", [])
    ownership.record(folder, SWEEP, ERROR, *OF_SWEEPERS, *(f"{name}/" for name in expected))
    if not (folder / RUN).exists():  # else it is that run's
        (folder / ERROR).unlink(missing_ok=True)
    noted = {"question": question, "command": command, "expected": list(dict.fromkeys([*earlier, *expected]))}
    write_atomically(folder / SWEEP, json.dumps(noted, indent=2) + "\n")


def read_sweep(folder: Path) -> dict[str, Any]:
    """What `write_sweep` noted."""
    path = folder / SWEEP
    found = read_json(path)
    names = found.get("expected", [])
    is_damaged = not found and SWEEP in ownership.recorded(folder) and path.exists()
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and not is_damaged:
        return found
    warn(f"{path} is damaged: which of its runs are missing isn't known")
    return {key: value for key, value in found.items() if key != "expected"}


def name_of(folder: Path) -> str:
    """A run's name: its folder's, with those that lie between it and its sweep's."""
    for sweep in list(folder.parents)[:3]:
        inside = folder.relative_to(sweep)
        if SWEEP in ownership.recorded(sweep) and not any(part.startswith(".") for part in inside.parts):
            return inside.as_posix()
    return folder.name


def table(folder: Path, name: str) -> Path:
    """Where a run keeps a table."""
    return folder / f"{name}.csv"


@zero_only
def prepare(folder: Path, settings: "Settings", durable: bool = True, keeps: bool = False) -> None:
    """Make the folder, and remove what an earlier attempt at this run left in it, so that tables don't mix. A run that
    has ended well, was asked something else, or that `keeps` says is worth it, is moved aside instead. `durable`: as of
    `write_atomically`."""
    earlier, there = _of_a_run(folder), read_run(folder)
    has_ended_well = (read_result(folder) or {}).get("status") in {"completed", "diverged"}
    is_unknown = not there and any((folder / path).exists() for path in (BEST, LAST))  # what it was asked is damaged
    if keeps or has_ended_well or is_unknown or there.get("config_hash", settings.hash()) != settings.hash():
        aside = ownership.move_aside(folder, earlier, REPLACED)
        print(f"{folder.name}: the run that was there is in {aside}", flush=True)
    else:
        ownership.remove(earlier)
    ownership.record(folder, RUN, RESULT, QUANTITIES, ERROR, str(BEST), str(LAST), TRACES)
    write_atomically(folder / RUN, as_json(asked(settings, name_of(folder))), durable)


def _of_a_run(folder: Path) -> list[Path]:
    """The files there are of a run, of what the folder lists; not what Hydra has just written for the next one.

    What says that a run is there comes last: a kill while they are moved aside leaves one to move.
    """
    files = [folder / name for name in (QUANTITIES, ERROR, BEST, LAST, RUN, RESULT)]
    mine = set(ownership.own(folder))
    left = [*ownership.own(folder, EVENTS), *ownership.own(folder, UNFINISHED)]
    return [*_tables(folder), *left, *(path for path in files if path in mine)]


def _tables(folder: Path) -> list[Path]:
    return [path for path in ownership.own(folder, "*.csv") if path.parent == folder and path.name != RESULTS]


def table_sizes(folder: Path) -> dict[str, int]:
    """How many bytes each of a run's tables has."""
    return {path.name: path.stat().st_size for path in _tables(folder)}


def rewind(folder: Path, sizes: dict[str, int]) -> bool:
    """Cut the tables back to the sizes they had at a checkpoint; False, and nothing done, where no row ends there."""
    present = table_sizes(folder)
    if any(present.get(name, -1) < size or not _ends_a_row(folder / name, size) for name, size in sizes.items()):
        return False
    _cut(folder, sizes)
    return True


def _ends_a_row(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        return size == 0 or file.read(1) == b"\n"


@zero_only
def _cut(folder: Path, sizes: dict[str, int]) -> None:
    for path in _tables(folder):
        if path.name in sizes:
            os.truncate(path, sizes[path.name])
        else:
            path.unlink()  # written after the checkpoint: the resumed run writes it again
    ended = [path for path in ownership.own(folder) if path.name in {RESULT, ERROR}]
    ownership.remove([*ended, *ownership.own(folder, UNFINISHED)])


@zero_only
def write_quantities(folder: Path, quantities: Iterable[Any], loss: str) -> None:
    """Units are for losses in nats: that of a regression is the square of the labels' unit."""
    write_atomically(folder / QUANTITIES, _described(tuple(quantities), loss == "mse"), durable=False)


@lru_cache(maxsize=16)
def _described(quantities: tuple[Any, ...], squares: bool) -> str:
    units = {each.name: each.unit.replace("nats", "label²") if squares else each.unit for each in quantities}
    return as_json({each.name: vars(each) | {"unit": units[each.name]} for each in quantities})


def asked(settings: "Settings", name: str) -> dict[str, Any]:
    """What a run is asked to do, with what."""
    names = settings.names
    return {
        "name": name,
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
        **({VALUES: {part: list(y) for part, y in settings.own_values.items()}} if settings.own_values else {}),
    } | provenance()


@zero_only
def resume(folder: Path, settings: "Settings") -> None:
    """Note what a resumed run is asked now; the code may be another than the one that began it."""
    earlier, now = read_run(folder), asked(settings, name_of(folder))
    revisions = dict.fromkeys(filter(None, [*str(earlier.get("git") or "").split(", then "), now["git"]]))
    write_atomically(folder / RUN, as_json(now | {"git": ", then ".join(revisions) or None}))


def describe(settings: "Settings", folder: Path) -> dict[str, Any]:
    """What the run in the folder was asked to do, as it was when it began."""
    now, noted = asked(settings, name_of(folder)), read_run(folder)
    return now | ({key: noted[key] for key in provenance()} if noted.get("config_hash") == now["config_hash"] else {})


def score(result: Mapping[str, Any]) -> float | None:
    """What a sweeper may maximise: the validation accuracy at the best epoch; in a regression, minus the best loss.

    A diverged run has the worst score there is; one that failed, or validated nothing, has none.
    """
    if result["status"] == "failed":
        return None
    is_regression = result["config"]["loss"] == "mse"
    if result["status"] == "diverged":
        return -math.inf if is_regression else 0.0
    found: float | None = result.get("val_loss" if is_regression else "val_accuracy")
    return -found if is_regression and found is not None else found


@zero_only
def write_failure(settings: "Settings", folder: Path, error: Exception) -> None:
    """Leave the traceback in error.txt and a result.json that says `failed`."""
    trace = "".join(traceback.format_exception(error))
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    result = {"status": "failed", "error": reason, "val_accuracy": None, "test_accuracy": None}
    try:
        write_atomically(folder / ERROR, trace)
        write_result(folder, describe(settings, folder) | result)
    except Exception as second:  # a full disk, say: what there is room for is on the terminal
        print(f"{trace}error: {folder}: not even the failure could be noted: {second}", file=sys.stderr)
