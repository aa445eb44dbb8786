"""`plan=true`: what a command would take, before it starts: time on what the launcher uses at once, and disk.

Flow: config → **plan**. Each distinct shape is tried, alone or as the stack that the launcher would make: the code that
would train it does, in a folder that is thrown away, with diagnostics, checkpoints and test, for a few steps of three
epochs. Time is an upper bound, because early stopping may end a run at any epoch.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.table import Table

from actsweep import one_run
from actsweep.config.schema import Settings, Target, Trainer
from actsweep.data import datamodule
from actsweep.errors import UserError, causes, is_ours
from actsweep.sweep import search
from actsweep.sweep.units import counted, cut_left, sharing
from actsweep.threads import all_threads, use_threads
from actsweep.training import trainer_arguments
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.progress import duration
from actsweep.training.stack import grouping
from actsweep.training.stack.training import Training

EPOCHS, STEPS = 3, 8  # the first epoch and the last have more to do than those between
# Arguments of Lightning's Trainer that count in whole epochs' batches, which a dry run's haven't got.
OF_EPOCHS = {"limit_train_batches", "overfit_batches", "val_check_interval", "check_val_every_n_epoch"}
FOREIGN = (MisconfigurationException, OSError, MemoryError)  # not our fault, though they arise below our code
MOST_MEMBERS = 32  # in a dry run; a larger stack is reckoned to take time in proportion


@dataclass(frozen=True)
class Parts:
    """Seconds of what trains as one: before and after its epochs, in an epoch besides its steps, in a step. Bytes that
    each run leaves: whatever its epochs, and of each."""

    start: float
    epoch: float
    step: float
    bytes: float
    epoch_bytes: float


class Clock(L.Callback):
    """Notes when epochs begin, and training ends; and after each batch how many steps were done, and when."""

    epochs: ClassVar[list[float]] = []
    steps: ClassVar[list[tuple[int, float]]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.epochs.append(time.perf_counter())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.steps.append((trainer.global_step, time.perf_counter()))

    def on_train_end(self, *_: Any) -> None:
        self.epochs.append(time.perf_counter())


def measure(together: Sequence[Settings]) -> Parts:
    """Train these, one alone or several as a stack. Raises UserError where that fails for a reason of the person's."""
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _stack(together, Path(folder)) if len(together) > 1 else _alone(together[0], Path(folder))
    except UserError:
        raise
    except Exception as error:
        *_, first = causes(error)
        if is_ours(first) and not (isinstance(first, FOREIGN) or is_out_of_memory(first)):
            raise
        raise UserError(f"act={together[0].names.act}: trying a run failed: {str(error) or repr(error)}") from error
    finally:
        use_threads(threads)


def _brief(settings: Settings) -> tuple[Settings, int]:
    """The same for a few epochs, and the steps of each, which hardly change the weights, so that nothing diverges."""
    data = datamodule.open_data(settings.data, settings.seed)
    steps = min(STEPS, data.sampling.steps(len(data.train)))
    trainer = {key: value for key, value in settings.trainer.model_dump(by_alias=True).items() if key not in OF_EPOCHS}
    brief = {"max_epochs": EPOCHS, "enable_progress_bar": False}
    changes = {
        "patience": None,
        "data": settings.data.model_copy(update={"steps_per_epoch": steps}),
        "optim": settings.optim.model_copy(update={"lr": 1e-9}),
        "trainer": Trainer.model_validate(trainer | brief),
    }
    return settings.model_copy(update=changes), steps


def _alone(settings: Settings, folder: Path) -> Parts:
    brief, steps = _brief(settings)
    clock = Target.model_validate({"_target_": f"{__name__}.{Clock.__name__}"})
    clocked = brief.model_copy(update={"diagnostics": settings.diagnostics | {"clock": clock}})
    Clock.epochs.clear()
    Clock.steps.clear()
    began = time.perf_counter()
    one_run.train(settings if settings.atlas else clocked, folder)
    whole = time.perf_counter() - began
    if settings.atlas or settings.untrained:  # what an atlas's function takes depends on which one it is: tried whole
        return Parts(whole, 0.0, 0.0, _bytes(folder), 0.0)
    durations = [after - before for before, after in pairwise(Clock.epochs)]
    epoch = median(durations[1:] or durations)
    inside = [
        after - before
        for (then, before), (now, after) in pairwise(Clock.steps)
        if now > then and then % steps  # else the end of an epoch lies between
    ]
    step = median(inside) if inside else epoch / steps
    return _parts(whole - EPOCHS * epoch, epoch, step, steps, folder)


