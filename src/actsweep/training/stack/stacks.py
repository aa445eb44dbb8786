"""Jobs that train as one stack, in halves where memory runs out."""

import gc
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from actsweep.errors import UserError, exits_are_errors
from actsweep.results import locks, rank, run_folder
from actsweep.training import checkpoints
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.progress import UNSEEN, Watcher
from actsweep.training.stack import grouping
from actsweep.training.stack.stack_checkpoint import Saving, path_for, restore
from actsweep.training.stack.training import Job, Training

log = logging.getLogger(__name__)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that have no result yet, or one that doesn't stand."""
    return [(settings, folder) for settings, folder in jobs if not run_folder.finished(folder, settings)]


@contextmanager
def locked(jobs: Sequence[Job]) -> Iterator[list[Path]]:
    """Lock the jobs' folders; yields those that can't be had, because somebody else is at work there, and says who."""
    grouping.allow_open_files(len(jobs))
    others = []
    try:
        for _, folder in jobs:
            try:
                locks.take(folder)
            except (UserError, OSError) as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                others.append(folder)
        yield others
    finally:
        for _, folder in jobs:
            locks.release(folder)


def train_group(
    jobs: Sequence[Job], device: torch.device, saving: Saving | None = None, state: dict[str, Any] | None = None,
    watcher: Watcher = UNSEEN,
) -> None:  # fmt: skip
    """Train jobs as one stack; where memory runs out, those that have no result yet as two stacks of half the size.

    With `state`, a checkpoint of these jobs, from there on, else from their own last.ckpt, if they have some. What
    can't be trained as a stack, or is in use, is left without a result; what is finished is not touched.
    """
    rank.expect(1)  # this may be a process of its own
    with locked(jobs) as others:
        if len(others) < len(jobs):
            _train(Attempt(jobs, device, saving, state, watcher, others))


@dataclass
class Attempt:
    """Jobs that are about to be trained as one stack, but for those whose folders are in use by `others`."""

    jobs: Sequence[Job]
    device: torch.device
    saving: Saving | None
    state: dict[str, Any] | None
    watcher: Watcher
    others: Sequence[Path]

    def __post_init__(self) -> None:
        if self.state is None:
            self.jobs = [job for job in unfinished(self.jobs) if job[1] not in self.others]

    def failure(self) -> tuple[str, bool] | None:
        """Train; what went wrong and whether it was memory. In words: the exception would hold the stack's memory."""
        try:
            self._train()
        except Exception as error:
            log.debug("the stack failed", exc_info=True)
            return f"{type(error).__name__}: {error}", is_out_of_memory(error)
        return None

    @exits_are_errors()
    def _train(self) -> None:
        steps = 0
        if self.state is None:
            steps, self.jobs = self._prepared()
        if not self.jobs:
            return
        training = Training(self.jobs, self.device, self.watcher)
        if self.state is not None:
            restore(training, self.state, self.others)
        elif steps:
            training.resume()
        if self.saving:
            self.saving.waiting_since = time.perf_counter()
        training.run(self.saving.after_epoch if self.saving else None)

    def _prepared(self) -> tuple[int, list[Job]]:
        """How many steps most of these jobs have done, and those jobs; their folders are ready to resume from there."""
        at: dict[int, list[Job]] = {}
        for settings, folder in self.jobs:
            try:
                steps = checkpoints.prepare(folder, settings, is_announced=False).steps
            except UserError:
                continue  # its own turn says why
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                run_folder.write_failure(settings, folder, error)
            else:
                at.setdefault(steps, []).append((settings, folder))
        return max(at.items(), key=lambda each: len(each[1]), default=(0, []))

    def left(self) -> list[Job]:
        """Those that have no result of this attempt."""
        if self.state is None:
            return [job for job in self.jobs if run_folder.read_result(job[1]) is None]
        return [job for job in unfinished(self.jobs) if job[1] not in self.others]


def _train(attempt: Attempt) -> None:
    failure, saving = attempt.failure(), attempt.saving
    if saving:
        saving.path.unlink(missing_ok=True)
    left = attempt.left()
    if failure is None or not left:
        return
    text, is_memory = failure
    parts: list[list[Job]] = []
    if not is_memory:
        parts = [] if attempt.state is None else [left]
        log.warning(
            "the stack of %d runs failed, they run %s: %s", len(left), "once more" if parts else "one by one", text
        )
    elif len(left) > 1:
        half = -(-len(left) // 2)
        log.warning("out of memory with %d runs in a stack: continuing with %d", len(attempt.jobs), half)
        parts = [left[:half], left[half:]]
    gc.collect()
    if attempt.device.type == "cuda":
        torch.cuda.empty_cache()
    for part in parts:
        own = saving and Saving(path_for(part, saving.path.parent.parent), saving.every)
        _train(replace(attempt, jobs=part, saving=own, state=None))
