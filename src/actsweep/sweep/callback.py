"""The beginning and the end of a command: refuse a bad grid before any work; report on what was done.

Flow: **config** → data at the beginning, results → **report** at the end. A Hydra callback, so that it works with every
launcher. Hydra only warns about what a callback raises, and goes on as if all were well, except for SystemExit: so that
is what every hook here makes of an error.
"""

import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from actsweep.config.command_line import FAILED, NO_ROOM, Stopped, at_early_end, end, stop
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.imports import collect, keep, uncollected
from actsweep.places import REPOSITORY, command
from actsweep.results import claims, files, locks, ownership, run_folder
from actsweep.results.rank import zero_only
from actsweep.results.reading import one_line, read_runs
from actsweep.sweep import check, search
from actsweep.sweep.composing import composing
from actsweep.sweep.search import is_ours
from actsweep.threads import use_threads

if TYPE_CHECKING:
    from actsweep.training.progress import SweepProgress

BETWEEN_COLLECTIONS = 1.0  # seconds


def question(config: DictConfig) -> str | None:
    """What a named study asks: the first comment of its file, where that lies in a folder."""
    name, sources = config.hydra.runtime.choices.get("sweeps"), config.hydra.runtime.config_sources
    roots = [{"file": each.path, "studies": REPOSITORY}.get(each.schema) for each in sources]  # in Hydra's order
    files = [Path(root, "sweeps", f"{name}.yaml") for root in roots if root] if name else []
    file = next((path for path in files if path.is_file()), None)
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    return next(
        (line.removeprefix("# ") for line in lines if line.startswith("# ") and not line.startswith("# @")), None
    )


def _guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """What goes wrong in the hook ends the program: a person's mistake with one line, a defect with its traceback."""

    @wraps(hook)
    def guarded(self: "Sweep", config: DictConfig, **rest: Any) -> None:
        try:
            hook(self, config, **rest)
        except Exception as error:
            raise end(error) from error

    return guarded


