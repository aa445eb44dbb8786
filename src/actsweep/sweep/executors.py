"""Units of work on other machines. Flow: config → launcher → **executors** → training.

Queues, retries and GPUs are submitit's and Ray's. Processes of this machine: sweep/processes.py.
"""

import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from actsweep.errors import UserError
from actsweep.sweep.units import Unit

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
