"""Groups of jobs that train as one stack: split where memory runs out, shared out over processes.

Flow: config → data → network → **training** → diagnostics → results.
"""

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from src import results
from src.command_line import outlive_readers, quiet_libraries
from src.population.stack_checkpoint import Saving, path_for, read, restore
from src.population.training import Job, Training
from src.progress import UNSEEN, ProgressBar, Watcher

log = logging.getLogger(__name__)
THREADS = "OMP_NUM_THREADS"  # which torch reads when it is imported


@dataclass
class Group:
    """Jobs that train as one stack."""

    jobs: list[Job]
    device: torch.device
    saving: Saving
    seconds: float = 0.0  # about what it will take
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
        for settings, folder in jobs:
            results.prepare(folder, settings)  # a result that is there afterwards is this attempt's
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
    """Long groups first, each to the share that takes least so far."""
    dealt: list[list[Group]] = [[] for _ in range(shares)]
    for group in sorted(groups, key=lambda group: -group.seconds):
        min(dealt, key=lambda share: sum(each.seconds for each in share)).append(group)
    return dealt


class Relay:
    """A Watcher in another process, whose words come out of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def ended(self, folder: Path) -> None:
        self.pipe.send(("ended", (folder,)))

    def reached(self, runs: int, left: float, each: float) -> None:
        self.pipe.send(("reached", (runs, left, each)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nobody holds the sweep's lock any more


def train_share(share: Sequence[Group], pipe: Connection) -> None:
    """In a process of its own, which the one that started it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet_libraries()
    outlive_readers()
    ProgressBar.shown = False  # several would write over each other
    for group in share:
        group.train(Relay(pipe))


@dataclass
class Worker:
    """A process and the stacks that it trains; what it said last of how far it is."""

    process: SpawnProcess
    share: Sequence[Group]
    said: tuple[int, float, float] | None = None

    def join(self) -> None:
        """Wait for its end. Stacks of a process that died are left untrained: it may have died of others' memory."""
        self.process.join()
        died = self.process.exitcode
        if died:
            log.warning("a process with stacks ended early, what it left is trained later: exit code %s", died)
        for group in self.share:
            group.trained = not (died and unfinished(group.jobs))


@contextmanager
def threads_of_new_processes(count: int) -> Iterator[None]:
    before = os.environ.get(THREADS)
    os.environ[THREADS] = str(count)
    try:
        yield
    finally:
        del os.environ[THREADS]
        if before is not None:
            os.environ[THREADS] = before


def train_side_by_side(shares: Sequence[Sequence[Group]], threads: int, watcher: Watcher = UNSEEN) -> None:
    """Train each share in a process of its own, with so many threads, all at once."""
    context = multiprocessing.get_context("spawn")
    working: dict[Connection, Worker] = {}
    try:
        for share in shares:
            here, there = context.Pipe(duplex=False)
            working[here] = Worker(context.Process(target=train_share, args=(share, there), daemon=True), share)
            with threads_of_new_processes(threads):
                working[here].process.start()
            there.close()  # so that its end is heard
        while working:
            for pipe in wait(list(working)):
                assert isinstance(pipe, Connection)
                try:
                    what, values = pipe.recv()
                except EOFError:
                    working.pop(pipe).join()
                    continue
                if what == "ended":
                    watcher.ended(*values)
                    continue
                working[pipe].said = values
                runs, left, each = zip(*(worker.said for worker in working.values() if worker.said), strict=True)
                watcher.reached(sum(runs), max(left), sum(each) / len(each) / len(working))
    finally:
        for worker in working.values():  # none, but where something was raised
            if worker.process.pid:
                worker.process.kill()
                worker.process.join()
