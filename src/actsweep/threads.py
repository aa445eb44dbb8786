"""How torch's CPU threads wait for each other. Without torch: it must be settled before that is imported.

libgomp's waiting threads spin, and beside another program's process they spin on the core that the thread they wait for
needs. Spinning for a shorter while costs a run nothing where it is alone, and leaves it its share where it isn't
(bench/busy.py).
"""

import os

SPIN = "4000"  # turns of a loop; libgomp's own choice is 300,000
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # the environment's ways to choose


def wait_briefly() -> None:
    """For this process and those that it starts, unless the person who started it has chosen."""
    if not waiting():
        os.environ["GOMP_SPINCOUNT"] = SPIN


def waiting() -> dict[str, str]:
    """What the environment says of it."""
    return {name: os.environ[name] for name in WAITING if name in os.environ}
