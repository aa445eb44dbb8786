"""What a sweeper that chooses values itself, such as Optuna's, needs: a score of each run, and a check of the space.

Flow: around **config** at the beginning, after **results** at the end.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def score(result: Mapping[str, Any]) -> float | None:
    """What a sweeper may maximise: the validation accuracy at the best epoch; in a regression, minus the best loss.

    A diverged run has the worst score there is, a failed one none.
    """
    if result["status"] == "failed":
        return None
    is_regression = result["config"]["loss"] == "mse"
    if result["status"] == "diverged":
        return -math.inf if is_regression else 0.0
    return -result["val_loss"] if is_regression else result["val_accuracy"]


def is_search(config: DictConfig) -> bool:
    """Whether the runs of a sweep are not known before it starts. Raises ValueError for a search for the worst."""
    sweeper = config.hydra.sweeper
    if sweeper.get("_target_") == BASIC:
        return False
    direction = str(sweeper.get("direction", "maximize")).rpartition(".")[2]
    if direction != "maximize":
        raise ValueError(
            f"hydra.sweeper.direction={direction}: must be maximize: a run's score is its validation accuracy, "
            "in a regression minus its validation loss"
        )
    return True


def samples(overrides: Sequence[Override]) -> list[list[str]]:
    """Jobs in which each value of each key occurs, the other keys at their first value; of an interval, its ends."""
    axes = [_values(each) for each in overrides]
    first = [axis[0] for axis in axes]
    return [first] + [
        [*first[:place], value, *first[place + 1 :]] for place, axis in enumerate(axes) for value in axis[1:]
    ]


def _values(override: Override) -> list[str]:
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if isinstance(value, IntervalSweep):
        return [f"{key}={end}" for end in (value.start, value.end)]
    return [f"{key}={each}" for each in override.sweep_string_iterator()]


def parsed(config: DictConfig) -> list[Override]:
    """The overrides of a sweep: the sweeper's own, then those of the command line."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    return list(OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task]))
