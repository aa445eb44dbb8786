"""A unit of work: a stack, or a run that no stack takes.

Flow: config → launcher → **units** → an executor → training. A unit leaves all that its runs leave but Hydra's own
files; done again, it resumes. It doesn't know which executor does it.
"""

import gc
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.utils import env_override

from actsweep import one_run
from actsweep.config.command_line import outlive_readers, quiet_libraries
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.results import claims, locks, run_folder
from actsweep.training.checkpoints import read
from actsweep.training.progress import UNSEEN, ProgressBar, Watcher
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.stack_checkpoint import Saving, path_for
from actsweep.training.stack.training import Job

Item = TypeVar("Item")


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
        watcher.ended(folder)

    def train_stack(self, watcher: Watcher) -> None:
        """What a stack can't take is left without a result."""
        self.trained = True
        assert self.saving
        state, epochs = read(self.saving.path), self.jobs[0][0].trainer.max_epochs
        resumes = state if state and state["epochs"] < epochs else None
        device, done = grouping.device_for(self.jobs[0][0]), resumes["epochs"] if resumes else self.done
        if done:
            print(f"{len(self.jobs)} runs in one stack on {device}, resuming after epoch {done}", flush=True)
        stacks.train_group(self.jobs, device, self.saving, resumes, watcher)

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
        saving = self.saving and Saving(path_for(jobs, self.saving.path.parent.parent), self.saving.every)
        return replace(self, jobs=jobs, saving=saving if len(jobs) > 1 else None)

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
