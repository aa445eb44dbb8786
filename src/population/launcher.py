"""What `hydra/launcher=stacked` does with a grid: jobs of equal shape train as one stack, the rest one by one.

Flow: config → **launcher** → training; an engine stands between them (src.population.elsewhere), if there is one.
Hydra's own `run_job` is called once per job, in the grid's order, as its basic launcher does: folders, `.hydra/`, logs,
callbacks and JobReturn are Hydra's. The first job of a group trains the whole group; the others find their results.
"""

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

from src import config, results, search
from src.command_line import quiet_libraries
from src.data import datamodule
from src.losses import outputs_for
from src.population import elsewhere, grouping
from src.population.stack_checkpoint import FOLDER, Saving, path_for, read
from src.population.stacks import Group, train_on_several, unfinished
from src.population.training import Job
from src.progress import UNSEEN, Watcher
from src.sweep import Sweep

ALONE = "no other run of its shape"


@dataclass
class Task:
    """One job of the grid: Hydra's configuration of it, what it asks for (None where that can't be read), its group."""

    config: DictConfig
    job: Job | None
    group: Group | None = None


def check(max_members: int | None, devices: Sequence[int] | None, save_every: float) -> None:
    """Raise ValueError for what a person can get wrong in hydra.launcher."""
    if isinstance(save_every, bool) or not isinstance(save_every, int | float) or not save_every >= 0:
        raise ValueError(f"hydra.launcher.save_every={save_every}: must be a number of seconds, at least 0")
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


def tidy(folder: Path) -> None:
    """Remove checkpoints of stacks that are done, and what was being written when a process died."""
    for path in folder.glob("*") if folder.exists() else ():
        state = read(path) if path.suffix == ".ckpt" else None
        done = [results.read_result(Path(row["folder"])) for row in state["rows"]] if state else []
        if path.suffix == ".tmp" or (done and all(done)):
            path.unlink(missing_ok=True)


class Launch:
    """A grid's jobs, grouped, and run in order."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        max_members: int | None, devices: Sequence[int] | None, save_every: float = 60,
        engine: elsewhere.Engine | None = None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.max_members, self.devices, self.save_every, self.engine = max_members, devices, save_every, engine

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        if self.engine:
            return elsewhere.run(self, self.engine, jobs)
        returns = self.run(jobs)
        tidy(Path(str(self.config.hydra.sweep.dir), FOLDER))  # elsewhere a process may still be writing there
        return returns

    def run(self, jobs: Sequence[elsewhere.Numbered]) -> list[JobReturn]:
        """Run the jobs of these numbers in this process."""
        setup_globals()
        quiet_libraries()
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        tasks = self.tasks(jobs)
        groups = self.group(tasks)
        if len(self.devices or ()) > 1:
            train_on_several(groups, self.devices or (), self.watcher())
        returns = []
        for task in tasks:
            returns.append(self.run_task(task))
            configure_log(hydra.hydra_logging, hydra.verbose)
        return returns

    def watcher(self) -> Watcher:
        """Whoever tells the person how far the sweep is; in a process that only does a part of it, nobody."""
        callbacks = self.hydra_context.callbacks.callbacks
        return next((each for each in callbacks if isinstance(each, Sweep)), UNSEEN)

    def tasks(self, jobs: Sequence[elsewhere.Numbered]) -> list[Task]:
        """The jobs, composed."""
        return [self._task(number, overrides) for number, overrides in jobs]

    def _task(self, number: int, overrides: Sequence[str]) -> Task:
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

    def group(self, tasks: Sequence[Task]) -> list[Group]:
        """Deal the tasks that still have to run into groups; say which run one by one, and why."""
        reasons: Counter[str] = Counter()
        alike: dict[str, list[Task]] = {}
        groups = self._interrupted(tasks)
        for task in tasks:
            if task.job is None or task.group or not unfinished([task.job]):
                continue
            if reason := grouping.reason_against(task.job[0]):
                reasons[reason] += 1
            else:
                alike.setdefault(grouping.signature(task.job[0]), []).append(task)
        for found in alike.values():
            device, most = self._place(found[0])
            parts = max(-(-len(found) // most), len(self.devices or ()))  # so that every device gets some
            size = -(-len(found) // parts)
            for start in range(0, len(found), size):
                part = found[start : start + size]
                if len(part) == 1:
                    reasons[ALONE if most > 1 else "a stack holds no more than one"] += 1
                    continue
                groups.append(self._new_group([task.job for task in part if task.job], device))
                for task in part:
                    task.group = groups[-1]
        for group in groups:
            after = f", going on after epoch {group.done}" if group.done else ""
            place = "" if self.engine else f" on {group.device}"
            print(f"{len(group.jobs)} runs in one stack{place}{after}", flush=True)
        for reason, count in reasons.items():
            print(f"{count} run{'s' * (count > 1)} one by one: {reason}", flush=True)
        return groups

    def _new_group(self, jobs: list[Job], device: torch.device) -> Group:
        return Group(jobs, device, Saving(path_for(jobs, Path(str(self.config.hydra.sweep.dir))), self.save_every))

    def _interrupted(self, tasks: Sequence[Task]) -> list[Group]:
        """The stacks that an earlier command left in the middle of their training, if this one has all their jobs."""
        known = {(str(task.job[1]), task.job[0].hash()): task for task in tasks if task.job}
        groups = []
        for path in sorted(Path(str(self.config.hydra.sweep.dir), FOLDER).glob("*.ckpt")):
            state = read(path)
            found = [known.get((row["folder"], row["hash"])) for row in state["rows"]] if state else []
            members = [task for task in found if task and task.job]
            jobs = [task.job for task in members if task.job]
            if state is None or not members or len(members) < len(found) or any(task.group for task in members):
                continue
            if jobs[0][0].rerun == "all" or not unfinished(jobs):
                path.unlink()
                continue
            device = self._place(members[0])[0]
            groups.append(Group(jobs, device, Saving(path, self.save_every), state["epochs"]))
            for task in members:
                task.group = groups[-1]
        return groups

    def _place(self, task: Task) -> tuple[torch.device, int]:
        """The device on which such tasks train, and how many of them at a time."""
        assert task.job is not None
        if self.engine:
            return torch.device("cpu"), self.max_members or 1_000_000  # the place where it trains decides
        settings = task.job[0]
        device = grouping.device_for(settings, self.devices)
        try:
            data = datamodule.open_data(settings.data, settings.seed)
            outputs = outputs_for(settings.loss, data.dataset)
        except (ValueError, OSError):
            return device, 1  # the job itself says what is wrong
        fitting = grouping.cap(settings, data.dataset.input_size, outputs, len(data.train), device)
        return device, min(fitting, self.max_members or fitting)

    def run_task(self, task: Task) -> JobReturn:
        """One job, as Hydra's basic launcher runs it; it trains in its group, if it has one."""
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
            if not task.group.trained and unfinished([task.job]):
                task.group.train(self.watcher())
            done = results.read_result(task.job[1])
            if task.group.trained and done and done["config_hash"] == task.job[0].hash():
                return search.score(done)  # None if it failed: the sweep goes on, its end reports it
        return self.task_function(cfg)
