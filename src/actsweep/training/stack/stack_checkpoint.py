"""A stack's checkpoint: all that its next epoch depends on, written now and then; a repeated command resumes from it.

Flow: **training**. Members have a last.ckpt only when they have ended: one file is written sooner than many. Those that
ended after the stack's checkpoint train along once more, unseen, so that the others' numbers stay the same.
"""

import hashlib
import logging
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actsweep.config import schema
from actsweep.results import ownership, run_folder
from actsweep.threads import use_threads
from actsweep.training.checkpoints import WholeFiles
from actsweep.training.stack.training import Training

log = logging.getLogger(__name__)
FOLDER = ".stacks"  # in the sweep's folder
MOST_TIME = 0.05  # of a stack's training, for its checkpoints


def path_for(jobs: Sequence[tuple[schema.Settings, Path]], sweep: Path) -> Path:
    """Where a stack of these jobs keeps its checkpoint; the same wherever the sweep lies."""
    names = "\n".join(f"{os.path.relpath(folder, sweep)} {settings.hash()}" for settings, folder in jobs)
    return sweep / FOLDER / f"{hashlib.sha256(names.encode()).hexdigest()[:12]}.ckpt"


def paths(sweep: Path) -> list[Path]:
    """Of the checkpoints there are, and of what was being written when a process died."""
    return ownership.own(sweep, f"{FOLDER}/*")


def rows(state: dict[str, Any], path: Path) -> list[tuple[Path, str]]:
    """The folder and the hash of each member of the checkpoint that was read from there, if one was."""
    sweep = path.parent.parent
    return [(Path(os.path.normpath(sweep / row["folder"])), row["hash"]) for row in state.get("rows", ())]


@dataclass
class Saving:
    """Writes a stack's checkpoint to `path` every `every` seconds, but spends no more than `MOST_TIME` on it."""

    path: Path
    every: float
    waiting_since: float = 0.0
    cost: float = 0.0

    def after_epoch(self, training: Training, epochs: int) -> None:
        """`epochs`: completed ones."""
        started = time.perf_counter()
        if started - self.waiting_since < max(self.every, self.cost / MOST_TIME):
            return
        state = state_of(training, epochs, self.path.parent.parent)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            WholeFiles().save_checkpoint(state, self.path)
        except OSError as error:  # a full disk: the one before is there still
            log.warning("the checkpoint of a stack could not be written, its training goes on: %s", error)
        self.waiting_since = time.perf_counter()
        self.cost = self.waiting_since - started


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
    steps = state["epochs"] * training.feed.steps
    for member, row in zip(training.members, state["rows"], strict=True):
        member.ended = row["ended"]
        if member.ended:
            continue
        for callback, own in zip((member.early, member.saver), row["callbacks"], strict=True):
            callback.load_state_dict(own)
        member.best_epoch = row["best_epoch"]
        member.current_epoch, member.global_step = state["epochs"] - 1, steps
        member.unseen = member.folder in unseen or run_folder.finished(member.folder, member.settings) is not None
        if not member.unseen and (row["tables"] is None or not run_folder.rewind(member.folder, row["tables"])):
            log.warning("%s is older than its stack's checkpoint: it is trained alone, afterwards", member.folder.name)
            member.unseen = True
        if not member.unseen:
            run_folder.resume(member.folder, member.settings)
