"""`plan=true`: what a command would take, before it starts: time on what the launcher uses at once, and disk.

Flow: config → dry run → **plan**. Each distinct shape is tried, alone or as the stack that the launcher would make.
Time is an upper bound, because early stopping may end a run at any epoch.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.sweep import dry_run
from actsweep.sweep.cutting import ToCut, cut
from actsweep.sweep.limits import Limits, is_ours
from actsweep.sweep.units import counted
from actsweep.threads import all_threads
from actsweep.training import trainer_arguments
from actsweep.training.progress import duration
from actsweep.training.stack import grouping


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


def understood(launcher: Mapping[str, Any], settings: Sequence[Settings]) -> Launcher:
    """What a configuration of hydra/launcher means for these runs. One that isn't known takes one at a time."""
    target, cores, runs = str(launcher.get("_target_", "")).lower(), os.cpu_count() or 1, len(settings)
    count = 1
    if is_ours(launcher):
        limits = Limits(launcher.get("max_members"), launcher.get("devices"), launcher.get("processes"))
        found = cut([ToCut(each) for each in settings], limits, is_away=bool(launcher.get("engine")))
        return Launcher(found.processes, [piece.places for piece in found.pieces])
    if "joblib" in target:
        count = launcher.get("n_jobs") or -1
        count = cores if count < 0 else count
    elif "submitit" in target:
        count = int(launcher.get("array_parallelism") or runs)
        count = min(count, cores) if "local" in target else count
    elif "ray" in target:
        ray = launcher.get("ray") or {}
        cpus = (ray.get("init") or {}).get("num_cpus") or cores
        count = int(cpus // ((ray.get("remote") or {}).get("num_cpus") or 1))
    return Launcher(max(1, min(count, runs)))


def plan(runs: Sequence[Settings], launcher: Launcher = ONE_BY_ONE, run_seconds: float = 0.0) -> list[Cost]:
    """The cost of the runs, by shape and number of epochs, on this machine as it is now.

    `run_seconds`: what every run takes besides, such as composing its configuration. Raises UserError where a run
    can't be tried.
    """
    if runs:
        dry_run.measure(runs[:1])  # what is imported and cached once counts for no run
    alike: dict[tuple[str, int], list[list[Settings]]] = {}
    for places in launcher.units or [[place] for place in range(len(runs))]:
        unit = [runs[place] for place in places]
        alike.setdefault((_shape(unit), _epochs(unit[0])), []).append(unit)
    measured = {shape: units[0] for (shape, _), units in alike.items()}
    parts = {shape: dry_run.measure([_beside(launcher, each) for each in unit]) for shape, unit in measured.items()}
    return [_cost(units, epochs, parts[shape], run_seconds) for (shape, epochs), units in alike.items()]


def _cost(units: Sequence[list[Settings]], epochs: int, parts: dry_run.Parts, run_seconds: float) -> Cost:
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


def _epochs(settings: Settings) -> int:
    return 0 if settings.untrained else settings.trainer.max_epochs


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
    what = f"{runs} runs: {', '.join(parts)}" if stacks else f"{runs} runs"
    order = "one after another" if launcher.at_a_time == 1 else f"{launcher.at_a_time} at a time"
    speed = f" ({epochs / seconds:.3g} epochs a second)" if epochs and seconds else ""
    return f"{what}, {order}: at most {duration(seconds)}{speed}, about {size / 1e6:.3g} MB"