def _stack(together: Sequence[Settings], folder: Path) -> Parts:
    members = [_brief(settings)[0] for settings in together[:MOST_MEMBERS]]
    steps, device = _brief(together[0])[1], grouping.device_for(together[0])
    ends: list[float] = []  # of the epochs but the last

    def note(*_: Any) -> None:
        _wait_for(device)
        ends.append(time.perf_counter())

    began = time.perf_counter()
    training = Training([(settings, folder / str(place)) for place, settings in enumerate(members)], device)
    built = time.perf_counter()
    training.feed.load(0)
    for _ in range(steps):
        training.steps()
    _wait_for(device)
    step = (time.perf_counter() - built) / steps
    training.run(note)
    whole = time.perf_counter() - began - steps * step
    epoch = ends[1] - ends[0] if len(ends) > 1 else whole / EPOCHS
    share = len(together) / len(members)
    return _parts(share * (whole - EPOCHS * epoch), share * epoch, share * step, steps, folder, len(members))


def _parts(start: float, epoch: float, step: float, steps: int, folder: Path, runs: int = 1) -> Parts:
    step = min(step, epoch / steps)
    checkpoints = _bytes(folder, "*.ckpt")
    others = (_bytes(folder) - checkpoints) / runs / EPOCHS
    return Parts(max(start, 0.0), epoch - steps * step, step, checkpoints / runs, others)


