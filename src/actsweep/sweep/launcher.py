"""`hydra/launcher=sweep`: a grid's jobs in units, which an executor works off.

Flow: config → **launcher** → units → an executor → training. Each job is run here once, in the grid's order, as Hydra's
basic launcher does: folders, `.hydra/`, logs, callbacks and JobReturn are Hydra's. A job whose unit has been done by
others finds its result, while processes of this machine are at work on the next ones; in this process a stack trains
when its first job's turn comes.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from actsweep import composition
from actsweep.errors import UserError
from actsweep.results import claims, locks, ownership, run_folder
from actsweep.sweep.callback import Sweep
from actsweep.sweep.composing import Composing, composing, foresee, logging_of, variables
from actsweep.sweep.executors import Engine, Processes
from actsweep.sweep.search import Limits
from actsweep.sweep.units import Ended, Piece, Unit, counted, cut_left, sharing
from actsweep.threads import all_threads, share, use_threads
from actsweep.training.progress import UNSEEN
from actsweep.training.stack import grouping, member_checkpoint, stacks
from actsweep.training.stack.stacks import Saving, path_for, unfinished
from actsweep.training.stack.training import Job

HERE = "in this process"


@dataclass
class GridJob:
    """One job of the grid. `job`: what it asks for, None where that can't be read; `unit`: None if nothing is left."""

    number: int
    overrides: list[str]
    job: Job | None = None
    unit: Unit | None = None
    surroundings: Mapping[str, str] = field(default_factory=dict)  # variables that Hydra sets for it


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join([f"{type(error).__name__}:", *lines[:2]])


