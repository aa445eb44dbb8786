"""The beginning and the end of a command: refuse a bad grid before any work; report on what was done.

Flow: **config** → data at the beginning, results → **report** at the end. A Hydra callback, so that it works with every
launcher. Hydra only warns about what a callback raises, except SystemExit.
"""

import atexit
import gc
import json
import os
import shlex
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from src import REPOSITORY, figures, files, locks, ownership, plan, report, results, search
from src.command_line import at_early_end, quiet_libraries, stop, translate
from src.composing import Composing
from src.config import Data, Settings, keys, read
from src.data.datamodule import open_data
from src.errors import UserError
from src.losses import outputs_for
from src.progress import SweepProgress

BETWEEN_COLLECTIONS = 1.0  # seconds
NUMBERS_PER_WEIGHT = 3  # itself, its gradient, a momentum: the least that any optimiser of conf/optim needs


def grid(config: DictConfig) -> list[list[str]]:
    """The overrides of every job of a sweep, as Hydra's basic sweeper will make them; of a search, samples."""
    overrides = search.parsed(config)
    for each in overrides:
        if each.is_discrete_sweep() and not list(each.sweep_string_iterator()):
            raise ValueError(f"{each.input_line}: there is no value in it, so that nothing would run")
    if search.is_search(config):
        return search.samples(overrides)
    batches = BasicSweeper.split_arguments(overrides, None)
    return batches[0]


def jobs(config: DictConfig) -> Iterator[DictConfig]:
    """The complete configuration of every job of a sweep, which the launcher will be given again."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    composing = Composing(hydra.config_loader)
    hydra.config_loader.load_sweep_config = composing  # type: ignore[method-assign]
    for overrides in grid(config):
        yield composing.keep(config, overrides)


def question(config: DictConfig) -> str | None:
    """What a named study asks: the first comment of its file in sweeps/."""
    name = config.hydra.runtime.choices.get("sweeps")
    if not name:
        return None
    lines = (REPOSITORY / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return next(
        (line.removeprefix("# ") for line in lines if line.startswith("# ") and not line.startswith("# @")), None
    )


def check(settings: Settings) -> None:
    """Raise ValueError if a run with these settings could not start. Parts that many runs share are tried once."""
    figures.check(settings.figures)
    _try("trainer", json.dumps(settings.trainer.plain()))
    _try("optim", json.dumps(settings.optim.plain()))
    _try("diagnostics", json.dumps({name: part.plain() for name, part in settings.diagnostics.items()}))
    _try("data", json.dumps(settings.data.plain() | {"loss": settings.loss}))
    _check_memory(settings)


def _check_memory(settings: Settings) -> None:
    """Refuse a network that can't be trained here whatever the device."""
    sizes = [1, *settings.layer_sizes, 1]
    needed = NUMBERS_PER_WEIGHT * 4 * sum(below * above for below, above in pairwise(sizes))
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        key = "hidden_sizes" if settings.depth is None else f"depth={settings.depth}, width={settings.width}"
        raise ValueError(f"{key}: needs {needed / 1e9:.3g} GB to train, this machine has {there / 1e9:.3g} GB")


@lru_cache(maxsize=64)
def _try(part: str, description: str) -> None:
    try:
        TRIALS[part](json.loads(description))
    except ValueError:
        raise
    except Exception as error:  # Hydra, Lightning and torch each have their own kinds
        cause = error.__cause__ or error
        raise ValueError(f"{part}: {cause}") from error


