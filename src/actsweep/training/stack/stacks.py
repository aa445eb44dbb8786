"""Jobs that train as one stack, in halves where memory runs out, and the stack's checkpoint: all that its next epoch
depends on, written now and then; a repeated command resumes from it.

Flow: **training**. Members have a last.ckpt only when they have ended: one file is written sooner than many. Those that
ended after the stack's checkpoint train along once more, unseen, so that the others' numbers stay the same.
"""

import hashlib
import logging
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actsweep.errors import UserError, exits_are_errors
from actsweep.imports import collect
from actsweep.results import locks, ownership, rank, run_folder
from actsweep.threads import use_threads
from actsweep.training import checkpoints
from actsweep.training.checkpoints import WholeFiles, is_out_of_memory
from actsweep.training.progress import UNSEEN, Watcher
from actsweep.training.stack import grouping, member_checkpoint
from actsweep.training.stack.training import Job, Training

log = logging.getLogger(__name__)
FOLDER = ".stacks"  # in the sweep's folder
MOST_TIME = 0.05  # of a stack's training, for its checkpoints


def path_for(jobs: Sequence[Job], sweep: Path) -> Path:
    """Where a stack of these jobs keeps its checkpoint; the same wherever the sweep lies."""
    names = "\n".join(f"{os.path.relpath(folder, sweep)} {settings.hash()}" for settings, folder in jobs)
    return sweep / FOLDER / f"{hashlib.sha256(names.encode()).hexdigest()[:12]}.ckpt"


def paths(sweep: Path) -> list[Path]:
    """Of the checkpoints there are, and of what was being written when a process died."""
    return ownership.own(sweep, f"{FOLDER}/*")


def interrupted(sweep: Path, sets_aside: bool = True) -> Iterator[tuple[Path, dict[str, Any], list[tuple[Path, str]]]]:
    """Checkpoints of the stacks that an earlier command left in the middle of their training: where each lies, what it
    holds, and the folders and hashes of its runs."""
    for path in paths(sweep):
        state = checkpoints.read(path, sets_aside) if path.suffix == ".ckpt" else {}
        if runs := _runs_of(state, sweep):
            yield path, state, runs


def _runs_of(state: dict[str, Any], sweep: Path) -> list[tuple[Path, str]]:
    return [(Path(os.path.normpath(sweep / row["folder"])), row["hash"]) for row in state.get("rows", ())]


def tidy(sweep: Path) -> None:
    """Remove checkpoints of stacks that are done, and what was being written when a process died."""
    done = [path for path, _, runs in interrupted(sweep) if all(run_folder.read_result(folder) for folder, _ in runs)]
    ownership.remove([*done, *(path for path in paths(sweep) if path.suffix == ".tmp")])


@dataclass
class Saving:
    """Writes a stack's checkpoint to `path` every `every` seconds, but spends no more than `MOST_TIME` on it. The
    first one is written when a member has ended, if not before: the others needn't begin anew as a smaller stack, whose
    last bits are others."""

    path: Path
    every: float
    waiting_since: float = 0.0
    cost: float = 0.0

    @property
    def sweep(self) -> Path:
        return self.path.parent.parent

    def of(self, jobs: Sequence[Job]) -> "Saving":
        """For some of the stack's jobs."""
        return Saving(path_for(jobs, self.sweep), self.every)

    def after_epoch(self, training: Training, epochs: int) -> None:
        """`epochs`: completed ones."""
        started, is_first_end = time.perf_counter(), not self.cost and len(training.members) < training.jobs
        if not is_first_end and started - self.waiting_since < max(self.every, self.cost / MOST_TIME):
            return
        state = state_of(training, epochs, self.sweep)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            WholeFiles().save_checkpoint(state, self.path)
        except OSError as error:  # a full disk: the one before is there still
            log.warning("the checkpoint of a stack could not be written, its training goes on: %s", error)
        self.waiting_since = time.perf_counter()
        self.cost = self.waiting_since - started


def jobs_in(state: dict[str, Any], jobs: Sequence[Job], sweep: Path) -> list[Job]:
    """Those of the jobs that a stack's checkpoint is of: not those that had ended before it was written."""
    runs = set(_runs_of(state, sweep))
    return [(settings, folder) for settings, folder in jobs if (folder, settings.hash()) in runs]


def state_of(training: Training, epochs: int, sweep: Path) -> dict[str, Any]:
    """All that the epochs to come depend on, and how long the members' tables are. Nothing in it says where it lies."""
    training.write_records()
    rows = []
    for member in training.members:
        row: dict[str, Any] = {"folder": os.path.relpath(member.folder, sweep), "hash": member.settings.hash()}
        row["ended"] = member.ended
        if not member.ended:
            row["callbacks"] = [each.state_dict() for each in (member.early, member.saver)]
            row["best_epoch"] = member.best_epoch
            row["tables"] = None if member.unseen else run_folder.table_sizes(member.folder)
        rows.append(row)
    blocks = training.stack.everything()
    return {
        "epochs": epochs,
        "jobs": training.jobs,
        "threads": torch.get_num_threads(),
        "seconds": time.perf_counter() - training.started,
        "rows": rows,
        "blocks": [{"values": each.values.detach(), "best": each.best, "state": each.state} for each in blocks],
        "steps": training.optimiser.steps,
        "diagnostics": [diagnostic.state_dict() for diagnostic in training.diagnoses.diagnostics],
    }


