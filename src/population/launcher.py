"""What `hydra/launcher=stacked` does with a grid: jobs of equal shape train as one stack, the rest one by one.

Flow: config → **launcher** → training; an engine stands between them (src.population.elsewhere), if there is one.
Hydra's own `run_job` is called once per job, in the grid's order, as its basic launcher does: folders, `.hydra/`, logs,
callbacks and JobReturn are Hydra's. The first job of a group trains the whole group, where no process did that before;
the others find their results.
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

from src import config, ownership, results, search
from src.command_line import quiet_libraries
from src.mlp import ALL_THREADS
from src.population import elsewhere, grouping
from src.population.stack_checkpoint import FOLDER, Saving, path_for, read
from src.population.stacks import Group, deal, train_side_by_side, unfinished
from src.population.training import Job
from src.progress import UNSEEN, Watcher
from src.sweep import Sweep


@dataclass
class Task:
    """One job of the grid: Hydra's configuration of it, what it asks for (None where that can't be read), its group."""

    config: DictConfig
    job: Job | None
    group: Group | None = None


def _settings(task: Task) -> config.Settings:
    assert task.job is not None
    return task.job[0]


def check(limits: grouping.Limits, save_every: float) -> None:
    """Raise ValueError for what a person can get wrong in hydra.launcher."""
    limits.check()
    if isinstance(save_every, bool) or not isinstance(save_every, int | float) or not save_every >= 0:
        raise ValueError(f"hydra.launcher.save_every={save_every}: must be a number of seconds, at least 0")


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
        limits: grouping.Limits, save_every: float = 60, engine: elsewhere.Engine | None = None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.limits, self.save_every, self.engine = limits, save_every, engine
        self.shares = 1  # devices, or processes on CPUs, that train at once

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
        if self.shares > 1:
            self._train_side_by_side(groups)
        returns = []
        for task in tasks:
            returns.append(self.run_task(task))
            configure_log(hydra.hydra_logging, hydra.verbose)
        return returns

    def _train_side_by_side(self, groups: Sequence[Group]) -> None:
        shares = [share for share in deal(groups, self.shares) if share]
        for device, share in zip(self.limits.devices or (), shares, strict=False):
            for group in share:
                group.device = torch.device("cuda", device) if group.device.type == "cuda" else group.device
        threads = max(1, ALL_THREADS // len(shares))
        print(f"{len(shares)} processes side by side, {threads} thread{'s' * (threads > 1)} each", flush=True)
        train_side_by_side(shares, threads, self.watcher())

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
        for found, parts in zip(alike.values(), self._parts(list(alike.values()), groups), strict=True):
            for part in grouping.pieces(found, parts):
                if len(part) > 1:
                    groups.append(self._group(part))
                else:
                    reasons["no other run of its shape" if parts == 1 else "a stack holds no more than one"] += 1
        for group in groups:
            after = f", going on after epoch {group.done}" if group.done else ""
            place = "" if self.engine else f" on {group.device}"
            print(f"{len(group.jobs)} runs in one stack{place}{after}", flush=True)
        for reason, count in reasons.items():
            print(f"{count} run{'s' * (count > 1)} one by one: {reason}", flush=True)
        return groups

    def _parts(self, alike: Sequence[list[Task]], begun: Sequence[Group]) -> list[int]:
        """Into how many stacks the tasks of each shape go."""
        members = [len(found) for found in alike]
        if self.engine:  # the machine where they will train is not this one
            return [-(-number // (self.limits.max_members or number)) for number in members]
        shapes = [grouping.shape(_settings(found[0]), self.limits.devices) for found in alike]
        left = [(group.device, group.seconds) for group in begun]
        shares = grouping.share_out(shapes, members, self.limits, left)
        self.shares = shares.count
        return shares.parts

    def _group(self, tasks: Sequence[Task], saving: Saving | None = None, done: int = 0) -> Group:
        """A stack of these, which goes on after so many epochs."""
        jobs = [task.job for task in tasks if task.job]
        saving = saving or Saving(path_for(jobs, Path(str(self.config.hydra.sweep.dir))), self.save_every)
        group = Group(jobs, torch.device("cpu"), saving, done=done)
        if not self.engine:
            shape = grouping.shape(_settings(tasks[0]), self.limits.devices)
            group.device, group.seconds = shape.device, shape.seconds(len(jobs), done)
        for task in tasks:
            task.group = group
        return group

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
            groups.append(self._group(members, Saving(path, self.save_every), state["epochs"]))
        return groups

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
            ownership.adopt(task.job[1], *results.hydra_files(HydraConfig.get()))
            if not task.group.trained and unfinished([task.job]):
                task.group.train(self.watcher())
            done = results.read_result(task.job[1])
            if task.group.trained and done and done["config_hash"] == task.job[0].hash():
                return search.score(done)  # None if it failed: the sweep goes on, its end reports it
        return self.task_function(cfg)
