"""A grid is cut into units of work: which runs train as a stack, how large stacks are, how many processes share them.

Flow: config → launcher → **units** → an executor → training. A unit is a stack, or a run that no stack takes. It leaves
all that its runs leave but Hydra's own files; done again, it resumes. It doesn't know which executor does it.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from hydra.core.utils import configure_log, env_override
from omegaconf import OmegaConf

from actsweep import one_run
from actsweep.config.command_line import outlive_readers, quiet_libraries
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.imports import collect
from actsweep.results import claims, locks, run_folder
from actsweep.sweep.search import Limits
from actsweep.threads import all_threads, forkable
from actsweep.training.checkpoints import read
from actsweep.training.progress import UNSEEN, ProgressBar, Watcher
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.grouping import Shape
from actsweep.training.stack.stacks import Saving
from actsweep.training.stack.training import Job

Item = TypeVar("Item")
ToCut = tuple[Settings, int | None]  # a run, and its epochs that are done; None where only its test may be missing
Begun = Sequence[tuple[torch.device, float]]  # stacks that are there already: where each trains, for about how long
FORK_SECONDS, SPAWN_SECONDS = 1.0, 10.0  # processes that save less are not started; a fork takes 0.04 s of a core
# Stacks for each process, so that none waits for another, if that makes them so much longer. Measured, three stacks for
# one: default network 1.04 times, as reckoned; 2 × 32 units on digits 1.34, reckoned 1.21.
FINER, CUTTING = 3, 1.05


class Piece(NamedTuple):
    """What becomes a unit: the places of its runs, about how many seconds they take, why it is a single run."""

    places: Sequence[int]
    seconds: float = 0.0
    reason: str | None = None


@dataclass
class Unit:
    """Jobs that go to an executor together: a stack's, which `saving` keeps a checkpoint of, or a single run."""

    jobs: list[Job]
    saving: Saving | None = None
    done: int = 0  # epochs, after which it resumes
    seconds: float = 0.0  # about what it will take
    reason: str | None = None  # why no stack has it
    trained: bool = False
    away: bool = False  # another process does it
    surroundings: Mapping[str, str] = field(default_factory=dict)  # variables that Hydra sets for the job
    logging: Any = None  # as Hydra sets it up for the job, or a stack's first one
    inside: bool = False  # Hydra has the job work in its folder

    def __call__(self) -> None:
        """Train, in a process of somebody else's."""
        begin_process()
        self.train()

    def train(self, watcher: Watcher = UNSEEN) -> None:
        """Train in a process of its own, whose working directory and environment it may change for the while."""
        folder, ended = self.jobs[0][1], Ended(watcher)
        if self.inside:
            folder.mkdir(parents=True, exist_ok=True)
        place = chdir(folder) if self.inside else nullcontext()
        with locks.released(), env_override(dict(self.surroundings)), place:
            if self.logging:
                configure_log(OmegaConf.create(self.logging[0]), self.logging[1])
            if self.saving:
                self.train_stack(ended)
            for settings, folder in self.jobs:
                if folder not in ended.folders:
                    self._train_alone(settings, folder, watcher)
        collect()

    def _train_alone(self, settings: Settings, folder: Path, watcher: Watcher) -> None:
        if run_folder.finished(folder, settings):
            return
        try:
            claims.refuse(folder, settings)
            locks.take(folder)
        except (UserError, OSError) as error:
            if not (self.saving and isinstance(error, locks.InUseError)):  # else its stack has said so
                print(f"error: {error}", file=sys.stderr, flush=True)
            return
        try:
            one_run.train(settings, folder)
        except Exception as error:
            run_folder.write_failure(settings, folder, error)
        watcher.ended(folder)

    def train_stack(self, watcher: Watcher) -> None:
        """What a stack can't take is left without a result."""
        self.trained = True
        assert self.saving
        state, epochs = read(self.saving.path), self.jobs[0][0].trainer.max_epochs
        resumes = state if state and state["epochs"] < epochs else None
        jobs = stacks.jobs_in(resumes, self.jobs, self.saving.sweep) if resumes else self.jobs
        device, done = grouping.device_for(self.jobs[0][0]), resumes["epochs"] if resumes else self.done
        if done:
            print(f"{counted(len(jobs), 'run')} in one stack on {device}, resuming after epoch {done}", flush=True)
        stacks.train_group(jobs, device, self.saving, resumes, watcher)

    def left(self, ended: set[Path]) -> "Unit | None":
        """What a process that died has left to do; `ended`: the folders of runs that have ended in it."""
        left = self._left(ended)
        is_whole = len(left) == len(self.jobs) or self.jobs[0][0].rerun != "all"  # its checkpoint is of all
        return None if not left else self if is_whole else self._part(left)

    def _left(self, ended: set[Path]) -> list[Job]:
        return [job for job in stacks.unfinished(self.jobs) if job[1] not in ended]

    def halves(self) -> list["Unit"]:
        return [self._part(list(part)) for part in pieces(self.jobs, 2)]

    def _part(self, jobs: list[Job]) -> "Unit":
        return replace(self, jobs=jobs, saving=self.saving.of(jobs) if self.saving and len(jobs) > 1 else None)

    def fail(self, error: Exception, watcher: "Ended") -> None:
        """Note that what is left of it has failed."""
        for settings, folder in self._left(watcher.folders):
            folder.mkdir(parents=True, exist_ok=True)
            run_folder.write_failure(settings, folder, error)
            watcher.ended(folder)

    def checkpoint(self) -> Any:
        """What submitit queues again when time is up or the place is taken: the same, which resumes where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Ended:
    """A Watcher that remembers, and tells another one. `begun`: which part of a run was done before, by folder."""

    def __init__(self, watcher: Watcher) -> None:
        self.folders: set[Path] = set()
        self.watcher, self.begun = watcher, dict[Path, float]()

    def ended(self, folder: Path) -> None:
        self.folders.add(folder)
        self.watcher.ended(folder)

    def reached(self, runs: float, left: float, each: float) -> None:
        before = sum(part for folder, part in self.begun.items() if folder not in self.folders)
        self.watcher.reached(runs + before, left, each)


def begin_process() -> None:
    """Prepare a process that does units, whose terminal others write to."""
    quiet_libraries()
    outlive_readers()
    ProgressBar.shown = False


def pieces(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """So many pieces of about equal length, in order.

    >>> pieces("abcdefg", 3)
    ['ab', 'cd', 'efg']
    """
    bounds = [len(items) * part // parts for part in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(bounds)]


def counted(count: int, what: str) -> str:
    """
    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{count} {what}{'s' * (count != 1)}"


