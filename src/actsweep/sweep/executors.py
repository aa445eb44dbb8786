"""Who does units of work: processes of this machine, a core or a GPU each; other machines, by submitit or Ray, whose
queues, retries and GPUs are theirs. Flow: config → launcher → **executors** → training.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hydra.core.utils import env_override

from actsweep.config.command_line import SIGNALS, signals_wait
from actsweep.errors import UserError
from actsweep.imports import keep
from actsweep.results import locks
from actsweep.sweep.units import Ended, Unit, begin_process
from actsweep.threads import forkable, share
from actsweep.training.progress import Watcher

log = logging.getLogger(__name__)
Numbered = tuple[int, Unit]  # with its place
POLL = 1.0  # seconds
REFUSALS = (RuntimeError, NameError, TypeError, ValueError, AssertionError, ConnectionError)  # of what they are given
Outcome = tuple[int, Exception | None]  # a unit's place, and what ended it early


class Engine(Protocol):
    """Does units of work; yields what came of each as they end."""

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[Outcome]: ...


class Submitit:
    """Each unit is a job of Slurm, or (`cluster=local`) a process; conf/hydra/launcher/stacked_slurm.yaml."""

    def __init__(self, cluster: str, max_num_timeout: int, **parameters: Any) -> None:
        self.cluster, self.max_num_timeout = cluster, max_num_timeout
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[Outcome]:
        try:
            import submitit
            from submitit.core import utils
        except ImportError as error:
            raise UserError("hydra/launcher=stacked_slurm needs submitit: pip install 'actsweep[slurm]'") from error
        limit = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        try:
            executor = submitit.AutoExecutor(sweep / ".submitit" / "%j", cluster=self.cluster, **limit)
            executor.update_parameters(**self.parameters)
        except REFUSALS as error:  # no srun here, or an unknown parameter
            raise UserError(f"hydra.launcher.engine: {error}") from error
        refusals = utils.UncompletedJobError, utils.FailedSubmissionError  # sbatch's, of a parameter
        try:
            with executor.batch():
                jobs = [executor.submit(unit) for unit in units]
        except refusals as error:
            raise UserError(f"hydra.launcher.engine: {error}") from error
        places = {id(job): place for place, job in enumerate(jobs)}
        try:
            for job in submitit.helpers.as_completed(jobs, poll_frequency=POLL):
                yield places.pop(id(job)), job.exception()
        finally:
            for job in jobs:
                if id(job) in places:
                    job.cancel(check=False)


class Ray:
    """Each unit is a task of Ray. Arguments: conf/hydra/launcher/stacked_ray.yaml."""

    def __init__(self, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self.init, self.remote = init, remote

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[Outcome]:
        try:
            import ray
        except ImportError as error:
            raise UserError("hydra/launcher=stacked_ray needs Ray: pip install 'actsweep[ray]'") from error
        handler = signal.getsignal(signal.SIGTERM)
        try:
            task = ray.remote(**self.remote)(_call)
            ray.init(**self.init)
        except REFUSALS as error:  # no cluster at this address, an unknown argument
            raise UserError(f"hydra.launcher.engine: {error}") from error
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
        try:
            waiting = {task.remote(unit): place for place, unit in enumerate(units)}
            while waiting:
                [done], _ = ray.wait(list(waiting), num_returns=1)
                early: Exception | None = None
                try:
                    ray.get(done)
                except ray.exceptions.RayError as error:
                    early = error
                yield waiting.pop(done), early
        finally:
            ray.shutdown()


def _call(unit: Unit) -> None:
    unit()


class Relay:
    """A Watcher in another process, whose words come out of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def ended(self, folder: Path) -> None:
        self.pipe.send(("ended", folder))

    def reached(self, runs: float, left: float, each: float) -> None:
        self.pipe.send(("reached", runs, left, each))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nobody holds the sweep's lock any more


