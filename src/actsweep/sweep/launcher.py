"""`hydra/launcher=sweep`: a grid's jobs in units, which an executor works off.

Flow: config → **launcher** → units → an executor → training. Hydra's own `run_job` is called here once for each job, in
the grid's order, as its basic launcher does: folders, `.hydra/`, logs, callbacks and JobReturn are Hydra's. A job whose
unit has been done by others finds its result; in this process a stack trains when its first job's turn comes.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from actsweep import composition
from actsweep.config.command_line import quiet_libraries
from actsweep.errors import UserError
from actsweep.results import claims, locks, ownership, run_folder
from actsweep.sweep.callback import Sweep
from actsweep.sweep.composing import Composing, composing, foresee, variables
from actsweep.sweep.cutting import Piece, ToCut, cut, processes_for
from actsweep.sweep.executors import Engine
from actsweep.sweep.limits import Limits
from actsweep.sweep.processes import Processes
from actsweep.sweep.units import Unit
from actsweep.threads import all_threads, share, start_none
from actsweep.training.checkpoints import read
from actsweep.training.progress import UNSEEN, Watcher
from actsweep.training.stack import grouping, member_checkpoint, stack_checkpoint
from actsweep.training.stack.stack_checkpoint import Saving, path_for
from actsweep.training.stack.stacks import unfinished
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


def tidy(sweep: Path) -> None:
    """Remove checkpoints of stacks that are done, and what was being written when a process died."""
    for path in stack_checkpoint.paths(sweep):
        state = read(path) if path.suffix == ".ckpt" else {}
        done = [run_folder.read_result(folder) for folder, _ in stack_checkpoint.rows(state, path)]
        if path.suffix == ".tmp" or (done and all(done)):
            path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join([f"{type(error).__name__}:", *lines[:2]])


class SweepLaunch:
    """A grid's jobs. As the Watcher of their units it notes which runs have ended."""

    def __init__(
        self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig,
        limits: Limits, engine: Engine | None = None,
    ) -> None:  # fmt: skip
        loader = hydra_context.config_loader
        self.loader = loader if isinstance(loader, Composing) else composing(loader)
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.limits, self.engine = limits, engine
        self.sweep = Path(str(config.hydra.sweep.dir)).resolve()  # a job may change the working directory
        self.over: set[Path] = set()  # folders of runs that have ended in a stack, or in another process

    def __call__(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        quiet_libraries()
        hydra = self.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        self.sweep.mkdir(parents=True, exist_ok=True)
        if not self.engine:
            start_none()
        tasks = [self._task(number, list(job)) for number, job in enumerate(job_overrides, start=initial_job_idx)]
        self._work_off(tasks)
        share(all_threads())  # what is left trains here
        returns = []
        for task in tasks:
            returns.append(self._run(task))
            configure_log(hydra.hydra_logging, hydra.verbose)
        if not self.engine:  # a process of its may still be writing there
            tidy(self.sweep)
        return returns

    def _work_off(self, tasks: Sequence[GridJob]) -> None:
        """Have the jobs' units done by others, if it is theirs to do."""
        units = self.units(tasks)
        executor, how = self._executor(units)
        self._say(tasks, units, how)
        for task in tasks:  # what is done is told first: the time left is of the others
            if task.job and not task.unit and run_folder.finished(task.job[1], task.job[0]):
                self._watcher().ended(task.job[1])
        if executor is None:
            return
        if not self.engine:  # a run on several devices starts its own processes
            units = [unit for unit in units if unit.jobs[0][0].trainer.devices == 1]
        begun = ownership.recorded(self.sweep)
        for unit in units:
            unit.away = True
            for _, folder in unit.jobs:  # an earlier attempt may have died when Hydra's files were there, unlisted
                ownership.adopt(folder, *(claims.hydra_files(self.config.hydra) if f"{folder.name}/" in begun else ()))
        for place, early in executor.map(units, self.sweep) if units else ():
            if early:
                print(f"a unit of {len(units[place].jobs)} ended early: {_first_line(early)}", flush=True)
                continue
            for _, folder in units[place].jobs:
                self.ended(folder)

    def _executor(self, units: Sequence[Unit]) -> tuple[Engine | None, str]:
        """Who does the units, None: this process; and how to say so."""
        if self.engine:
            return self.engine, f"by {type(self.engine).__name__}"
        on_gpu = any(grouping.device_for(unit.jobs[0][0]).type == "cuda" for unit in units)
        threads = next((unit.jobs[0][0].threads for unit in units), None) or 1
        count = processes_for(self.limits, len(units), sum(unit.seconds for unit in units), on_gpu, threads)
        gpus = self.limits.gpus() if on_gpu and (count > 1 or self.limits.devices) else []
        if count == 1 and not gpus:
            return None, HERE
        threads = max(1, all_threads() // count)
        each = "with a GPU each" if gpus else f"of {_number(threads, 'thread')}"
        return Processes(count, threads, gpus, self), f"in {count} process{'es' * (count > 1)} {each}"

    def _say(self, tasks: Sequence[GridJob], units: Sequence[Unit], how: str) -> None:
        """What will happen, why, and how to have it otherwise."""
        stacks = [len(unit.jobs) for unit in units if unit.saving]
        singles, done = len(units) - len(stacks), sum(bool(task.job and not task.unit) for task in tasks)
        parts = [f"{done} done already"] if done else []
        if stacks:
            low, high = min(stacks), max(stacks)
            parts.append(f"{_number(len(stacks), 'stack')} of {low if low == high else f'{low} to {high}'}")
        parts += [_number(singles, "single run")] if singles else []
        how += " (one by one: hydra/launcher=basic)" if stacks or how != HERE else ""
        what = f"{', '.join(parts)} {how}" if units or not done else "all done already"
        print(f"{_number(len(tasks), 'run')} → {self.config.hydra.sweep.dir}: {what}", flush=True)
        for reason, count in Counter(unit.reason for unit in units if unit.reason).items():
            print(f"{_number(count, 'run')} one by one: {reason}", flush=True)

    def ended(self, folder: Path) -> None:
        self.over.add(folder)
        self._watcher().ended(folder)

    def reached(self, runs: int, left: float, each: float) -> None:
        self._watcher().reached(runs, left, each)

    def _watcher(self) -> Watcher:
        """Whoever tells the person how far the sweep is."""
        return next((each for each in self.hydra_context.callbacks.callbacks if isinstance(each, Sweep)), UNSEEN)

    def _task(self, number: int, overrides: list[str]) -> GridJob:
        task = GridJob(number, overrides)
        if known := self.loader.known.get(tuple(overrides)):
            settings, name, task.surroundings = known
            task.job = settings, self.sweep / name
            return task
        config, before = self.loader.load_sweep_config(self.config, overrides), HydraConfig.instance().cfg
        foresee(config)
        try:
            task.job = composition.read(config), self.sweep / str(config.hydra.sweep.subdir)
            task.surroundings = variables(config.hydra)
        except UserError:
            pass  # the job itself says what is wrong
        finally:
            HydraConfig.instance().cfg = before
        return task

    def units(self, tasks: Sequence[GridJob]) -> list[Unit]:
        """The units of the tasks that still have to run. A folder is one unit's: of what a search asks for twice, all
        have the first one's; what has other settings is left to its own turn, which resumes or refuses it."""
        first: dict[Path, GridJob] = {}
        for task in tasks:
            if task.job:
                first.setdefault(task.job[1], task)
        units = self._units(list(first.values()))
        for task in tasks:
            other = first[task.job[1]] if task.job else task
            if other is not task and task.job == other.job:
                task.unit = other.unit
        return units

    def _units(self, tasks: Sequence[GridJob]) -> list[Unit]:
        """What nobody has begun with is cut as in the whole grid, whatever has ended meanwhile: a stack's last bits
        depend on its size."""
        if differ := any(task.surroundings != tasks[0].surroundings for task in tasks):  # a stack has one environment
            self.limits = replace(self.limits, max_members=1)
        units = [] if differ else self._interrupted(tasks)
        known = [(task, task.job) for task in tasks if task.job]
        left = [(task, job) for task, job in known if not task.unit and unfinished([job])]
        done = {task.number: member_checkpoint.epochs_done(*job) for task, job in left}
        whole = cut([ToCut(settings) for _, (settings, _) in known], self.limits, is_away=bool(self.engine)).pieces
        for piece in whole if left else ():
            if all(done.get(known[place][0].number) == 0 for place in piece.places):
                units.append(self._cut_out([task for task, _ in known], piece))
        rest = [(task, job) for task, job in left if not task.unit]
        runs = [ToCut(settings, done[task.number]) for task, (settings, _) in rest]
        begun = [(grouping.device_for(unit.jobs[0][0]), unit.seconds) for unit in units]
        for piece in cut(runs, self.limits, begun, is_away=bool(self.engine)).pieces if rest else ():
            units.append(self._cut_out([task for task, _ in rest], piece, runs[piece.places[0]].done or 0))
        return units

    def _cut_out(self, tasks: Sequence[GridJob], piece: Piece, done: int = 0) -> Unit:
        unit = self._unit([tasks[place] for place in piece.places], done=done)
        unit.seconds, unit.reason = piece.seconds, piece.reason
        return unit

    def _unit(self, tasks: Sequence[GridJob], saving: Saving | None = None, done: int = 0) -> Unit:
        """Of these, which resume after so many epochs."""
        jobs, job = [task.job for task in tasks if task.job], self.config.hydra.job
        if saving is None and len(jobs) > 1:
            saving = Saving(path_for(jobs, self.sweep), self.limits.save_every)
        unit = Unit(jobs, saving, done, surroundings=tasks[0].surroundings, inside=bool(job.chdir))
        for task in tasks:
            task.unit = unit
        return unit

    def _interrupted(self, tasks: Sequence[GridJob]) -> list[Unit]:
        """The stacks that an earlier command left in the middle of their training, if this one has all their jobs."""
        known = {(task.job[1], task.job[0].hash()): task for task in tasks if task.job}
        units = []
        for path in stack_checkpoint.paths(self.sweep):
            state = read(path) if path.suffix == ".ckpt" else {}
            found = [known.get(row) for row in stack_checkpoint.rows(state, path)]
            members = [task for task in found if task and task.job and not task.unit]
            jobs = [task.job for task in members if task.job]
            if not members:
                continue
            if len(members) < len(found):
                if (begun := unfinished(jobs)) and begun[0][0].rerun != "all":
                    why = f"the command asks for {len(members)} of the stack of {len(found)} that they are in"
                    print(f"{_number(len(begun), 'interrupted run')} begin anew: {why}", flush=True)
                continue
            if jobs[0][0].rerun == "all" or not unfinished(jobs):
                path.unlink()
            elif state["epochs"] < jobs[0][0].trainer.max_epochs:
                unit = self._unit(members, Saving(path, self.limits.save_every), state["epochs"])
                unit.seconds = 0.0 if self.engine else grouping.shape(jobs[0][0]).seconds(len(jobs), unit.done)
                units.append(unit)
        return units

    def _run(self, task: GridJob) -> JobReturn:
        """One job, as Hydra's basic launcher runs it; a unit of this process's trains in it."""
        outcome = partial(self._outcome, task)
        return self.loader.run(self.hydra_context, self.config, task.number, task.overrides, outcome)

    def _outcome(self, task: GridJob, cfg: DictConfig) -> Any:
        """What the job returns: its score, None if it failed or left no result. The sweep goes on, its end reports."""
        unit = task.unit
        if unit is None or task.job is None:
            return self.task_function(cfg)
        settings, folder = task.job
        hydra_files = claims.hydra_files(HydraConfig.get())
        if unit.saving and not unit.away:
            ownership.adopt(folder, *hydra_files)
            if not unit.trained and unfinished([task.job]):
                unit.train_stack(self)
        is_over = folder in self.over or (unit.trained and not unit.saving)
        done = run_folder.read_result(folder) if is_over else None
        if unit.away and (done := done or run_folder.finished(folder, settings)):
            ownership.adopt(folder, *hydra_files)
        if done or unit.away:
            return run_folder.score(done) if done else None
        try:
            score = self.task_function(cfg)
        except locks.InUseError as error:
            if not unit.saving:  # else its stack has said so
                print(f"error: {error}", file=sys.stderr, flush=True)
            return None
        unit.trained = unit.trained or not unit.saving  # of a stack one member may have ended before the others train
        return score


def _number(count: int, what: str) -> str:
    """
    >>> _number(1, "run"), _number(2, "run")
    ('1 run', '2 runs')
    """
    return f"{count} {what}{'s' * (count != 1)}"
