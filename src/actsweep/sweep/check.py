"""What is tried before a command's first run: whether it could start at all, so that nothing is begun in vain.

Flow: config → data → **check**. Raises UserError, in one line. What needs torch, and last what needs Lightning, is
imported where it is tried: they take seconds, and a mistake that needs neither is answered without them.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from actsweep import composition
from actsweep.config.command_line import quiet_libraries, typed
from actsweep.config.descriptions import SPECIAL, parameters
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.report import figures
from actsweep.results import claims, ownership, rank, run_folder
from actsweep.sweep import parts
from actsweep.sweep.composing import foresee, variables
from actsweep.training import trainer_arguments

COUNTS = {"every_n_epochs", "every_n_steps", "probe_size", "bins", "points"}  # of this project's diagnostics
OF_SWEEPS = ("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.")
HERE_TOO = {"basic", "sweep", "stacked", "grid"}  # launchers and sweepers without which a run would be the same
NUMBERS_PER_WEIGHT = 3  # itself, its gradient, a momentum: the least that any optimiser of conf/optim needs


class Asked(NamedTuple):
    """A run that a command asks for: its settings, as far as they can be known at sight, its folder, and which files
    that the folder doesn't list may be there: Hydra's, of a sweep that has begun."""

    settings: Settings
    name: str
    folder: Path
    besides: Sequence[str] = ()
    surroundings: Mapping[str, str] = {}  # variables that Hydra sets for the job


def _asked(config: DictConfig) -> Asked:
    settings, hydra = composition.validated(config), config.hydra
    if hydra.mode != RunMode.MULTIRUN:
        return Asked(settings, Path(hydra.run.dir).name, Path(hydra.run.dir))
    sweep, name = Path(hydra.sweep.dir), str(hydra.sweep.subdir)
    _refuse_outside("hydra.sweep.subdir", name, "sweep")
    began = f"{name}/" in ownership.recorded(sweep)
    besides = claims.hydra_files(hydra) if began else ()
    return Asked(settings, name, sweep / name, besides, variables(hydra))


def _refuse_outside(key: str, folder: str, of: str) -> None:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise UserError(f"{key}={folder}: must be a folder within the {of}'s own")


@contextmanager
def in_a_folder_of_ours() -> Iterator[None]:
    """Where a folder can't be made, or written, that is for the person to mend."""
    try:
        yield
    except OSError as error:
        raise UserError(str(error)) from error


def at_sight(configs: Iterable[DictConfig], sweep: Path | None = None) -> list[Asked]:
    """The runs of a command, of a `sweep` in that folder. Raises UserError for what is wrong with one of them before
    anything that it names is tried, which takes imports of seconds."""
    found = []
    for config in configs:
        foresee(config)
        found.append(_asked(config))
        if sweep is not None and (own := Path(config.hydra.sweep.dir)) != sweep:
            raise UserError(
                f"hydra.sweep.dir would be {own} for {found[-1].name}, {sweep} for the sweep: a sweep has one folder; "
                "what a run chooses belongs into hydra.sweep.subdir"
            )
        of_settings(found[-1].settings)
        with in_a_folder_of_ours():
            ownership.refuse_foreign(found[-1].folder, found[-1].besides)
    names = Counter(each.name for each in found)
    if twice := [name for name, count in names.items() if count > 1]:
        several = len({each.settings.trainer.max_epochs for each in found}) > 1
        how = "of trainer.max_epochs, ask for the most alone" if several else "give each value once"
        raise UserError(f"the sweep would run {twice[0]} more than once: {how}")
    return found


def tried(runs: Sequence[Asked]) -> list[Asked]:
    """The runs, with settings that know their data. Raises UserError unless all may start."""
    quiet_libraries()
    found = [run._replace(settings=composition.with_content(composition.tried(run.settings))) for run in runs]
    for run in found:
        with in_a_folder_of_ours():
            claims.refuse(run.folder, run.settings, run.besides)
    parts.check(*(run.settings for run in found))
    return found


def of_search(runs: Sequence[Asked]) -> None:
    """Raise UserError for a search whose runs would have no score."""
    for settings in (run.settings for run in runs):
        trainer = settings.trainer.plain()
        every, most = trainer.get("check_val_every_n_epoch", 1), settings.trainer.max_epochs
        given = None if settings.validates else f"data.val_size=0 monitor={settings.monitor}"
        if trainer.get("limit_val_batches") == 0:
            given = "trainer.limit_val_batches=0"
        if isinstance(every, int) and every > most:
            given = f"trainer.check_val_every_n_epoch={every} trainer.max_epochs={most}"
        interval = trainer.get("val_check_interval")
        if every is None and isinstance(interval, int) and interval > (steps := most * _steps_of_epoch(settings)):
            given = f"trainer.val_check_interval={interval} trainer.max_epochs={most}, {steps} batches"
        if given:
            raise UserError(f"{given}: nothing is validated, and a search needs a validation for each run's score")