class SweepLaunch:
    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        limits: Limits, engine: Engine | None = None,
    ) -> None:  # fmt: skip
        loader = hydra_context.config_loader
        self.loader = loader if isinstance(loader, Composing) else composing(loader)
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.limits, self.engine = limits, engine
        self.sweep = Path(str(config.hydra.sweep.dir)).resolve()  # a job may change the working directory
        self.hydra_files = claims.hydra_files(config.hydra)
        self.has_time = True
        callbacks = hydra_context.callbacks.callbacks
        self.watcher = Ended(next((each for each in callbacks if isinstance(each, Sweep)), UNSEEN))

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        if not self.engine:
            use_threads(1)  # so that it can be forked
        tasks = [self._task(number, list(job)) for number, job in enumerate(job_overrides, start=initial_job_idx)]
        returns: list[JobReturn] = []
        self._work_off(tasks, partial(self._meanwhile, tasks, returns))
        share(all_threads())  # what is left trains here
        returns += map(self._run, tasks[len(returns) :])
        if not self.engine:  # a process of its may still be writing there
            stacks.tidy(self.sweep)
        return returns

    def _run(self, task: GridJob) -> JobReturn:
        given = self.hydra_context, self.config, task.number, task.overrides
        returned = self.loader.run(*given, partial(self._outcome, task))
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returned

    def _meanwhile(self, tasks: Sequence[GridJob], returns: list[JobReturn]) -> bool:
        """While others work: run the grid's next job, if they have ended it. Whether there was one."""
        task = tasks[len(returns)] if len(returns) < len(tasks) else None
        if not (self.has_time and task and task.unit and task.job and task.job[1] in self.watcher.folders):
            return False
        try:
            returns.append(self._run(task))
        except Exception:  # it is raised when the others have ended, whom it must not cost their work
            self.has_time = False
        return self.has_time

    def _work_off(self, tasks: Sequence[GridJob], meanwhile: Callable[[], bool]) -> None:
        """Have the jobs' units done by others, if it is theirs to do."""
        units = self.units(tasks)
        executor, how = self._executor(units, meanwhile)
        self._say(tasks, units, how)
        self.watcher.begun = {
            folder: unit.done / asked.trainer.max_epochs for unit in units if unit.done for asked, folder in unit.jobs
        }
        for task in tasks:  # what is done is told first: the time left is of the others
            if task.job and not task.unit and run_folder.finished(task.job[1], task.job[0]):
                self.watcher.ended(task.job[1])
        if executor is None:
            return
        if not self.engine:  # a run on several devices starts its own processes
            units = [unit for unit in units if unit.jobs[0][0].trainer.devices == 1]
        begun = ownership.recorded(self.sweep)
        for unit in units:
            unit.away = True
            for _, folder in unit.jobs:
                # They are listed before a process logs there; an attempt may have died when they were there, unlisted.
                if f"{folder.name}/" in begun or ownership.recorded(folder) or not folder.exists():
                    ownership.adopt(folder, *self.hydra_files)
        for task in tasks:
            if task.unit and task.unit.away and not task.unit.logging:
                with self._ahead(task.number, task.overrides) as config:
                    task.unit.logging = logging_of(config.hydra)
        for place, early in executor.map(units, self.sweep) if units else ():
            if early:
                print(f"a unit of {len(units[place].jobs)} ended early: {_first_line(early)}", flush=True)
                continue
            for _, folder in units[place].jobs:
                self.watcher.ended(folder)

    def _executor(self, units: Sequence[Unit], meanwhile: Callable[[], bool]) -> tuple[Engine | None, str]:
        """Who does the units, None: this process; and how to say so."""
        if self.engine:
            return self.engine, f"by {type(self.engine).__name__}"
        count, on_gpu = sharing(self.limits, [unit.jobs[0][0] for unit in units], sum(unit.seconds for unit in units))
        gpus = self.limits.gpus() if on_gpu and (count > 1 or self.limits.devices) else []
        if count == 1 and not gpus:
            return None, HERE
        threads = max(1, all_threads() // count)
        each = "with a GPU each" if gpus else f"of {counted(threads, 'thread')}"
        how = f"in {count} process{'es' * (count > 1)} {each}"
        return Processes(count, threads, gpus, self.watcher, meanwhile), how

    def _say(self, tasks: Sequence[GridJob], units: Sequence[Unit], how: str) -> None:
        """What will happen, why, and how to have it otherwise."""
        stacks = [len(unit.jobs) for unit in units if unit.saving]
        singles, done = len(units) - len(stacks), sum(bool(task.job and not task.unit) for task in tasks)
        parts = [f"{done} done already"] if done else []
        if stacks:
            low, high = min(stacks), max(stacks)
            parts.append(f"{counted(len(stacks), 'stack')} of {low if low == high else f'{low} to {high}'}")
        parts += [counted(singles, "single run")] if singles else []
        how += " (one by one: hydra/launcher=basic)" if stacks or how != HERE else ""
        what = f"{', '.join(parts)} {how}" if units or not done else "all done already"
        print(f"{counted(len(tasks), 'run')} → {self.config.hydra.sweep.dir}: {what}", flush=True)
        for reason, count in Counter(unit.reason for unit in units if unit.reason).items():
            print(f"{counted(count, 'run')} one by one: {reason}", flush=True)

    def _task(self, number: int, overrides: list[str]) -> GridJob:
        if known := self.loader.known.get(tuple(overrides)):
            return GridJob(number, overrides, (known.settings, self.sweep / known.name), None, known.surroundings)
        with self._ahead(number, overrides) as config:
            try:
                job = composition.read(config), self.sweep / str(config.hydra.sweep.subdir)
                return GridJob(number, overrides, job, None, variables(config.hydra))
            except UserError:
                return GridJob(number, overrides)  # the job itself says what is wrong

    @contextmanager
    def _ahead(self, number: int, overrides: Sequence[str]) -> Iterator[DictConfig]:
        """A job's configuration before it begins."""
        config, before = self.loader.load_sweep_config(self.config, overrides), HydraConfig.instance().cfg
        foresee(config)
        with read_write(config.hydra):
            config.hydra.job.id = config.hydra.job.num = number
        try:
            yield config
        finally:
            HydraConfig.instance().cfg = before

    def units(self, tasks: Sequence[GridJob]) -> list[Unit]:
        """The units of the tasks that still have to run. A folder is one unit's: of what a search asks for twice, all
        have the first one's; what has other settings is left to its own turn, which resumes or refuses it."""
        jobs: dict[Path, Job] = {}
        for task in tasks:
            if task.job:
                jobs.setdefault(task.job[1], task.job)
        surroundings = [task.surroundings for task in tasks if task.job]
        differ = any(each != surroundings[0] for each in surroundings)
        if differ:  # a stack has one environment
            self.limits = replace(self.limits, max_members=1)
        units = self._cut(list(jobs.values()), [] if differ else self._interrupted(list(jobs.values())))
        of_folder = {folder: unit for unit in units for _, folder in unit.jobs}
        for task in tasks:
            if task.job and task.job == jobs[task.job[1]] and (unit := of_folder.get(task.job[1])):
                task.unit, unit.surroundings = unit, task.surroundings
        return units

    def _cut(self, jobs: Sequence[Job], interrupted: Sequence[Unit]) -> list[Unit]:
        """Those units, and what they leave of the jobs cut into others."""
        places = {folder: place for place, (_, folder) in enumerate(jobs)}
        begun = [(grouping.device_for(unit.jobs[0][0]), unit.seconds) for unit in interrupted]
        left = {
            places[folder]: member_checkpoint.epochs_done(settings, folder)
            for settings, folder in unfinished(_others(jobs, interrupted))
        }
        pieces = cut_left([settings for settings, _ in jobs], left, self.limits, begun, is_away=bool(self.engine))
        units = [
            self._unit([jobs[place] for place in piece.places], piece, left[piece.places[0]] or 0) for piece in pieces
        ]
        return [*interrupted, *units]

    def _unit(self, jobs: list[Job], piece: Piece, done: int = 0, checkpoint: Path | None = None) -> Unit:
        """Of these, which resume after so many epochs, a stack of one that has a checkpoint too."""
        path = checkpoint or (path_for(jobs, self.sweep) if len(jobs) > 1 else None)
        saving = Saving(path, self.limits.save_every) if path else None
        return Unit(jobs, saving, done, piece.seconds, piece.reason, inside=bool(self.config.hydra.job.chdir))

    def _interrupted(self, jobs: Sequence[Job]) -> list[Unit]:
        """The stacks that an earlier command left in the middle of their training, if this one has all their jobs."""
        known = {(folder, settings.hash()): (settings, folder) for settings, folder in jobs}
        units: list[Unit] = []
        for path, state, runs in stacks.interrupted(self.sweep):
            if not (found := [known[run] for run in runs if run in known]):
                continue
            settings, begun = found[0][0], unfinished(found)
            if len(found) < len(runs):
                if begun and settings.rerun != "all":
                    why = f"the command asks for {len(found)} of the stack of {len(runs)} that they are in"
                    print(f"{counted(len(begun), 'interrupted run')} begin anew: {why}", flush=True)
            elif settings.rerun == "all" or not begun:
                path.unlink()
            elif state["epochs"] < settings.trainer.max_epochs:
                seconds = 0.0 if self.engine else grouping.shape(settings).seconds(len(found), state["epochs"])
                units.append(self._unit(found, Piece((), seconds), state["epochs"], path))
                known = {run: job for run, job in known.items() if run not in runs}
        return units

    def _outcome(self, task: GridJob, cfg: DictConfig) -> Any:
        """What the job returns: its score, None if it failed or left no result. The sweep goes on, its end reports."""
        unit = task.unit
        if unit is None or task.job is None:
            return self.task_function(cfg)
        settings, folder = task.job
        if unit.saving and not unit.away:
            ownership.adopt(folder, *self.hydra_files)
            if not unit.trained and unfinished([task.job]):
                unit.train_stack(self.watcher)
        done = run_folder.read_result(folder) if folder in self.watcher.folders else None
        if unit.away and (done := done or run_folder.finished(folder, settings)):
            ownership.adopt(folder, *self.hydra_files)
        if done or unit.away:
            return run_folder.score(done) if done else None
        try:
            score = self.task_function(cfg)
        except locks.InUseError as error:
            if not unit.saving:  # else its stack has said so
                print(f"error: {error}", file=sys.stderr, flush=True)
            return None
        self.watcher.folders.add(folder)  # a search may ask for it again
        return score


def _others(jobs: Sequence[Job], units: Sequence[Unit]) -> list[Job]:
    taken = {folder for unit in units for _, folder in unit.jobs}
    return [job for job in jobs if job[1] not in taken]
