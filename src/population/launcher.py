"""What `hydra/launcher=stacked` does with a grid: jobs of equal shape train as one stack, the rest one by one.

Flow: config → **launcher** → training. Hydra's own `run_job` is called once per job, in the grid's order, as its basic
launcher does: folders, `.hydra/`, logs, callbacks and JobReturn are Hydra's. The first job of a group trains the whole
group; the others find their results.
"""

import gc
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from src import config, results
from src.command_line import quiet_libraries
from src.data import datamodule
from src.losses import outputs_for
from src.population import grouping
from src.population.training import Job, Training

log = logging.getLogger(__name__)
ALONE = "no other run of its shape"


@dataclass
class Group:
    """Jobs that train as one stack."""

    jobs: list[Job]
    device: torch.device
    trained: bool = False


@dataclass
class Task:
    """One job of the grid: Hydra's configuration of it, what it asks for (None where that can't be read), its group."""

    config: DictConfig
    job: Job | None
    group: Group | None = None


def check(max_members: int | None, devices: Sequence[int] | None) -> None:
    """Raise ValueError for what a person can get wrong in hydra.launcher."""
    if max_members is not None and (
        isinstance(max_members, bool) or not isinstance(max_members, int) or max_members < 1
    ):
        raise ValueError(f"hydra.launcher.max_members={max_members}: must be at least 1, or null: as many as fit")
    if devices is None:
        return
    present = torch.cuda.device_count()
    if not devices or any(not isinstance(each, int) or not 0 <= each < present for each in devices):
        there = f"torch finds {present} CUDA devices here" + (f", 0 to {present - 1}" if present else "")
        raise ValueError(f"hydra.launcher.devices={list(devices)}: {there}; null takes the first, or the CPU")


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that have no result yet, or one that another configuration or a failure left."""
    found = []
    for settings, folder in jobs:
        done = results.read_result(folder)
        if not done or done["status"] == "failed" or done["config_hash"] != settings.hash():
            found.append((settings, folder))
    return found


def train_group(jobs: Sequence[Job], device: torch.device) -> None:
    """Train jobs as one stack; where memory runs out, those that have no result yet as two stacks of half the size.

    What can't be trained as a stack is left without a result.
    """
    for _, folder in jobs:
        results.prepare(folder)  # a result that is there afterwards is this attempt's
    try:
        Training(jobs, device).run()
        return
    except Exception as error:
        if not is_out_of_memory(error):
            log.warning(
                "the stack of %d runs failed, they run one by one: %s: %s", len(jobs), type(error).__name__, error
            )
            return
    left = [job for job in jobs if results.read_result(job[1]) is None]
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(left) > 1:
        half = -(-len(left) // 2)
        log.warning("out of memory with %d runs in a stack: going on with %d", len(jobs), half)
        train_group(left[:half], device)
        train_group(left[half:], device)


class Launch:
    """A grid's jobs, grouped, and run in order."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        max_members: int | None, devices: Sequence[int] | None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.max_members, self.devices = max_members, devices

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        quiet_libraries()
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        tasks = [self._task(overrides, initial_job_idx + place) for place, overrides in enumerate(job_overrides)]
        self._group(tasks)
        returns = []
        for task in tasks:
            returns.append(self._run(task))
            configure_log(hydra.hydra_logging, hydra.verbose)
        return returns

    def _task(self, overrides: Sequence[str], number: int) -> Task:
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)
        try:
            settings = config.read(composed)
            folder = Path(
                str(OmegaConf.select(composed, "hydra.sweep.dir")), str(composed.hydra.sweep.subdir)
            ).resolve()
            return Task(composed, (settings, folder))
        except ValueError:
            return Task(composed, None)  # the job itself says what is wrong
        finally:
            HydraConfig.instance().cfg = before

    def _group(self, tasks: Sequence[Task]) -> None:
        """Deal the tasks that still have to run into groups; say which run one by one, and why."""
        reasons: Counter[str] = Counter()
        alike: dict[str, list[Task]] = {}
        for task in tasks:
            if task.job is None or not unfinished([task.job]):
                continue
            if reason := grouping.reason_against(task.job[0]):
                reasons[reason] += 1
            else:
                alike.setdefault(grouping.signature(task.job[0]), []).append(task)
        groups = []
        for found in alike.values():
            device, most = self._place(found[0])
            for start in range(0, len(found), most):
                part = found[start : start + most]
                if len(part) == 1:
                    reasons[ALONE if most > 1 else "a stack holds no more than one"] += 1
                    continue
                groups.append(Group([task.job for task in part if task.job], device))
                for task in part:
                    task.group = groups[-1]
        for group in groups:
            print(f"{len(group.jobs)} runs in one stack on {group.device}", flush=True)
        for reason, count in reasons.items():
            print(f"{count} run{'s' * (count > 1)} one by one: {reason}", flush=True)

    def _place(self, task: Task) -> tuple[torch.device, int]:
        """The device on which such tasks train, and how many of them at a time."""
        assert task.job is not None
        settings = task.job[0]
        device = grouping.device_for(settings, self.devices)
        try:
            data = datamodule.open_data(settings.data, settings.seed)
            outputs = outputs_for(settings.loss, data.dataset)
        except (ValueError, OSError):
            return device, 1  # the job itself says what is wrong
        fitting = grouping.cap(settings, data.dataset.input_size, outputs, len(data.train), device)
        return device, min(fitting, self.max_members or fitting)

    def _run(self, task: Task) -> JobReturn:
        return run_job(
            hydra_context=self.hydra_context,
            task_function=lambda cfg: self._outcome(task, cfg),
            config=task.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _outcome(self, task: Task, cfg: DictConfig) -> Any:
        """What the job returns: trained in its group, which trains when its first job's turn comes, or alone."""
        if task.group and task.job:
            if not task.group.trained:
                task.group.trained = True
                train_group(task.group.jobs, task.group.device)
            done = results.read_result(task.job[1])
            if done and done["status"] == "failed":
                return None  # as src.train.job: the sweep goes on, its end reports the failure
        return self.task_function(cfg)  # finds a complete result, or runs the job