def work(pipe: Connection, threads: int) -> None:
    """In a process of its own: do the units that come out of the pipe, until None does."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with locks.released():
        pass  # a fork has the sweep's too
    share(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin_process()
    keep()
    pipe.send(("begun",))
    while (unit := pipe.recv()) is not None:
        unit.train(Relay(pipe))
        pipe.send(("done",))


@dataclass
class Worker:
    """A process, the unit that it has, and what it said last of how far it is. `slot`: its place among the others."""

    process: BaseProcess
    slot: int
    task: Numbered | None
    begun: bool = False  # before that, what ends it is none of its unit's doing
    said: tuple[float, float, float] | None = None

    def ending(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        return how if self.begun else f"{how} before it began"


class Death(NamedTuple):
    """Of a process: what it had to do, how it ended, and whether it had begun with that."""

    task: Numbered
    ending: str
    begun: bool = True


class Processes:
    """So many processes, each of which takes the next unit as soon as it has done one.

    A unit whose process dies is tried again, alone: it may have died of the others' memory. If it dies again, its
    halves are tried, down to the single run, which has failed then; all have failed whose process can't even begin.
    `meanwhile` does a little of what there is to do while no process has said anything; whether there was something.
    """

    def __init__(
        self, count: int, threads: int, gpus: Sequence[str], watcher: Watcher, meanwhile: Callable[[], bool]
    ) -> None:
        self.count, self.threads, self.gpus, self.watcher = count, threads, gpus, Ended(watcher)
        self.meanwhile = meanwhile

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[Outcome]:
        died: deque[Death] = deque()
        yield from self._work_off(sorted(enumerate(units), key=lambda task: -task[1].seconds), self.count, died)
        while died:
            (place, unit), ending, _ = died.popleft()
            if (left := unit.left(self.watcher.folders)) is None:
                yield place, None
                continue
            log.warning("a process ended early, what it left is tried again, alone: %s", ending)
            again: deque[Death] = deque()
            yield from self._work_off([(place, left)], 1, again)
            for (_, unit), ending, begun in again:
                if len(unit.jobs) > 1 and begun:
                    died.extendleft(Death((place, half), ending) for half in reversed(unit.halves()))
                else:
                    error = RuntimeError(f"its process died, twice: {ending}")
                    yield place, error
                    unit.fail(error, self.watcher)

    def _work_off(self, tasks: Sequence[Numbered], count: int, died: deque[Death]) -> Iterator[Outcome]:
        """Do them, so many at a time. Those whose processes die go to `died`, with how they died."""
        waiting, slots = deque(tasks), deque(range(count))
        working: dict[Connection, Worker] = {}
        try:
            while waiting or working:
                while waiting and slots:
                    self._start(waiting.popleft(), slots.popleft(), working)
                while not (said := wait(list(working), timeout=0)) and self.meanwhile():
                    pass
                for pipe in said or wait(list(working)):
                    assert isinstance(pipe, Connection)
                    worker = working[pipe]
                    try:
                        yield from self._hear(pipe, worker, waiting)
                    except (EOFError, OSError):
                        ending = worker.ending()
                        slots.append(working.pop(pipe).slot)
                        died.extend([Death(worker.task, ending, worker.begun)] if worker.task else [])
                    self._tell(working)
        finally:
            for worker in working.values():  # none, but where something was raised
                if worker.process.pid:
                    worker.process.kill()
                    worker.process.join()

    def _start(self, task: Numbered, slot: int, working: dict[Connection, Worker]) -> None:
        context = multiprocessing.get_context("fork" if forkable() and not self.gpus else "spawn")
        here, there = context.Pipe()  # for the unit, too: the library waits for ever for one that dies before it reads
        given = there, self.threads
        process = context.Process(target=work, args=given, daemon=True)  # type: ignore[attr-defined]
        working[here] = Worker(process, slot, task)
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        # torch reads the threads when it is imported. Python drops what a signal raises in the midst of a fork.
        with env_override({"OMP_NUM_THREADS": str(self.threads), **gpu}), signals_wait():
            process.start()
        there.close()  # so that its end is heard

    def _hear(self, pipe: Connection, worker: Worker, waiting: deque[Numbered]) -> Iterator[Outcome]:
        what, *values = pipe.recv()
        if what == "ended":
            self.watcher.ended(*values)
        elif what == "reached":
            worker.said = tuple(values)
        elif worker.task:
            if what == "done":
                yield worker.task[0], None
                worker.task, worker.said = waiting.popleft() if waiting else None, None
            worker.begun = True
            pipe.send(worker.task and worker.task[1])

    def _tell(self, working: Mapping[Connection, Worker]) -> None:
        if said := [worker.said for worker in working.values() if worker.said]:
            runs, left, each = zip(*said, strict=True)
            self.watcher.reached(sum(runs), max(left), sum(each) / len(each) / len(working))
