"""Jobs of a grid in other processes, or on other machines: each stack, or run that can't be stacked, is a unit of work.

Flow: config → launcher → **executors** → launcher, training. Queues, retries and GPUs are submitit's and Ray's. What a
unit does is what `hydra/launcher=stacked` does with a part of the grid, so a unit that is done again resumes.
"""

import gc
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from actsweep import composition
from actsweep.errors import UserError
from actsweep.results import locks
from actsweep.sweep.callback import Sweep
from actsweep.training.progress import ProgressBar

Numbered = tuple[int, Sequence[str]]  # a job's number in the grid, and its overrides
Outcome = list[JobReturn] | Exception
POLL = 1.0  # seconds


def composed(context: HydraContext, config: DictConfig, number: int, overrides: Sequence[str]) -> DictConfig:
    """A job's configuration, from that of the sweep."""
    found = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(found):
        found.hydra.job.id = found.hydra.job.num = number
    return found


def silent(context: HydraContext) -> HydraContext:
    """What other processes get for Hydra's callbacks: what reports on the sweep does so here."""
    context = copy(context)
    context.callbacks = copy(context.callbacks)
    context.callbacks.callbacks = [each for each in context.callbacks.callbacks if not isinstance(each, Sweep)]
    return context


def tell(context: HydraContext, returned: JobReturn) -> None:
    """Have a job that ended in another process reported here."""
    for callback in context.callbacks.callbacks:
        if isinstance(callback, Sweep) and returned.hydra_cfg is not None:
            callback.on_job_end(config=returned.hydra_cfg, job_return=returned)


def paired(jobs: Sequence[Numbered], returns: Mapping[int, JobReturn]) -> list[JobReturn]:
    """A return for each job and in the jobs' order: sweepers that search tell by its place which job one is of."""
    assert returns.keys() == {number for number, _ in jobs}
    return [returns[number] for number, _ in jobs]


@dataclass
class Unit:
    """Jobs that go together to another process."""

    work: Callable[[list[Numbered]], list[JobReturn]]
    jobs: list[Numbered]
    state: Any = field(default_factory=Singleton.get_state)

    def __call__(self) -> list[JobReturn]:
        Singleton.set_state(self.state)
        setup_globals()
        composition.register()
        ProgressBar.shown = False  # nobody would see it
        with locks.released():
            returned = self.work(self.jobs)
        gc.collect()
        return returned

    def checkpoint(self) -> Any:
        """What submitit queues again when time is up or the place is taken: the same, which resumes where it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Engine(Protocol):
    """Does units of work; yields the place of each and what came of it, as they end."""

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[tuple[int, Outcome]]: ...


class Submitit:
    """Each unit is a job of Slurm, or (`cluster=local`) a process; conf/hydra/launcher/stacked_slurm.yaml."""

    def __init__(self, cluster: str, max_num_timeout: int, **parameters: Any) -> None:
        self.cluster, self.max_num_timeout = cluster, max_num_timeout
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[tuple[int, Outcome]]:
        try:
            import submitit
        except ImportError as error:
            raise UserError("hydra/launcher=stacked_slurm needs submitit: pip install 'actsweep[slurm]'") from error
        limit = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        try:
            executor = submitit.AutoExecutor(sweep / ".submitit" / "%j", cluster=self.cluster, **limit)
            executor.update_parameters(**self.parameters)
        except (RuntimeError, NameError, TypeError) as error:  # no srun here, or an unknown parameter
            raise UserError(f"hydra.launcher.engine: {error}") from error
        with executor.batch():
            jobs = [executor.submit(unit) for unit in units]
        places = {id(job): place for place, job in enumerate(jobs)}
        try:
            for job in submitit.helpers.as_completed(jobs, poll_frequency=POLL):
                yield places.pop(id(job)), job.exception() or job.result()
        finally:
            for job in jobs:
                if id(job) in places:
                    job.cancel(check=False)


class Ray:
    """Each unit is a task of Ray. Arguments: conf/hydra/launcher/stacked_ray.yaml."""

    def __init__(self, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self.init, self.remote = init, remote

    def map(self, units: Sequence[Unit], sweep: Path) -> Iterator[tuple[int, Outcome]]:
        try:
            import ray
        except ImportError as error:
            raise UserError("hydra/launcher=stacked_ray needs Ray: pip install 'actsweep[ray]'") from error
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(**self.init)
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
        try:
            task = ray.remote(**self.remote)(_call)
            waiting = {task.remote(unit): place for place, unit in enumerate(units)}
            while waiting:
                [done], _ = ray.wait(list(waiting), num_returns=1)
                try:
                    outcome: Outcome = ray.get(done)
                except ray.exceptions.RayError as error:
                    outcome = error
                yield waiting.pop(done), outcome
        finally:
            ray.shutdown()


def _call(unit: Unit) -> list[JobReturn]:
    return unit()