def restore(training: Training, state: dict[str, Any], unseen: Collection[Path] = ()) -> None:
    """Put a fresh stack of the same rows where the checkpoint was; those in the folders `unseen` train along without
    leaving anything, as do those whose tables don't go back that far."""
    if [(member.folder.name, member.settings.hash()) for member in training.members] != [
        (Path(row["folder"]).name, row["hash"]) for row in state["rows"]
    ]:
        raise ValueError("its checkpoint is of other runs")
    training.first_epoch, training.jobs = state["epochs"], state["jobs"]
    training.started = time.perf_counter() - state["seconds"]
    use_threads(state["threads"])  # products may depend on it in the last bits
    for block, kept in zip(training.stack.everything(), state["blocks"], strict=True):
        block.values.detach().copy_(kept["values"])
        block.best = None if kept["best"] is None else kept["best"].to(block.values.device, copy=True)
        for name, values in block.state.items():
            values.copy_(kept["state"][name])
    training.optimiser.steps.copy_(state["steps"])
    for diagnostic, own in zip(training.diagnoses.diagnostics, state["diagnostics"], strict=True):
        diagnostic.load_state_dict(own)
    for member, row in zip(training.members, state["rows"], strict=True):
        member.ended = row["ended"]
        if member.ended:
            continue
        member.go_on(row["callbacks"], row["best_epoch"], state["epochs"], state["epochs"] * training.feed.steps)
        member.unseen = member.folder in unseen or run_folder.finished(member.folder, member.settings) is not None
        if not member.unseen and (row["tables"] is None or not run_folder.rewind(member.folder, row["tables"])):
            log.warning("%s is older than its stack's checkpoint: it is trained alone, afterwards", member.folder.name)
            member.unseen = True
        if not member.unseen:
            run_folder.resume(member.folder, member.settings)


Attempt = tuple[Sequence[Job], Saving | None, dict[str, Any] | None]  # and the checkpoint to go on from


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
    can't be trained as a stack, or is in use, is left without a result; what is finished is not touched."""
    rank.expect(1)  # this may be a process of its own
    with locked(jobs) as others:
        waiting: list[Attempt] = [(jobs, saving, state)] if len(others) < len(jobs) else []
        while waiting:
            waiting[:0] = _try(*waiting.pop(0), device, watcher, others)


def _try(
    jobs: Sequence[Job], saving: Saving | None, state: dict[str, Any] | None,
    device: torch.device, watcher: Watcher, others: Sequence[Path],
) -> list[Attempt]:  # fmt: skip
    """Train jobs, but for those in the folders of `others`; returns what to try next, where that failed."""
    if state is None:
        jobs = [job for job in unfinished(jobs) if job[1] not in others]
    try:
        _train(jobs, saving, state, device, watcher, others)
        failure = None
    except Exception as error:  # noted in words: it would hold the stack's memory
        log.debug("the stack failed", exc_info=True)
        failure, is_memory = f"{type(error).__name__}: {error}", is_out_of_memory(error)
    if saving:
        saving.path.unlink(missing_ok=True)
    if state is None:
        left = [job for job in jobs if run_folder.read_result(job[1]) is None]
    else:
        left = [job for job in unfinished(jobs) if job[1] not in others]
    if failure is None or not left:
        return []
    parts: list[list[Job]] = []
    if not is_memory:
        parts = [] if state is None else [left]
        how = "once more" if parts else "one by one"
        log.warning("the stack of %d runs failed, they run %s: %s", len(left), how, failure)
    elif len(left) > 1:
        half = -(-len(left) // 2)
        log.warning("out of memory with %d runs in a stack: continuing with %d", len(jobs), half)
        parts = [left[:half], left[half:]]
    collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return [(part, saving and saving.of(part), None) for part in parts]


@exits_are_errors()
def _train(
    jobs: Sequence[Job], saving: Saving | None, state: dict[str, Any] | None,
    device: torch.device, watcher: Watcher, others: Sequence[Path],
) -> None:  # fmt: skip
    steps = 0
    if state is None:
        steps, jobs = _prepared(jobs)
    if not jobs:
        return
    training = Training(jobs, device, watcher)
    if state is not None:
        restore(training, state, others)
    elif steps:
        training.resume()
    if saving:
        saving.waiting_since = time.perf_counter()
    training.run(saving.after_epoch if saving else None)


def _prepared(jobs: Sequence[Job]) -> tuple[int, list[Job]]:
    """How many steps most of these jobs have done, and those jobs; their folders are ready to resume from there."""
    at: dict[int, list[Job]] = {}
    for settings, folder in jobs:
        try:
            if member_checkpoint.epochs_done(settings, folder) is None:
                continue  # it has trained already: its own turn tests it
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
