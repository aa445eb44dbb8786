"""Whether this process is a run's first: of several on several devices, one writes.

Flow: around **results**. Asked of the environment, as Lightning does, so that whoever only reads runs needn't load it.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # the first that is set counts
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def is_zero() -> bool:
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
    return rank == os.environ.get("NODE_RANK", "0") == "0"  # each machine may count its own processes


def zero_only(do: Callable[Arguments, Result]) -> Callable[Arguments, Result | None]:
    """Does nothing in the other processes."""

    @wraps(do)
    def done(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result | None:
        return do(*arguments, **named) if is_zero() else None

    return done