def cut_left(
    grid: Sequence[Settings], left: Mapping[int, int | None], limits: Limits, begun: Begun = (), is_away: bool = False
) -> list[Piece]:
    """What is left of a grid in pieces. `left`: places of those runs, with their epochs as in ToCut. What nobody has
    begun with is cut as in the whole grid, whatever has ended meanwhile: a stack's last bits depend on its size."""
    whole = cut([(settings, 0) for settings in grid], limits, is_away=is_away) if left else []
    pieces = [piece for piece in whole if all(left.get(place) == 0 for place in piece.places)]
    if rest := sorted(left.keys() - {place for piece in pieces for place in piece.places}):
        begun = [*begun, *((grouping.device_for(grid[piece.places[0]]), piece.seconds) for piece in pieces)]
        again = cut([(grid[place], left[place]) for place in rest], limits, begun, is_away)
        pieces += [piece._replace(places=[rest[place] for place in piece.places]) for piece in again]
    return pieces


def cut(runs: Sequence[ToCut], limits: Limits, begun: Begun = (), is_away: bool = False) -> list[Piece]:
    """The runs in pieces. `is_away`: other machines do them, of which this one knows nothing."""
    alike: dict[tuple[str, int | None, str | None], list[int]] = {}
    for place, (settings, done) in enumerate(runs):
        reason = grouping.reason_against(settings) or ("trained already" if done is None else None)
        alike.setdefault((grouping.signature(settings), done, reason), []).append(place)
    together: list[tuple[list[int], str | None]] = []
    shapes: list[Shape] = []
    for (*_, reason), places in alike.items():
        parts = [[place] for place in places] if reason else [places]
        together += [(part, reason) for part in parts]
        shapes += [] if is_away else [grouping.shape(runs[places[0]][0])] * len(parts)
    members = [len(places) for places, _ in together]
    counts = [-(-number // (limits.max_members or number)) for number in members]
    if not is_away:
        _, counts = share_out(shapes, members, limits, begun)
    found = []
    for number, ((places, reason), count) in enumerate(zip(together, counts, strict=True)):
        alone = reason or ("no other run of its shape" if count == 1 else "a stack holds no more than one")
        for part in pieces(places, count):
            seconds = shapes[number].seconds(len(part)) if shapes else 0.0
            found.append(Piece(part, seconds, alone if len(part) == 1 else None))
    return found


def share_out(
    shapes: Sequence[Shape], members: Sequence[int], limits: Limits, begun: Begun = ()
) -> tuple[int, list[int]]:
    """Cut so many members of each shape into stacks, such that all that can work at once has something to do: how many
    processes, and into how many stacks each."""
    seconds = [shape.seconds(number) for shape, number in zip(shapes, members, strict=True)]
    whole = sum(seconds) + sum(left for _, left in begun)
    least = 1 if limits.max_members == 1 else 2  # one member alone is no stack
    most = sum(max(1, number // least) for number in members) + len(begun)
    on_gpu = any(device.type == "cuda" for device in [*(shape.device for shape in shapes), *(at for at, _ in begun)])
    count = processes_for(limits, most, whole, on_gpu, shapes[0].settings.threads or 1 if shapes else 1)
    parts = []
    for shape, number, own in zip(shapes, members, seconds, strict=True):
        fitting = shape.fitting(count)
        wanted = min(_pieces_of(shape, number, count, own / whole), max(1, number // 2)) if whole else 1
        parts.append(max(wanted, -(-number // min(fitting, limits.max_members or fitting))))
    return count, parts


def _pieces_of(shape: Shape, members: int, processes: int, share: float) -> int:
    """In how many stacks these take all processes' time, and end about together."""
    if processes == 1:
        return 1
    few, many = (math.ceil(finer * processes * share) for finer in (1, FINER))
    is_cheap = many * shape.seconds(members / many) <= CUTTING * few * shape.seconds(members / few)
    return many if is_cheap and members >= 2 * many else few


def sharing(limits: Limits, firsts: Sequence[Settings], seconds: float) -> tuple[int, bool]:
    """How many processes share units that one would do in so many seconds, and whether they train on GPUs. `firsts`: of
    each unit a run."""
    on_gpu = any(grouping.device_for(settings).type == "cuda" for settings in firsts)
    threads = next((settings.threads for settings in firsts), None) or 1
    return processes_for(limits, len(firsts), seconds, on_gpu, threads), on_gpu


def processes_for(limits: Limits, most: int, seconds: float, on_gpu: bool, threads: int) -> int:
    """How many processes share work which one would do in so many seconds, in at most so many units."""
    gpus = len(limits.gpus()) if on_gpu else 0
    if given := (limits.devices and gpus) or (None if on_gpu else limits.processes):
        return max(1, min(given, most))
    count = max(1, min(gpus or all_threads() // threads, grouping.most_processes(), most))
    least = FORK_SECONDS if forkable() and not on_gpu else SPAWN_SECONDS
    return count if seconds - seconds / count >= least else 1
