"""Whether this process is a run's first: of several on several devices, one writes.

Flow: around **results**. Asked of the environment, as Lightning does, so that whoever only reads runs needn't load it.
Of a run on one device the environment's numbers are of something else, such as srun's tasks that each do another run.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # the first that is set counts
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_shared = {"run": True}  # whether several processes may be at work on it; not known of other people's


def expect(devices: object) -> None:
    """Say on which devices this process's run trains, as `trainer.devices` does: of one alone it is the first."""
    _shared["run"] = not (devices == 1 or (isinstance(devices, list) and len(devices) == 1))


def is_zero() -> bool:
    if not _shared["run"]:
        return True
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
    return rank == os.environ.get("NODE_RANK", "0") == "0"  # each machine may count its own processes


def zero_only(do: Callable[Arguments, Result]) -> Callable[Arguments, Result | None]:
    """Does nothing in the other processes."""

    @wraps(do)
    def done(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result | None:
        return do(*arguments, **named) if is_zero() else None

    return done
