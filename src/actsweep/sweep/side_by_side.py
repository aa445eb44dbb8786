"""What `hydra/launcher=side_by_side` does with a grid: every run in a process, as many at a time as there are cores.

Flow: config → **launcher** → training. The processes are joblib's, each run is Hydra's `run_job`. A process that dies
takes the pool with it, but no finished run: the others go on, and those that may have been its death are tried once
more, alone. Where runs train on GPUs there are as many processes as GPUs, and each sees one of them.
"""

import gc
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import joblib
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from joblib.externals.loky import get_reusable_executor
from omegaconf import DictConfig, open_dict

from actsweep import composition
from actsweep.errors import UserError
from actsweep.results import locks, run_folder
from actsweep.sweep.executors import Numbered, composed, paired, silent, tell
from actsweep.sweep.plan import shares
from actsweep.training.progress import ProgressBar

log = logging.getLogger(__name__)
CLAIMED = "ACTSWEEP_DEVICE_CLAIMED"  # where the device that this process sees is claimed


def check(n_jobs: int | None, threads: int | None) -> None:
    """Raise UserError for what a person can get wrong in hydra.launcher."""
    for name, value in (("n_jobs", n_jobs), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UserError(f"hydra.launcher.{name}={value}: must be at least 1, or null: what the cores allow")


def devices_for(config: DictConfig, jobs: Sequence[Sequence[str]]) -> list[str]:
    """The GPUs that these jobs may use, as CUDA_VISIBLE_DEVICES names them; none where all train on the CPU."""
    chosen = {word for words in jobs for word in words if word.startswith(("trainer=", "trainer.accelerator="))}
    if all(word.endswith("=cpu") for word in chosen) and (chosen or config.trainer.accelerator == "cpu"):
        return []
    present = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:present] if visible else [str(number) for number in range(present)]


def claim(devices: Sequence[str], claims: Path) -> None:
    """Have this process see one device only, which no other process has while there is a free one."""
    if not devices or os.environ.get(CLAIMED) == str(claims):
        return  # it has its own, from an earlier run
    for device in devices:
        try:
            locks.take(claims / device)
        except locks.InUseError:
            continue
        break
    else:
        device = devices[os.getpid() % len(devices)]
    os.environ["CUDA_VISIBLE_DEVICES"], os.environ[CLAIMED] = device, str(claims)


def _begun(claims: Path, number: int) -> Path:
    """The file that says that a run has begun."""
    return claims / f"begun-{number}"


def run(
    config: DictConfig, devices: Sequence[str], claims: Path, context: HydraContext, task: TaskFunction, state: Any
) -> JobReturn:
    """One job, in a process of its own."""
    _begun(claims, config.hydra.job.num).touch()
    claim(devices, claims)
    setup_globals()
    Singleton.set_state(state)
    composition.register()
    ProgressBar.shown = False  # several would write over each other
    returned = run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    gc.collect()  # as actsweep.sweep.callback does in a process that does all runs
    return returned


class SideBySideLaunch:
    """A grid's jobs, a process each."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        n_jobs: int | None, threads: int | None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.n_jobs, self.threads = n_jobs, threads

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        with tempfile.TemporaryDirectory(prefix="actsweep-") as claims:
            self.claims = Path(claims)
            return self._run(job_overrides, initial_job_idx)

    def _run(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.began = time.time()
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        self.gpus = devices_for(self.config, job_overrides)
        count, threads = shares(len(job_overrides), self.n_jobs or len(self.gpus) or None, self.threads)
        gpu = ", a GPU of its own for each" if count <= len(self.gpus) else ""
        print(f"{count} side by side, {threads} thread{'s' * (threads > 1)} each{gpu}", flush=True)
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        self.returns: dict[int, JobReturn] = {}
        self.deaths: Counter[int] = Counter()
        again = self._work_off(jobs, count, threads)
        while again:
            log.warning("processes died: %d runs are tried again, alone", len(again))
            again = self._work_off(again, 1, threads)
        return paired(jobs, self.returns)

    def _work_off(self, jobs: Sequence[Numbered], count: int, threads: int) -> list[Numbered]:
        """Run jobs, `count` at a time, fewer after each death. Returns those that may have been a death, but for those
        that have died twice: they have failed."""
        waiting, suspects = list(jobs), []
        while waiting:
            try:
                for each in self._pool(waiting, count, threads):
                    self.returns[int(each.hydra_cfg.hydra.job.num)] = each  # type: ignore[union-attr]
                    tell(self.hydra_context, each)
                waiting = []
            except BrokenProcessPool:
                left = [job for job in waiting if job[0] not in self.returns]
                begun = [job for job in left if _begun(self.claims, job[0]).exists()]
                died = [job for job in begun or left[:count] if not self._returns(*job)]
                if len(died) == 1 or not begun:  # else nobody knows which of them it was
                    self.deaths.update(number for number, _ in died)
                suspects += [job for job in died if self.deaths[job[0]] < 2 or self._returns(*job, has_failed=True)]
                waiting, count = [job for job in left if job not in (begun or left[:count])], max(1, count // 2)
        return [job for job in suspects if job[0] not in self.returns]

    def _pool(self, jobs: list[Numbered], count: int, threads: int) -> Iterator[JobReturn]:
        """Run jobs, `count` at a time, and yield what they return as they end."""
        shared = self.gpus, self.claims, silent(self.hydra_context), self.task_function, Singleton.get_state()
        for number, _ in jobs:
            _begun(self.claims, number).unlink(missing_ok=True)
        pool = joblib.Parallel(
            n_jobs=max(2, count),  # joblib would run the jobs of one process in this one
            pre_dispatch=count,
            batch_size=1,
            backend="loky",
            inner_max_num_threads=threads,
            return_as="generator_unordered",
        )
        try:
            yield from pool(
                joblib.delayed(run)(composed(self.hydra_context, self.config, *job), *shared) for job in jobs
            )
        except BaseException:
            get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise

    def _returns(self, number: int, overrides: Sequence[str], has_failed: bool = False) -> bool:
        """Whether a run whose process is gone has left a result, or `has_failed`; that is then what it returns."""
        config = composed(self.hydra_context, self.config, number, overrides)
        folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).resolve()
        with open_dict(config):
            config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        settings, path = composition.read(config), folder / run_folder.RESULT
        if has_failed:
            folder.mkdir(parents=True, exist_ok=True)
            run_folder.write_failure(settings, folder, RuntimeError("its process died, twice"))
        is_new = path.exists() and path.stat().st_mtime >= self.began
        found = run_folder.read_result(folder) if is_new else run_folder.finished(folder, settings)
        if found or has_failed:
            self.returns[number] = JobReturn(overrides=overrides, hydra_cfg=config, status=JobStatus.COMPLETED)
            self.returns[number].return_value = run_folder.score(found) if found else None
            tell(self.hydra_context, self.returns[number])
        return bool(found)
