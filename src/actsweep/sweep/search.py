"""What a sweeper makes of a command: the jobs of a grid. What one that chooses values itself, such as Optuna's, needs:
a score of each run, and a check of the space. What a person asks of `hydra/launcher=sweep`.

Flow: around **config** at the beginning, after **results** at the end.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, ValueType
from omegaconf import DictConfig, OmegaConf, read_write

from actsweep.config.command_line import typed
from actsweep.errors import UserError

GRIDS = {"grid", "basic"}
MOST_RUNS = 100_000  # of a sweep: to compose one takes some hundredths of a second
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
    if isinstance(value, RangeSweep) and (count := _count(value)) > MOST_RUNS:
        raise UserError(f"{override.input_line}: has {count:.6g} values; a sweep has at most {MOST_RUNS:,} runs")
    try:
        found = [f"{key}={each}" for each in override.sweep_string_iterator()]
    except ValueError as error:  # a range with a step of 0
        raise UserError(f"{override.input_line}: {error}") from error
    if not found:
        raise UserError(f"{override.input_line}: there is no value in it, so that nothing would run")
    return found


def _count(values: RangeSweep) -> float:
    """How many there are, or 0 where the step leads nowhere; before they are made."""
    return (values.stop - values.start) / (values.step or math.inf)  # type: ignore[operator]


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
    if (count := math.prod(map(len, axes))) > MOST_RUNS:
        raise UserError(f"the sweep would have {count:,} runs: must be at most {MOST_RUNS:,}; give fewer values")
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


def is_ours(launcher: Mapping[str, Any]) -> bool:
    return str(launcher.get("_target_", "")).endswith(".SweepLauncher")


@dataclass(frozen=True)
class Limits:
    """What a person asks of `hydra/launcher=sweep`; None: as much as there is, and as pays."""

    max_members: int | None = None
    devices: Sequence[int] | None = None
    processes: int | None = None
    save_every: float = 60

    @classmethod
    def asked(cls, given: Mapping[str, Any], is_away: bool = False) -> "Limits":
        """What stands in a configuration; `is_away`: for other machines. Raises UserError for what a person can get
        wrong."""
        names = [each.name for each in fields(cls)]
        if unknown := [name for name in given if name not in names]:
            raise UserError(f"hydra.launcher.{unknown[0]}: there is no such key; there are {', '.join(names)}")
        limits = cls(**given)
        for name in ("processes", "devices") if is_away else ():
            if given.get(name) is not None:
                raise UserError(f"hydra.launcher.{name}={given[name]}: is of this machine; max_members cuts the jobs")
        limits.check()
        return limits

    def check(self) -> None:
        """Raise UserError for what a person can get wrong."""
        meanings = {"max_members": "as many as fit", "processes": "one for each core, where that pays"}
        for name, meaning in meanings.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"hydra.launcher.{name}={value}: must be at least 1, or null: {meaning}")
        if type(self.save_every) not in {int, float} or not self.save_every >= 0:
            raise UserError(f"hydra.launcher.save_every={self.save_every}: must be a number of seconds, at least 0")
        if self.devices is None:
            return
        if isinstance(self.devices, str) or not isinstance(self.devices, Sequence):
            raise UserError(f"hydra.launcher.devices={self.devices}: must be a list, such as [0,1], or null")
        import torch  # here, because it takes seconds: most mistakes are answered without it

        present = torch.cuda.device_count()
        if not (self.devices and all(each in range(present) for each in self.devices)):
            there = f"torch finds {present} CUDA devices here" + (f", 0 to {present - 1}" if present else "")
            raise UserError(f"hydra.launcher.devices={list(self.devices)}: {there}; null takes all, or the CPU")

    def gpus(self) -> list[str]:
        """Those that share the work, as CUDA_VISIBLE_DEVICES names them."""
        import torch

        present = [str(number) for number in range(torch.cuda.device_count())]
        if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
            present = visible.split(",")[: len(present)]
        return present if self.devices is None else [present[number] for number in self.devices]
