"""How many CPU threads torch takes, and how they wait for each other. Imports no torch: waiting must be settled before.

libgomp's waiting threads spin, and beside another program's process they spin on the core that the thread they wait for
needs. Spinning for a shorter while costs a run nothing where it is alone, and leaves it its share where it isn't
(bench/busy.py).
"""

import os
import sys
from functools import cache
from pathlib import Path

from actsweep.imports import uncollected

SPIN = "4000"  # turns of a loop; libgomp's own choice is 300,000
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # the environment's ways to choose


def wait_briefly() -> None:
    """For this process and those that it starts, unless the person who started it has chosen."""
    if not waiting():
        os.environ["GOMP_SPINCOUNT"] = SPIN


def waiting() -> dict[str, str]:
    """What the environment says of it."""
    return {name: os.environ[name] for name in WAITING if name in os.environ}


def numpy_starts_none() -> None:
    """Its OpenBLAS would start them when it is imported; nothing here multiplies large matrices with NumPy."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@cache
def all_threads() -> int:
    """How many torch takes by itself: as many as it had when this was asked first, or `share` left this process."""
    import torch

    return torch.get_num_threads()


def share(count: int) -> None:
    """All that this process has are so many from now on."""
    import torch

    torch.set_num_threads(count)
    all_threads.cache_clear()
    all_threads()


def use_threads(count: int) -> None:
    """Have torch work in so many from now on; what it takes by itself stays known."""
    with uncollected():
        import torch

    all_threads()
    torch.set_num_threads(count)


def forkable() -> bool:
    """Whether a copy of this process could work: none has the other threads, nor the GPU."""
    if sys.platform != "linux" or len([*Path("/proc/self/task").iterdir()]) > 1:
        return False
    torch = sys.modules.get("torch")
    return torch is None or not torch.cuda.is_available()
