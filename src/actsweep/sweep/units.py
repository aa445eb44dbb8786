"""A grid in units of work: stacks, and single runs where a stack can't take them.

Flow: config → launcher → **units** → an executor → training. A unit leaves all that its runs leave but Hydra's own
files; done again, it resumes. It doesn't know which executor does it.
"""

import gc
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from hydra.core.utils import env_override

from actsweep import one_run
from actsweep.config.command_line import outlive_readers, quiet_libraries
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.network.mlp import ALL_THREADS
from actsweep.results import claims, locks, run_folder
from actsweep.sweep.limits import Limits
from actsweep.training.progress import UNSEEN, ProgressBar, Watcher
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.grouping import Shape
from actsweep.training.stack.stack_checkpoint import Saving, path_for, read
from actsweep.training.stack.training import Job

Item = TypeVar("Item")
Begun = Sequence[tuple[torch.device, float]]  # stacks that are there already: where each trains, for about how long
PROCESS_SECONDS = 10.0  # processes that save less are not started
FINER, CUTTING = 3, 1.05  # stacks for each process, so that none waits for another, if that makes them so much longer


@dataclass
class Unit:
    """Jobs that go to an executor together: a stack's, which `saving` keeps a checkpoint of, or a single run."""

    jobs: list[Job]
    saving: Saving | None = None
    done: int = 0  # epochs, after which it resumes
    seconds: float = 0.0  # about what it will take
    trained: bool = False
    away: bool = False  # another process does it
    surroundings: Mapping[str, str] = field(default_factory=dict)  # variables that Hydra sets for the job
    inside: bool = False  # Hydra has the job work in its folder

    def __call__(self) -> None:
        """Train, in a process of somebody else's."""
        begin_process()
        self.train()

    def train(self, watcher: Watcher = UNSEEN) -> None:
        """Train in a process of its own, whose working directory and environment it may change for the while."""
        with locks.released(), env_override(dict(self.surroundings)), self._inside():
            ended = Ended(watcher)
            if self.saving:
                self.train_stack(ended)
            for settings, folder in self.jobs:
                if folder not in ended.folders:
                    self._train_alone(settings, folder, watcher)
        gc.collect()

    def _inside(self) -> AbstractContextManager[None]:
        folder = self.jobs[0][1]
        if self.inside:
            folder.mkdir(parents=True, exist_ok=True)
        return chdir(folder) if self.inside else nullcontext()

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
        finally:
            locks.release(folder)
        watcher.ended(folder)

    def train_stack(self, watcher: Watcher) -> None:
        """What a stack can't take is left without a result."""
        self.trained = True
        assert self.saving
        state, epochs = read(self.saving.path, mmap=False), self.jobs[0][0].trainer.max_epochs
        resumes = state if state and state["epochs"] < epochs else None
        device, done = grouping.device_for(self.jobs[0][0]), resumes["epochs"] if resumes else self.done
        if done:
            print(f"{len(self.jobs)} runs in one stack on {device}, resuming after epoch {done}", flush=True)
        stacks.train_group(self.jobs, device, self.saving, resumes, watcher)

    def left(self, ended: set[Path]) -> "Unit | None":
        """What a process that died has left to do; `ended`: the folders of runs that have ended in it."""
        left = self._left(ended)
        is_whole = len(left) == len(self.jobs) or self.jobs[0][0].rerun != "all"  # its checkpoint is of all
        return None if not left else self if is_whole else self.part(left)

    def _left(self, ended: set[Path]) -> list[Job]:
        return [job for job in stacks.unfinished(self.jobs) if job[1] not in ended]

    def halves(self) -> list["Unit"]:
        return [self.part(list(part)) for part in pieces(self.jobs, 2)]

    def part(self, jobs: list[Job]) -> "Unit":
        """The same for some of its jobs."""
        saving = self.saving and Saving(path_for(jobs, self.saving.path.parent.parent), self.saving.every)
        return replace(self, jobs=jobs, saving=saving if len(jobs) > 1 else None)

    def fail(self, error: Exception, ended: set[Path]) -> list[Path]:
        """Note that what is left of it has failed; returns the folders of those runs."""
        left = self._left(ended)
        for settings, folder in left:
            folder.mkdir(parents=True, exist_ok=True)
            run_folder.write_failure(settings, folder, error)
        return [folder for _, folder in left]

    def checkpoint(self) -> Any:
        """What submitit queues again when time is up or the place is taken: the same, which resumes where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Ended:
    """A Watcher that remembers, and tells another one."""

    def __init__(self, watcher: Watcher) -> None:
        self.folders: set[Path] = set()
        self.watcher, self.reached = watcher, watcher.reached

    def ended(self, folder: Path) -> None:
        self.folders.add(folder)
        self.watcher.ended(folder)


def begin_process() -> None:
    """Prepare a process that does units, whose terminal others write to."""
    quiet_libraries()
    outlive_readers()
    ProgressBar.shown = False


class Run(NamedTuple):
    """One of the runs that are cut into units. `done`: epochs, None where only its test may be missing."""

    settings: Settings
    done: int | None = 0

    @property
    def reason(self) -> str | None:
        """Why no stack takes it."""
        return grouping.reason_against(self.settings) or ("trained already" if self.done is None else None)


class Piece(NamedTuple):
    """What becomes a unit: the places of its runs, and about how many seconds they take."""

    places: Sequence[int]
    seconds: float = 0.0


class Cut(NamedTuple):
    """Runs in pieces; why some are single, with their number; the processes that shall share the work."""

    pieces: list[Piece]
    reasons: Counter[str]
    processes: int = 1


def cut(runs: Sequence[Run], limits: Limits, begun: Begun = (), is_away: bool = False) -> Cut:
    """`is_away`: other machines do the work, of which this one knows nothing."""
    alike: dict[tuple[str, int | None, str | None], list[int]] = {}
    for place, run in enumerate(runs):
        alike.setdefault((grouping.signature(run.settings), run.done, run.reason), []).append(place)
    together: list[tuple[list[int], str | None]] = []
    shapes: list[Shape] = []
    for (*_, reason), places in alike.items():
        parts = [[place] for place in places] if reason else [places]
        together += [(part, reason) for part in parts]
        shapes += [] if is_away else [grouping.shape(runs[places[0]].settings)] * len(parts)
    members = [len(places) for places, _ in together]
    if is_away:
        shares = Shares(1, [-(-number // (limits.max_members or number)) for number in members])
    else:
        shares = share_out(shapes, members, limits, begun)
    found = Cut([], Counter(), shares.processes)
    for number, ((places, reason), count) in enumerate(zip(together, shares.parts, strict=True)):
        for part in pieces(places, count):
            found.pieces.append(Piece(part, shapes[number].seconds(len(part)) if shapes else 0.0))
            if len(part) == 1:
                alone = "no other run of its shape" if count == 1 else "a stack holds no more than one"
                found.reasons[reason or alone] += 1
    return found


class Shares(NamedTuple):
    """How work is shared out: over so many processes; each shape in so many stacks."""

    processes: int
    parts: list[int]


def share_out(shapes: Sequence[Shape], members: Sequence[int], limits: Limits, begun: Begun = ()) -> Shares:
    """Cut so many members of each shape into stacks, such that all that can work at once has something to do."""
    seconds = [shape.seconds(number) for shape, number in zip(shapes, members, strict=True)]
    whole = sum(seconds) + sum(left for _, left in begun)
    least = 1 if limits.max_members == 1 else 2  # one member alone is no stack
    most = sum(max(1, number // least) for number in members) + len(begun)
    on_gpu = any(device.type == "cuda" for device in [*(shape.device for shape in shapes), *(at for at, _ in begun)])
    count = _processes(limits, most, whole, on_gpu, shapes[0].settings.threads or 1 if shapes else 1)
    parts = []
    for shape, number, own in zip(shapes, members, seconds, strict=True):
        fitting = max(1, shape.most // (1 if on_gpu else count))
        wanted = min(_pieces_of(shape, number, count, own / whole), max(1, number // 2)) if whole else 1
        parts.append(max(wanted, -(-number // min(fitting, limits.max_members or fitting))))
    return Shares(count, parts)


def _pieces_of(shape: Shape, members: int, processes: int, share: float) -> int:
    """In how many stacks these take all processes' time, and end about together."""
    if processes == 1:
        return 1
    few, many = (math.ceil(finer * processes * share) for finer in (1, FINER))
    is_cheap = many * shape.seconds(members / many) <= CUTTING * few * shape.seconds(members / few)
    return many if is_cheap and members >= 2 * many else few


def _processes(limits: Limits, most: int, seconds: float, on_gpu: bool, threads: int) -> int:
    """How many processes share work which one would do in so many seconds, in at most so many units."""
    gpus = len(limits.gpus()) if on_gpu else 0
    if given := (limits.devices and gpus) or (None if on_gpu else limits.processes):
        return max(1, min(given, most))
    count = max(1, min(gpus or ALL_THREADS // threads, grouping.most_processes(), most))
    return count if seconds - seconds / count >= PROCESS_SECONDS else 1


def pieces(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """So many pieces of about equal length, in order.

    >>> pieces("abcdefg", 3)
    ['ab', 'cd', 'efg']
    """
    bounds = [len(items) * part // parts for part in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(bounds)]