def _try_trainer(arguments: dict[str, Any]) -> None:
    if arguments["accelerator"] in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise ValueError("trainer.accelerator=gpu: torch finds no CUDA device here; use trainer=cpu or trainer=auto")
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    try:
        L.Trainer(**arguments | quiet)
    except (ValueError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {error}") from error


def _try_optimizer(arguments: dict[str, Any]) -> None:
    instantiate(arguments, [torch.nn.Parameter(torch.zeros(1))])


def _try_data(description: dict[str, Any]) -> None:
    loss = description.pop("loss")
    outputs_for(loss, open_data(Data.model_validate(description), seed=0).dataset)


TRIALS: dict[str, Callable[[dict[str, Any]], object]] = {
    "trainer": _try_trainer,
    "optim": _try_optimizer,
    "diagnostics": instantiate,
    "data": _try_data,
}


def _refuse_folder(config: DictConfig, settings: Settings) -> None:
    """Raise UserError if a run, or the sweep that it is part of, can't have its folder."""
    hydra = config.hydra
    if hydra.mode != RunMode.MULTIRUN:
        results.refuse(Path(hydra.run.dir), settings)
        return
    sweep, name = Path(hydra.sweep.dir), str(hydra.sweep.subdir)
    began = f"{name}/" in ownership.recorded(sweep)  # Hydra's files may be there, and not be listed yet
    results.refuse(sweep / name, settings, results.hydra_files(hydra) if began else ())


@contextmanager
def told() -> Iterator[None]:
    """End with one line where the person's folders can't be had."""
    try:
        yield
    except (UserError, OSError) as error:
        raise stop(str(error)) from error


class Sweep(Callback):  # type: ignore[misc]
    """Checks every run of a command before the first one starts; ends a sweep with results.csv and a table."""

    progress: SweepProgress | None = None
    names: Sequence[str] = ()  # of the command's runs
    collected = 0.0  # when garbage was
    told: frozenset[Path] = frozenset()  # folders of runs that have ended, as the person knows

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a terminal can't be sent to another process: the copy there prints plain lines

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._end_with_plan(config, self._check([config]))
        folder = Path(config.hydra.run.dir)
        with told():
            ownership.record(folder, *results.hydra_files(config.hydra))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        began = time.perf_counter()
        try:
            configs = list(jobs(config))
        except (HydraException, OmegaConfBaseException) as error:
            raise stop(translate(error, keys())) from error
        except ValueError as error:
            raise stop(str(error)) from error
        composing = (time.perf_counter() - began) / len(configs)
        self._end_with_plan(config, self._check(configs), composing)
        # It would compose every job once more, to the same end.
        BasicSweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
        folder, names = Path(config.hydra.sweep.dir), [str(each.hydra.sweep.subdir) for each in configs]
        with told():
            results.refuse_sweep(folder)
        count = len(names)
        if search.is_search(config):
            names, count = [], int(config.hydra.sweeper.get("n_trials", 0))
        with told():
            locks.take(folder)
            results.write_sweep(
                folder, question(config), shlex.join(["python", "-m", "src.train", *sys.argv[1:]]), names
            )
        self.names = names
        gc.freeze()  # what is there now stays: looking for a run's garbage among it would take a quarter of a second
        atexit.register(gc.unfreeze)
        print(f"{count} runs → {folder}", flush=True)
        self.progress = SweepProgress(count)
        at_early_end.append(partial(self._end_early, config))

    def _end_early(self, config: DictConfig, error: Exception) -> None:
        """Report on what there is after a launcher has given up, as some do when one process of theirs dies."""
        folder = Path(config.hydra.sweep.dir)
        files.write_atomically(folder / results.ERROR, "".join(traceback.format_exception(error)))
        print(f"error: the launcher gave up, see {folder / results.ERROR}: {type(error).__name__}", file=sys.stderr)
        self.on_multirun_end(config)
        raise SystemExit(1)

    def _end_with_plan(self, config: DictConfig, settings: list[Settings], run_seconds: float = 0.0) -> None:
        if not config.plan:
            return
        console, is_sweep = Console(), config.hydra.mode == RunMode.MULTIRUN
        launcher = plan.understood(config.hydra.launcher, settings) if is_sweep else plan.ONE_BY_ONE
        try:
            costs = plan.plan(settings, launcher, run_seconds)
        except ValueError as error:
            raise stop(str(error)) from error
        plan.show(costs, launcher, console if console.is_terminal else Console(width=120))
        raise SystemExit(0)

    def _check(self, configs: list[DictConfig]) -> list[Settings]:
        quiet_libraries()
        checked = []
        try:
            for config in configs:
                HydraConfig.instance().set_config(config)
                checked.append(read(config))
                check(checked[-1])
                _refuse_folder(config, checked[-1])
        except ValueError as error:
            raise stop(str(error)) from error
        if len(configs) > 1:
            names = Counter(str(config.hydra.sweep.subdir) for config in configs)
            if twice := [name for name, count in names.items() if count > 1]:
                raise stop(f"the sweep would run {twice[0]} more than once: give each value once")
        return checked

    @rank_zero_only
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if time.monotonic() - self.collected > BETWEEN_COLLECTIONS:
            # Lightning's objects refer to each other in circles: the data of many runs would pile up.
            gc.collect()
            self.collected = time.monotonic()
        self.ended(Path(config.hydra.runtime.output_dir))
        job_return.cfg = job_return.hydra_cfg = None  # copies of `config` that launchers keep: 0.2 MB a run

    def ended(self, folder: Path) -> None:
        """Tell the person what came of a run, once."""
        folder = folder.resolve()
        result = None if folder in self.told else results.read_result(folder)
        if result is None:
            return
        self.told |= {folder}
        if self.progress:
            is_new = (folder / results.RESULT).stat().st_mtime >= self.progress.started
            self.progress.ended(result, report.one_line(result), is_new)
        else:
            print(report.one_line(result), flush=True)

    def reached(self, runs: int, left: float, each: float) -> None:
        if self.progress:
            self.progress.reached(runs, left, each)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if self.progress:
            self.progress.close()
        at_early_end.clear()
        folder = Path(config.hydra.sweep.dir)
        self.names = self.names or sorted(path.parent.name for path in folder.glob("*/.hydra"))
        runs = report.read_runs([folder])
        if not runs:
            raise stop(f"no run of the sweep left a {results.RESULT} in {folder}", 1)
        report.write(runs, [folder], with_page=config.report)
        statuses = {name: results.read_result(folder / name) for name in self.names}
        failed = [name for name, result in statuses.items() if result and result["status"] == "failed"]
        missing = [name for name, result in statuses.items() if not result]
        found = [
            f"{len(names)} of {len(self.names)} runs {what}: {', '.join(names)}"
            for names, what in ((failed, "failed"), (missing, "left no result"))
            if names
        ]
        if found:
            raise stop(f"{'; '.join(found)}; see {results.ERROR} in their folders; the same command does them again", 1)