class Sweep(Callback):
    """Checks every run of a command before the first one starts; ends a sweep with results.csv and a table."""

    progress: "SweepProgress | None" = None
    asked: Mapping[str, Settings] = {}  # of the command's runs, by name; of a search, which are not known, nothing
    before: Mapping[Path, int | None] = {}  # by folder, when the results were written that were there already
    trials: Mapping[str, bool] = {}  # of a search that runs here, by name: whether it returned a score
    collected = math.inf  # when a sweep's garbage was; a single run leaves it to the end of its process
    reported: frozenset[Path] = frozenset()  # folders of runs that have ended, as the person knows
    unreported = 0  # runs whose end could not be reported

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a terminal can't be sent to another process: the copy there prints plain lines

    @_guarded
    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        check.of_hydra(config.hydra)
        self._end_with_plan(config, check.tried(check.at_sight([config])))
        with check.in_a_folder_of_ours():
            ownership.record(Path(config.hydra.run.dir), *claims.hydra_files(config.hydra))

    @_guarded
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        check.of_hydra(config.hydra)
        with check.in_a_folder_of_ours():
            claims.refuse_sweep(Path(config.hydra.sweep.dir))
        began, loader = time.perf_counter(), composing(GlobalHydra.instance().config_loader())
        grid = search.grid(config, loader.loader)
        runs = check.at_sight(loader.each(config, grid), Path(config.hydra.sweep.dir))
        seconds = (time.perf_counter() - began) / len(runs)
        HydraConfig.instance().set_config(config)
        if search.is_search(config):
            check.of_search(runs)
            search.spell_out(config, loader.loader)
        check.launcher(config)
        if is_ours(config.hydra.launcher) and not config.hydra.launcher.get("engine"):
            use_threads(1)  # so that it can be forked
        runs = check.tried(runs)
        interrupted = check.interrupted_stacks(Path(config.hydra.sweep.dir), runs)
        loader.known.update(zip(map(tuple, grid), runs, strict=True))
        self._end_with_plan(config, runs, seconds)
        if interrupted and not is_ours(config.hydra.launcher):
            what = f"{interrupted} runs that were interrupted in stacks begin anew"
            print(f"warning: {what}: hydra/launcher=sweep, the default, would resume them", file=sys.stderr)
        self._begin(config, {} if search.is_search(config) else {run.name: run.settings for run in runs})

    def _begin(self, config: DictConfig, asked: dict[str, Settings]) -> None:
        """Take the sweep's folder, and note there what shall be done: of a search, nothing is known."""
        from actsweep.training.progress import SweepProgress  # here, because it imports Lightning

        folder, count = Path(config.hydra.sweep.dir), len(asked) or int(config.hydra.sweeper.get("n_trials", 0))
        with check.in_a_folder_of_ours():
            locks.take(folder)
            run_folder.write_sweep(folder, question(config), command("train", *sys.argv[1:]), list(asked))
            ownership.adopt(folder, *claims.logs(config.hydra, "sweep.dir"))
        self.asked = asked
        there = [folder / name for name in asked] or [path.parent for path in folder.rglob(run_folder.RESULT)]
        self.before = {each.resolve(): run_folder.when_written(each) for each in there}
        keep()
        self.collected = time.monotonic()
        if not asked or not is_ours(config.hydra.launcher):  # ours says more
            print(f"{count} runs → {folder}", flush=True)
        self.progress = SweepProgress(count)
        at_early_end.append(partial(self._end_early, config))

    def _end_early(self, config: DictConfig, error: Exception, mistake: str | None) -> None:
        """Report on what there is after an error between the runs, such as the death of a launcher's process."""
        if mistake and not self.reported:
            raise stop(mistake) from error
        folder = Path(config.hydra.sweep.dir)
        reason = mistake or type(error).__name__
        print(f"error: the launcher gave up, see {folder / run_folder.ERROR}: {reason}", file=sys.stderr)
        try:
            files.write_atomically(folder / run_folder.ERROR, "".join(traceback.format_exception(error)))
        except OSError:  # a full disk
            traceback.print_exception(error)
        self.on_multirun_end(config)
        raise SystemExit(FAILED)

    def _end_with_plan(self, config: DictConfig, runs: Sequence[check.Asked], run_seconds: float = 0.0) -> None:
        """Say what is left to do, where that is what was asked for. A search's trials are like its samples, in turn;
        how many of them train together is its own matter."""
        if not config.plan:
            return
        from actsweep.sweep import plan  # here, because it imports Lightning

        grid, launcher = [run.settings for run in runs], plan.ONE_BY_ONE
        is_sweep = config.hydra.mode == RunMode.MULTIRUN
        if is_sweep and search.is_search(config):
            trials = int(config.hydra.sweeper.get("n_trials") or len(runs))
            settings = [*islice(cycle(grid), trials)]
        else:
            results = [run_folder.read_result(run.folder) for run in runs]
            left = [place for place, asked in enumerate(grid) if not run_folder.standing(results[place], asked)]
            settings = [grid[place] for place in left]
            if done := len(runs) - len(left):
                print(f"{done} of {len(runs)} runs are done already", flush=True)
            if is_sweep:
                launcher = plan.understood(config.hydra.launcher, grid, left)
        plan.show(plan.plan(settings, launcher, run_seconds), launcher)
        raise SystemExit(0)

    @zero_only
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if time.monotonic() - self.collected > BETWEEN_COLLECTIONS:
            # Lightning's objects refer to each other in circles: the data of many runs would pile up.
            collect()
            self.collected = time.monotonic()
        if self.progress and not self.asked:
            has_score = job_return.status == JobStatus.COMPLETED and job_return.return_value is not None
            self.trials = {**self.trials, str(config.hydra.sweep.subdir): has_score}
        self.ended(Path(config.hydra.runtime.output_dir))
        job_return.cfg = job_return.hydra_cfg = None  # copies of `config` that launchers keep: 0.2 MB a run

    def ended(self, folder: Path) -> None:
        """Tell the person what came of a run, once. If that fails, it costs no other run, and the end says so."""
        try:
            self._tell(folder.resolve())
        except Exception as error:
            self.unreported += 1
            if self.unreported == 1:
                traceback.print_exception(error)

    def _tell(self, folder: Path) -> None:
        result = None if folder in self.reported else run_folder.read_result(folder)
        if result is None:
            return
        self.reported |= {folder}
        if self.progress:
            is_new = run_folder.when_written(folder) != self.before.get(folder)
            self.progress.ended(result, one_line(result), is_new)
        else:
            print(one_line(result), flush=True)

    def reached(self, runs: float, left: float, each: float) -> None:
        if self.progress:
            self.progress.reached(runs, left, each)

    @_guarded
    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        if self.unreported:
            raise SystemExit(FAILED)

    @_guarded
    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        at_early_end.clear()
        if self.progress:
            self.progress.close()
        folder = Path(config.hydra.sweep.dir)
        found = [*self._unfinished(folder), *_report(folder, config.report)]
        if self.unreported:
            found.append(f"the ends of {self.unreported} runs could not be reported")
        if found:
            raise stop("; ".join(found), FAILED)

    def _unfinished(self, folder: Path) -> list[str]:
        """Which of the command's runs failed, and which are missing, or left from an earlier command."""
        there = sorted(path.parent.name for path in folder.glob("*/.hydra"))  # of a search in other processes
        names = list(self.asked or self.trials or there)
        results = {name: run_folder.read_result(folder / name) for name in names}
        missing = [name for name, result in results.items() if not result]
        found = {name: result for name, result in results.items() if result}
        older = [name for name, result in found.items() if self._is_older(folder / name, name, result)]
        failed = [name for name, result in found.items() if result["status"] == "failed" and name not in older]
        kinds = {
            "failed": failed,
            "left no result": missing,
            "were not done, an earlier command's result is there": older,
        }
        told = [f"{len(some)} of {len(names)} runs {what}: {', '.join(some)}" for what, some in kinds.items() if some]
        told += [f"see {run_folder.ERROR} in the folders of those that failed"] if failed else []
        return [*told, "the same command does them again"] if told else []

    def _is_older(self, folder: Path, name: str, result: Mapping[str, Any]) -> bool:
        """Whether a result is not of what the command asks for, or, where it has all done again, was there before."""
        if (settings := self.asked.get(name)) is None:
            return result["status"] != "failed" and not self.trials.get(name, True)
        if settings.rerun == "all" and run_folder.when_written(folder) == self.before.get(folder.resolve()):
            return True
        return not run_folder.is_of(result, settings)


def _report(folder: Path, with_page: bool) -> list[str]:
    """Write a sweep's report; what kept it from being written, if something did."""
    with uncollected():
        from actsweep.report import writing  # here, because it imports pandas and SciPy

    again = f"when that is mended, write it with `{command('report', folder)}`"
    try:
        runs = read_runs([folder])
        if not runs:
            return [f"no run of the sweep left a {run_folder.RESULT} in {folder}"]
        writing.write(runs, [folder], with_page=with_page)
    except Stopped:
        raise
    except SystemExit:  # it has said why
        return [f"the report is not complete; {again}"]
    except Exception as error:
        if not (isinstance(error, UserError) or _is_about(error, folder)):
            traceback.print_exception(error)
        return [f"the report could not be written: {' '.join(str(error).split()) or type(error).__name__}; {again}"]
    return []


def _is_about(error: Exception, folder: Path) -> bool:
    """Whether it says that something can't be written there: no room, no right."""
    if not isinstance(error, OSError):
        return False
    file = Path(error.filename) if error.filename else None
    return error.errno in NO_ROOM or bool(file and file.resolve().is_relative_to(folder.resolve()))
