"""What `hydra/launcher=stacked` does with a grid: jobs of equal shape train as one stack, the rest one by one.

Flow: config → **launcher** → training; an engine stands between them (actsweep.sweep.executors), if there is one.
Hydra's own `run_job` is called once per job, in the grid's order, as its basic launcher does: folders, `.hydra/`, logs,
callbacks and JobReturn are Hydra's. The first job of a group trains the whole group, where no process did that before;
the others find their results.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from actsweep import composition
from actsweep.config import schema
from actsweep.config.command_line import quiet_libraries
from actsweep.errors import UserError
from actsweep.network.mlp import ALL_THREADS
from actsweep.results import claims, locks, ownership, run_folder
from actsweep.sweep import executors
from actsweep.sweep.callback import Sweep
from actsweep.sweep.composing import Composing, composing, use
from actsweep.training.progress import UNSEEN, Watcher
from actsweep.training.stack import grouping, member_checkpoint, stack_checkpoint
from actsweep.training.stack.stack_checkpoint import Saving, path_for, read
from actsweep.training.stack.stacks import Group, deal, train_side_by_side, unfinished
from actsweep.training.stack.training import Job


@dataclass
class GridJob:
    """One job of the grid: Hydra's configuration of it, what it asks for (None where that can't be read), its group."""

    config: DictConfig
    job: Job | None
    overrides: Sequence[str] = ()
    group: Group | None = None

    def left(self) -> JobReturn:
        """What a job of a unit that ended early left, if it left something."""
        found = self.job and run_folder.finished(self.job[1], self.job[0])
        overrides = list(self.config.hydra.overrides.task)
        returned = JobReturn(overrides=overrides, hydra_cfg=self.config, status=JobStatus.COMPLETED)
        returned.return_value = run_folder.score(found) if found else None
        return returned


def _settings(task: GridJob) -> schema.Settings:
    assert task.job is not None
    return task.job[0]


def check(limits: grouping.Limits, save_every: float) -> None:
    """Raise UserError for what a person can get wrong in hydra.launcher."""
    limits.check()
    if isinstance(save_every, bool) or not isinstance(save_every, int | float) or not save_every >= 0:
        raise UserError(f"hydra.launcher.save_every={save_every}: must be a number of seconds, at least 0")


def tidy(sweep: Path) -> None:
    """Remove checkpoints of stacks that are done, and what was being written when a process died."""
    for path in stack_checkpoint.paths(sweep):
        state = read(path) if path.suffix == ".ckpt" else None
        done = [run_folder.read_result(folder) for folder, _ in stack_checkpoint.rows(state, path)] if state else []
        if path.suffix == ".tmp" or (done and all(done)):
            path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join([f"{type(error).__name__}:", *lines[:2]])


class StackedLaunch:
    """A grid's jobs, grouped, and run in order. As the Watcher of its stacks it notes which runs have ended in them."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        limits: grouping.Limits, save_every: float = 60, engine: executors.Engine | None = None,
    ) -> None:  # fmt: skip
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.limits, self.save_every, self.engine = limits, save_every, engine
        self.shares = 1  # devices, or processes on CPUs, that train at once
        self.sweep = Path(str(config.hydra.sweep.dir)).resolve()  # a job may change the working directory
        self.over: set[Path] = set()  # folders of runs that have ended in a stack

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        if self.engine:
            return self._by_engine(self.engine, jobs)
        returns = self.run(jobs)
        tidy(self.sweep)  # elsewhere a process may still be writing there
        return returns

    def _by_engine(self, engine: executors.Engine, jobs: Sequence[executors.Numbered]) -> list[JobReturn]:
        """All jobs by an engine, grouped into stacks first; what is done already isn't sent out."""
        tasks = dict(zip((number for number, _ in jobs), self.tasks(jobs), strict=True))
        self.group(list(tasks.values()))
        together: dict[int, list[executors.Numbered]] = {}
        for number, overrides in jobs:
            task = tasks[number]
            if task.group or not (task.job and run_folder.finished(task.job[1], task.job[0])):
                together.setdefault(id(task.group) if task.group else -number, []).append((number, overrides))
        away = copy(self)
        away.engine, away.hydra_context = None, executors.silent(self.hydra_context)
        away.limits = replace(self.limits, processes=1)
        units = [executors.Unit(away.run, part) for part in together.values()]
        print(f"{len(units)} units of work", flush=True)
        sent = {number for unit in units for number, _ in unit.jobs}
        returns = {number: self.run_task(tasks[number]) for number in sorted(tasks.keys() - sent)}
        for place, outcome in engine.map(units, self.sweep) if units else ():
            if isinstance(outcome, Exception):
                print(f"a unit of {len(units[place].jobs)} ended early: {_first_line(outcome)}", flush=True)
                continue
            for returned in outcome:
                returns[int(returned.hydra_cfg.hydra.job.num)] = returned  # type: ignore[union-attr]
                executors.tell(self.hydra_context, returned)
        return executors.paired(jobs, {number: returns.get(number) or task.left() for number, task in tasks.items()})

    def run(self, jobs: Sequence[executors.Numbered]) -> list[JobReturn]:
        """Run the jobs of these numbers in this process."""
        setup_globals()
        quiet_libraries()
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        self.sweep.mkdir(parents=True, exist_ok=True)
        tasks = self.tasks(jobs)
        groups = self.group(tasks)
        if self.shares > 1:
            self._train_side_by_side(groups)
        returns = []
        for task in tasks:
            returns.append(self.run_task(task))
            configure_log(hydra.hydra_logging, hydra.verbose)
        return executors.paired(jobs, dict(zip((number for number, _ in jobs), returns, strict=True)))

    def _train_side_by_side(self, groups: Sequence[Group]) -> None:
        shares = [share for share in deal(groups, self.shares) if share]
        for device, share in zip(self.limits.devices or (), shares, strict=False):
            for group in share:
                group.device = torch.device("cuda", device) if group.device.type == "cuda" else group.device
        threads = max(1, ALL_THREADS // len(shares))
        print(f"{len(shares)} processes side by side, {threads} thread{'s' * (threads > 1)} each", flush=True)
        train_side_by_side(shares, threads, self)

    def _watcher(self) -> Watcher:
        """Whoever tells the person how far the sweep is; in a process that only does a part of it, nobody."""
        callbacks = self.hydra_context.callbacks.callbacks
        return next((each for each in callbacks if isinstance(each, Sweep)), UNSEEN)

    def ended(self, folder: Path) -> None:
        self.over.add(folder)
        self._watcher().ended(folder)

    def reached(self, runs: int, left: float, each: float) -> None:
        self._watcher().reached(runs, left, each)

    def tasks(self, jobs: Sequence[executors.Numbered]) -> list[GridJob]:
        """The jobs, composed."""
        return [self._task(number, overrides) for number, overrides in jobs]

    def _task(self, number: int, overrides: Sequence[str]) -> GridJob:
        composed = executors.composed(self.hydra_context, self.config, number, overrides)
        before = HydraConfig.instance().cfg
        use(composed)
        try:
            settings = composition.read(composed)
            return GridJob(composed, (settings, self.sweep / str(composed.hydra.sweep.subdir)), overrides)
        except UserError:
            return GridJob(composed, None, overrides)  # the job itself says what is wrong
        finally:
            HydraConfig.instance().cfg = before

    def group(self, tasks: Sequence[GridJob]) -> list[Group]:
        """Deal the tasks that still have to run into groups; say which run one by one, and why."""
        reasons: Counter[str] = Counter()
        alike: dict[tuple[str, int], list[GridJob]] = {}
        groups = self._interrupted(tasks)
        for task in tasks:
            if task.job is None or task.group or not unfinished([task.job]):
                continue
            if reason := grouping.reason_against(task.job[0]):
                reasons[reason] += 1
            elif (done := member_checkpoint.epochs_done(*task.job)) is None:
                reasons["trained already"] += 1
            else:
                alike.setdefault((grouping.signature(task.job[0]), done), []).append(task)
        for (key, found), parts in zip(alike.items(), self._parts(list(alike.values()), groups), strict=True):
            for part in grouping.pieces(found, parts):
                if len(part) > 1:
                    groups.append(self._group(part, done=key[1]))
                else:
                    reasons["no other run of its shape" if parts == 1 else "a stack holds no more than one"] += 1
        for group in groups:
            after = f", resuming after epoch {group.done}" if group.done else ""
            place = "" if self.engine else f" on {group.device}"
            print(f"{len(group.jobs)} runs in one stack{place}{after}", flush=True)
        for reason, count in reasons.items():
            print(f"{count} run{'s' * (count > 1)} one by one: {reason}", flush=True)
        return groups

    def _parts(self, alike: Sequence[list[GridJob]], begun: Sequence[Group]) -> list[int]:
        """Into how many stacks the tasks of each shape go."""
        members = [len(found) for found in alike]
        if self.engine:  # the machine where they will train is not this one
            return [-(-number // (self.limits.max_members or number)) for number in members]
        shapes = [grouping.shape(_settings(found[0]), self.limits.devices) for found in alike]
        left = [(group.device, group.seconds) for group in begun]
        shares = grouping.share_out(shapes, members, self.limits, left)
        self.shares = shares.count
        return shares.parts

    def _group(self, tasks: Sequence[GridJob], saving: Saving | None = None, done: int = 0) -> Group:
        """A stack of these, which resumes after so many epochs."""
        jobs = [task.job for task in tasks if task.job]
        saving = saving or Saving(path_for(jobs, self.sweep), self.save_every)
        group = Group(jobs, torch.device("cpu"), saving, done=done)
        if not self.engine:
            shape = grouping.shape(_settings(tasks[0]), self.limits.devices)
            group.device, group.seconds = shape.device, shape.seconds(len(jobs), done)
        for task in tasks:
            task.group = group
        return group

    def _interrupted(self, tasks: Sequence[GridJob]) -> list[Group]:
        """The stacks that an earlier command left in the middle of their training, if this one has all their jobs."""
        known = {(task.job[1], task.job[0].hash()): task for task in tasks if task.job}
        groups = []
        for path in stack_checkpoint.paths(self.sweep):
            state = read(path) if path.suffix == ".ckpt" else None
            found = [known.get(row) for row in stack_checkpoint.rows(state, path)] if state else []
            members = [task for task in found if task and task.job]
            jobs = [task.job for task in members if task.job]
            if state is None or not members or len(members) < len(found) or any(task.group for task in members):
                continue
            if jobs[0][0].rerun == "all" or not unfinished(jobs):
                path.unlink()
            elif state["epochs"] < jobs[0][0].trainer.max_epochs:
                groups.append(self._group(members, Saving(path, self.save_every), state["epochs"]))
        return groups

    def run_task(self, task: GridJob) -> JobReturn:
        """One job, as Hydra's basic launcher runs it; it trains in its group, if it has one."""
        loader = self.hydra_context.config_loader
        quick = loader if isinstance(loader, Composing) else composing(loader)
        number, overrides = int(task.config.hydra.job.num), list(task.overrides)
        return quick.run(self.hydra_context, self.config, number, overrides, lambda cfg: self._outcome(task, cfg))

    def _outcome(self, task: GridJob, cfg: DictConfig) -> Any:
        """What the job returns: trained in its group, which trains when its first job's turn comes, or alone."""
        if task.group and task.job:
            ownership.adopt(task.job[1], *claims.hydra_files(HydraConfig.get()))
            if not task.group.trained and unfinished([task.job]):
                task.group.train(self)
            done = run_folder.read_result(task.job[1])
            if task.job[1] in self.over and done:
                return run_folder.score(done)  # None if it failed: the sweep goes on, its end reports it
        try:
            return self.task_function(cfg)
        except locks.InUseError as error:
            if not task.group:  # else its stack has said so
                print(f"error: {error}", file=sys.stderr, flush=True)
            return None  # the sweep goes on, its end reports that there is no result