def _bytes(folder: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Launcher:
    """How work is shared out: so many units at a time, each of the runs in these places; None: single runs."""

    at_a_time: int = 1
    units: list[Sequence[int]] | None = None


ONE_BY_ONE = Launcher()


@dataclass(frozen=True)
class Cost:
    """Runs that cost the same: how many, of which `together` train as one, for how many epochs at most."""

    settings: Settings
    runs: int
    together: int
    epochs: int
    start_seconds: float
    epoch_seconds: float
    run_bytes: float

    @property
    def longest(self) -> float:
        """Seconds of one run, or one stack."""
        return self.start_seconds + self.epochs * self.epoch_seconds

    @property
    def seconds(self) -> float:
        return self.runs / self.together * self.longest


def understood(launcher: Mapping[str, Any], grid: Sequence[Settings], left: Sequence[int]) -> Launcher:
    """What a configuration of hydra/launcher means for those runs of a grid that are left, by their places in it. One
    that isn't known takes one at a time."""
    target, cores, count = str(launcher.get("_target_", "")).lower(), os.cpu_count() or 1, 1
    if search.is_ours(launcher):
        return _ours(launcher, grid, left)
    if "joblib" in target:
        count = launcher.get("n_jobs") or -1
        count = cores if count < 0 else count
    elif "submitit" in target:
        count = int(launcher.get("array_parallelism") or len(left))
        count = min(count, cores) if "local" in target else count
    elif "ray" in target:
        ray = launcher.get("ray") or {}
        cpus = (ray.get("init") or {}).get("num_cpus") or cores
        count = int(cpus // ((ray.get("remote") or {}).get("num_cpus") or 1))
    return Launcher(max(1, min(count, len(left))))


def _ours(launcher: Mapping[str, Any], grid: Sequence[Settings], left: Sequence[int]) -> Launcher:
    limits = search.Limits(launcher.get("max_members"), launcher.get("devices"), launcher.get("processes"))
    pieces = cut_left(grid, dict.fromkeys(left, 0), limits, is_away=bool(launcher.get("engine")))
    firsts, number_of = [grid[piece.places[0]] for piece in pieces], {place: n for n, place in enumerate(left)}
    count, _ = sharing(limits, firsts, sum(piece.seconds for piece in pieces))
    return Launcher(count, [[number_of[place] for place in piece.places] for piece in pieces])


def plan(runs: Sequence[Settings], launcher: Launcher = ONE_BY_ONE, run_seconds: float = 0.0) -> list[Cost]:
    """The cost of the runs, by shape and number of epochs, on this machine as it is now. `run_seconds`: what every run
    takes besides, such as composing its configuration. Raises UserError where a run can't be tried."""
    if runs:
        measure(runs[:1])  # what is imported and cached once counts for no run
    alike: dict[tuple[str, int], list[list[Settings]]] = {}
    for places in launcher.units or [[place] for place in range(len(runs))]:
        unit = [runs[place] for place in places]
        epochs = 0 if unit[0].untrained else unit[0].trainer.max_epochs
        alike.setdefault((_shape(unit), epochs), []).append(unit)
    tried = {shape: units[0] for (shape, _), units in alike.items()}
    parts = {shape: measure([_beside(launcher, each) for each in unit]) for shape, unit in tried.items()}
    return [_cost(units, epochs, parts[shape], run_seconds) for (shape, epochs), units in alike.items()]


def _cost(units: Sequence[list[Settings]], epochs: int, parts: Parts, run_seconds: float) -> Cost:
    first, together = units[0][0], len(units[0])
    data = datamodule.open_data(first.data, first.seed)
    batches = trainer_arguments.training_batches(first.trainer.plain(), data.sampling.steps(len(data.train)))
    epoch = parts.epoch + parts.step * batches
    size = parts.bytes + epochs * parts.epoch_bytes
    return Cost(first, len(units) * together, together, epochs, parts.start + together * run_seconds, epoch, size)


def _beside(launcher: Launcher, settings: Settings) -> Settings:
    """As it trains where the cores are shared out."""
    threads = settings.threads or (1 if launcher.at_a_time >= all_threads() > 1 else None)
    return settings.model_copy(update={"threads": threads})


def _shape(unit: Sequence[Settings]) -> str:
    """What an epoch's cost depends on: of a single run everything but seed and patience."""
    if len(unit) > 1:
        return f"{len(unit)} {grouping.signature(unit[0])}"
    parts = unit[0].plain()
    parts["trainer"] |= {"max_epochs": 0}
    if unit[0].atlas:
        return unit[0].names.init  # whichever function, one stands for all
    keys = ("act", "hidden_sizes", "norm", "data", "optim", "loss", "threads", "diagnostics", "untrained", "trainer")
    return json.dumps({key: parts[key] for key in keys})


def show(costs: Sequence[Cost], launcher: Launcher) -> None:
    """The plan as a table, and its sums in a sentence."""
    if not costs:
        return
    table = Table("act", "hidden layers", "data", "runs", "epochs ≤", "s per epoch", "s besides", "time ≤", "MB")
    for cost in costs:
        settings = cost.settings
        sizes = settings.layer_sizes
        layers = f"{len(sizes)} × {sizes[0]}" if len(set(sizes)) == 1 else "-".join(map(str, sizes)) or "none"
        table.add_row(
            settings.names.act if cost.together == 1 else f"stack of {cost.together}", layers, settings.names.data,
            str(cost.runs), str(cost.epochs), f"{cost.epoch_seconds:.3g}", f"{cost.start_seconds:.3g}",
            duration(cost.seconds), f"{cost.runs * cost.run_bytes / 1e6:.3g}",
        )  # fmt: skip
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)
    print(summary(costs, launcher))


def summary(costs: Sequence[Cost], launcher: Launcher) -> str:
    """Runs, time with all that works at once, disk."""
    runs, epochs = sum(cost.runs for cost in costs), sum(cost.runs * cost.epochs for cost in costs)
    size = sum(cost.runs * cost.run_bytes for cost in costs)
    # However many there are at a time, the longest has to end.
    seconds = max(sum(cost.seconds for cost in costs) / launcher.at_a_time, max(cost.longest for cost in costs))
    stacks = sum(cost.runs // cost.together for cost in costs if cost.together > 1)
    singles = sum(cost.runs for cost in costs if cost.together == 1)
    parts = [counted(count, what) for count, what in ((stacks, "stack"), (singles, "single run")) if count]
    what = counted(runs, "run") + (f": {', '.join(parts)}" if stacks else "")
    order = ", one after another" if launcher.at_a_time == 1 else f", {launcher.at_a_time} at a time"
    speed = f" ({epochs / seconds:.3g} epochs a second)" if epochs and seconds else ""
    return f"{what}{order if runs > 1 else ''}: at most {duration(seconds)}{speed}, about {size / 1e6:.3g} MB"