def _steps_of_epoch(settings: Settings) -> int:
    from actsweep.data.batches import SplitData, described  # here, because it imports torch

    batches = len(SplitData(*described(settings.data, settings.seed)).train_dataloader())
    return trainer_arguments.training_batches(settings.trainer.plain(), batches)


def interrupted_stacks(sweep: Path, runs: Sequence[Asked]) -> int:
    """How many of the runs are in interrupted stacks of the sweep. Raises UserError for those that have been trained
    for more epochs than are asked."""
    from actsweep.training.stack import stacks  # here, because it imports Lightning

    known = {run.folder.resolve(): run.settings for run in runs}
    count = 0
    for _, state, members in stacks.interrupted(sweep.resolve(), sets_aside=False):
        for folder, digest in members:
            settings = known.get(folder)
            if not settings or digest != settings.hash() or settings.rerun == "all" or run_folder.read_result(folder):
                continue
            count += 1
            if state["epochs"] > (most := settings.trainer.max_epochs):
                raise UserError(
                    f"{folder} holds a run with other settings: trainer.max_epochs={most}, and it has trained "
                    f"{state['epochs']} epochs; choose another folder, or have rerun=all do it again"
                )
    return count


def of_settings(settings: Settings) -> None:
    """Raise UserError if the settings alone, with nothing tried, show that a run could not start."""
    rank.expect(settings.trainer.devices)  # before anything is written
    figures.check(settings.figures)
    trainer_arguments.refuse(settings.trainer.plain())
    if settings.norm == "batch" and settings.data.batch_size == 1 and not settings.untrained:
        raise UserError("data.batch_size=1: norm=batch needs two examples in a batch; norm=layer takes each alone")
    _check_atlas(settings)
    _check_counts(settings)
    _check_memory(settings)


def _check_atlas(settings: Settings) -> None:
    if not settings.atlas:
        return
    accelerator, monitor, patience = settings.trainer.accelerator, settings.monitor, settings.patience
    faults = {
        "depth=0: an atlas is of networks with hidden layers": not settings.layer_sizes,
        "loss=mse: an atlas compares accuracies; use cross_entropy or bce": settings.loss == "mse",
        f"test={settings.test}: must be best for an atlas": settings.test != "best",
        f"trainer.accelerator={accelerator}: must be cpu for an atlas, or auto": accelerator not in {"auto", "cpu"},
        f"patience={patience}: must be null for an atlas, whose networks are tested together": patience is not None,
        f"monitor={monitor}: must be null or val_accuracy for an atlas, which chooses step sizes by it": (
            monitor not in {None, "val_accuracy"}
        ),
    }
    for fault, is_there in faults.items():
        if is_there:
            raise UserError(fault)


def _check_counts(settings: Settings) -> None:
    for name, part in settings.diagnostics.items():
        if (takes := parameters(part.target)) is None:
            continue
        for key, value in part.plain().items():
            if key not in {*takes, *SPECIAL}:
                raise UserError(
                    f"diagnostics.{name}.{key}: {part.target} has no such argument; it has {', '.join(takes) or 'none'}"
                )
            if key in COUNTS and value is not None and not (type(value) is int and value >= 1):
                raise UserError(f"diagnostics.{name}.{key}={value}: must be a whole number, at least 1")


def of_hydra(hydra: DictConfig) -> None:
    """Raise UserError for what was asked of Hydra and would have no effect: a sweep's of a run, a run's of a sweep; and
    for a folder that is none of the run's own."""
    _refuse_outside("hydra.output_subdir", hydra.output_subdir or "", "run")
    asked = {each.lstrip("+").partition("=")[0]: each for each in typed(hydra.overrides.hydra)}
    if hydra.mode == RunMode.MULTIRUN:
        if "hydra.run.dir" in asked and "hydra.sweep.dir" not in asked:
            raise UserError(f"{asked['hydra.run.dir']}: is for one run; of a sweep give hydra.sweep.dir")
        return
    for key, given in asked.items():
        if key == "hydra.sweep.dir" and "hydra.run.dir" not in asked:
            raise UserError(f"{given}: is for a sweep, which -m asks for; of one run give hydra.run.dir")
        if key.startswith(OF_SWEEPS) and given.partition("=")[2] not in HERE_TOO:
            raise UserError(f"{given}: is for a sweep, which -m asks for")


def _check_memory(settings: Settings) -> None:
    """Refuse a network that can't be trained here whatever the device."""
    sizes = [1, *settings.layer_sizes, 1]
    needed = NUMBERS_PER_WEIGHT * 4 * sum(below * above for below, above in pairwise(sizes))
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        key = "hidden_sizes" if settings.depth is None else f"depth={settings.depth}, width={settings.width}"
        raise UserError(f"{key}: needs {needed / 1e9:.3g} GB to train, this machine has {there / 1e9:.3g} GB")


def launcher(config: DictConfig) -> None:
    """Set up sweeper and launcher, as Hydra will: they refuse what a person can get wrong in their configuration."""
    context = HydraContext(GlobalHydra.instance().config_loader(), callbacks=None)  # type: ignore[arg-type]
    Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=lambda _: None, config=config)
