"""Groups of jobs that train as one stack: split where memory runs out, shared out over several devices.

Flow: config → data → network → **training** → diagnostics → results.
"""

import gc
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch

from src import results
from src.command_line import quiet_libraries
from src.population.stack_checkpoint import Saving, path_for, read, restore
from src.population.training import Job, Training
from src.progress import UNSEEN, ProgressBar, Watcher

log = logging.getLogger(__name__)
GLANCE = 1.0  # seconds between two looks at what other processes have done


@dataclass
class Group:
    """Jobs that train as one stack."""

    jobs: list[Job]
    device: torch.device
    saving: Saving
    done: int = 0  # epochs, after which it goes on from its checkpoint
    trained: bool = False

    def train(self, watcher: Watcher = UNSEEN) -> None:
        self.trained = True
        train_group(self.jobs, self.device, self.saving, read(self.saving.path) if self.done else None, watcher)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that have no result yet, or one that doesn't stand."""
    return [(settings, folder) for settings, folder in jobs if not results.finished(folder, settings)]


def train_group(
    jobs: Sequence[Job], device: torch.device, saving: Saving | None = None, state: dict[str, Any] | None = None,
    watcher: Watcher = UNSEEN,
) -> None:  # fmt: skip
    """Train jobs as one stack; where memory runs out, those that have no result yet as two stacks of half the size.

    With `state`, a checkpoint of these jobs, from there on. What can't be trained as a stack is left without a result.
    """
    if state is None:
        for _, folder in jobs:
            results.prepare(folder)  # a result that is there afterwards is this attempt's
    try:
        training = Training(jobs, device, saving, watcher)
        if state is not None:
            restore(training, state)
        training.run()
        error = None
    except Exception as caught:
        error = caught.with_traceback(None)  # its frames hold the stack's memory
    if saving:
        saving.path.unlink(missing_ok=True)
    if error is None:
        return
    left = [job for job in jobs if results.read_result(job[1]) is None]
    if not is_out_of_memory(error):
        text = "the stack of %d runs failed, they run %s: %s: %s"
        again = "one by one" if state is None else "once more"
        log.warning(text, len(left), again, type(error).__name__, error)
        if state is not None:
            train_group(left, device, saving, watcher=watcher)
        return
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(left) > 1:
        half = -(-len(left) // 2)
        log.warning("out of memory with %d runs in a stack: going on with %d", len(jobs), half)
        for part in (left[:half], left[half:]):
            own = saving and Saving(path_for(part, saving.path.parent.parent), saving.every)
            train_group(part, device, own, watcher=watcher)


def deal(groups: Sequence[Group], shares: int) -> list[list[Group]]:
    """Large groups first, each to the share that has the fewest members so far."""
    dealt: list[list[Group]] = [[] for _ in range(shares)]
    for group in sorted(groups, key=lambda group: -len(group.jobs)):
        min(dealt, key=lambda share: sum(len(each.jobs) for each in share)).append(group)
    return dealt


def train_share(share: Sequence[Group]) -> None:
    """In a process of its own."""
    quiet_libraries()
    ProgressBar.shown = False  # several would write over each other
    for group in share:
        group.train()


def train_on_several(groups: Sequence[Group], devices: Sequence[int], watcher: Watcher = UNSEEN) -> None:
    """Train groups on several devices at once, a process each. What a process leaves undone runs one by one later."""
    shares = deal(groups, len(devices))
    for device, share in zip(devices, shares, strict=True):
        for group in share:
            group.device = torch.device("cuda", device) if group.device.type == "cuda" else group.device
    with ProcessPoolExecutor(len(devices), get_context("spawn")) as pool:
        waiting = {pool.submit(train_share, share) for share in shares if share}
        left = {folder: settings for group in groups for settings, folder in group.jobs}
        while waiting:
            ended, waiting = wait(waiting, GLANCE)
            for folder in [folder for folder, settings in left.items() if results.finished(folder, settings)]:
                del left[folder]
                watcher.ended(folder)
            for error in filter(None, (each.exception() for each in ended)):
                log.warning("a process with stacks ended early: %s", error)
    for group in groups:
        group.trained = True
