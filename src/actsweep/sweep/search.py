"""What a sweeper makes of a command: the jobs of a grid. What one that chooses values itself, such as Optuna's, needs:
a score of each run, and a check of the space.

Flow: around **config** at the beginning, after **results** at the end.
"""

from collections.abc import Sequence
from itertools import product

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, ValueType
from omegaconf import DictConfig, OmegaConf, read_write

from actsweep.config.command_line import typed
from actsweep.errors import UserError

GRIDS = {"grid", "basic"}
DIRECTIONS = {  # in which Optuna, Ax and Nevergrad search: the keys that say so, and what they have to say
    "direction": "maximize",
    "ax_config.experiment.minimize": "False",
    "optim.maximize": "True",
}


def is_search(config: DictConfig) -> bool:
    """Whether the runs of a sweep are not known before it starts. Raises UserError for a search for the worst."""
    if config.hydra.runtime.choices["hydra/sweeper"] in GRIDS:
        return False
    for key, best in DIRECTIONS.items():
        given = str(OmegaConf.select(config.hydra.sweeper, key, default=best)).rpartition(".")[2]
        if given != best:
            raise UserError(
                f"hydra.sweeper.{key}={given}: must be {best}: a run's score is its validation accuracy, "
                "in a regression minus its validation loss"
            )
    return True


def overrides(config: DictConfig, loader: ConfigLoader) -> dict[str, Override]:
    """A sweep's overrides by key: the sweeper's own, then those of the command line; of a key given twice, the last."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create(loader).parse_overrides([*given, *typed(config.hydra.overrides.task)])
    return {each.get_key_element(): each for each in parsed}


def values(override: Override) -> list[str]:
    """What an override may become in a job: all its values; of an interval, its ends."""
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if isinstance(value, IntervalSweep):
        return [f"{key}={end}" for end in (value.start, value.end)]
    try:
        found = [f"{key}={each}" for each in override.sweep_string_iterator()]
    except ValueError as error:  # a range with a step of 0
        raise UserError(f"{override.input_line}: {error}") from error
    if not found:
        raise UserError(f"{override.input_line}: there is no value in it, so that nothing would run")
    return found


def grid(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The overrides of every job of a sweep, as Hydra's basic sweeper will make them; of a search, samples."""
    given = overrides(config, loader)
    axes = [values(each) for each in given.values()]
    if is_search(config):
        return samples(axes)
    if (size := config.hydra.sweeper.get("max_batch_size")) is not None and size < 1:
        raise UserError(f"hydra.sweeper.max_batch_size={size}: must be at least 1, or null: all jobs at once")
    for each in given.values():
        if each.is_interval_sweep():
            raise UserError(f"{each.input_line}: needs a sweeper that chooses values, such as hydra/sweeper=optuna")
    return [list(job) for job in product(*axes)]


def samples(axes: Sequence[list[str]]) -> list[list[str]]:
    """Jobs in which each value of each key occurs, the other keys at their first value."""
    first = [axis[0] for axis in axes]
    return [first] + [
        [*first[:place], value, *first[place + 1 :]] for place, axis in enumerate(axes) for value in axis[1:]
    ]


def spell_out(config: DictConfig, loader: ConfigLoader) -> None:
    """Put choices in the place of globs, which only Hydra's own sweeper understands; make no params of none."""
    sweeper, task = config.hydra.sweeper, typed(config.hydra.overrides.task)
    with read_write(config.hydra):
        for key, each in overrides(config, loader).items():
            if each.value_type == ValueType.GLOB_CHOICE_SWEEP:
                choices = f"choice({','.join(each.sweep_string_iterator())})"
                if each.input_line in task:
                    task[task.index(each.input_line)] = f"{key}={choices}"
                else:
                    sweeper.params[key] = choices
        config.hydra.overrides.task = task
        if "params" in sweeper and not sweeper.params:
            sweeper.params = None
