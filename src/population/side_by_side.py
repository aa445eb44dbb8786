"""What `hydra/launcher=side_by_side` does with a grid: every run in a process, as many at a time as there are cores.

Flow: config → **launcher** → training. The processes are joblib's; each run is hydra-joblib-launcher's `execute_job`. A
process that dies takes the pool with it, but no finished run: the others go on, and those that may have been its death
are tried once more, alone.
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from copy import copy
from pathlib import Path
from typing import Any

import joblib
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher._core import execute_job
from joblib.externals.loky import get_reusable_executor
from omegaconf import DictConfig, open_dict

from src import config, naming, results
from src.population import grouping
from src.progress import ProgressBar
from src.sweep import Sweep

log = logging.getLogger(__name__)
PROCESS_BYTES = 1_000_000_000  # Python, torch, Lightning and a data set take 0.5 GB that no other process shares
Waiting = list[tuple[int, Sequence[str]]]  # jobs by their number


def check(n_jobs: int | None, threads: int | None) -> None:
    """Raise ValueError for what a person can get wrong in hydra.launcher."""
    for name, value in (("n_jobs", n_jobs), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"hydra.launcher.{name}={value}: must be at least 1, or null: what the cores allow")


def shares(jobs: int, n_jobs: int | None, threads: int | None) -> tuple[int, int]:
    """Runs at a time, and threads of each, on the cores that this process may use.

    Memory limits the runs where the number isn't given.
    """
    cores = joblib.cpu_count(only_physical_cores=True)
    fitting = int(grouping.SHARE_OF_MEMORY * grouping.free_bytes(torch.device("cpu")) / PROCESS_BYTES)
    count = n_jobs or max(1, min(cores // (threads or 1), fitting))
    count = min(count, jobs)
    return count, threads or max(1, cores // count)


def run(number: int, overrides: Sequence[str], *context: Any) -> JobReturn:
    """One job, in a process of its own."""
    naming.register()
    ProgressBar.shown = False  # several would write over each other
    returned = execute_job(number, overrides, *context)
    gc.collect()  # as src.sweep does in a process that does all runs
    return returned


class Launch:
    """A grid's jobs, a process each."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        n_jobs: int | None, threads: int | None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.n_jobs, self.threads = n_jobs, threads

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        count, threads = shares(len(job_overrides), self.n_jobs, self.threads)
        print(f"{count} side by side, {threads} thread{'s' * (threads > 1)} each", flush=True)
        waiting: Waiting = list(enumerate(job_overrides, start=initial_job_idx))
        alone: Waiting = []
        returns: dict[int, JobReturn] = {}
        while waiting or alone:
            if not waiting:
                waiting, alone, count = alone, [], 1
            try:
                for each in self._pool(waiting, count, threads):
                    returns[int(each.hydra_cfg.hydra.job.num)] = each  # type: ignore[union-attr]
                    self._tell(each)
                waiting = []
            except BrokenProcessPool:
                left = [job for job in waiting if job[0] not in returns]
                suspects, waiting = left[:count], left[count:]  # jobs start in order
                if count > 1:
                    log.warning("a process died: %d runs are tried again later, alone", len(suspects))
                    alone += suspects
                    count //= 2
                for number, overrides in suspects if not alone else ():
                    returns[number] = self._died(number, overrides)
        return [returns[number] for number in sorted(returns)]

    def _pool(self, jobs: Waiting, count: int, threads: int) -> Iterator[JobReturn]:
        """Run jobs, `count` at a time, and yield what they return as they end."""
        context = (self._silent(), self.config, self.task_function, Singleton.get_state())
        pool = joblib.Parallel(
            n_jobs=max(2, count),  # joblib would run the jobs of one process in this one
            pre_dispatch=count,
            batch_size=1,
            backend="loky",
            inner_max_num_threads=threads,
            return_as="generator_unordered",
        )
        try:
            yield from pool(joblib.delayed(run)(number, overrides, *context) for number, overrides in jobs)
        except BaseException:
            get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise

    def _silent(self) -> HydraContext:
        """What the processes get for Hydra's callbacks: what reports on the sweep does so here."""
        context = copy(self.hydra_context)
        context.callbacks = copy(context.callbacks)
        context.callbacks.callbacks = [each for each in context.callbacks.callbacks if not isinstance(each, Sweep)]
        return context

    def _tell(self, returned: JobReturn) -> None:
        for callback in self.hydra_context.callbacks.callbacks:
            if isinstance(callback, Sweep):
                callback.on_job_end(config=returned.hydra_cfg or self.config, job_return=returned)

    def _died(self, number: int, overrides: Sequence[str]) -> JobReturn:
        """The failure of a run whose process died again."""
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        folder = Path(str(composed.hydra.sweep.dir), str(composed.hydra.sweep.subdir)).resolve()
        with open_dict(composed):
            composed.hydra.job.id, composed.hydra.job.num = str(number), number
            composed.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(composed)
        results.write_failure(config.read(composed), folder, RuntimeError("its process died, twice"))
        returned = JobReturn(overrides=overrides, hydra_cfg=composed, status=JobStatus.COMPLETED)
        self._tell(returned)
        return returned
