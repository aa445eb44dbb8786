"""`python -m tests.training.killed FOLDER CASE… -- OVERRIDE…`: runs that are killed at a chosen moment, one per case.

A case is MODULE:FUNCTION:N: the run dies by SIGKILL when the function is called for the N-th time. Each run is a fork
of this process, which pays for the imports once and has started no thread.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from actsweep import composition, one_run


def deadly(module: str, name: str, count: int) -> None:
    """Replace the function by one that does what it did, until it is called for the last time."""
    owner: Any = importlib.import_module(module)
    *parts, last = name.split(".")
    for part in parts:
        owner = getattr(owner, part)
    original, left = getattr(owner, last), count

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, last, call)


def main() -> None:
    folder, *rest = sys.argv[1:]
    cases, overrides = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    settings = composition.read(composition.composed(overrides))
    for place, case in enumerate(cases):
        if (child := os.fork()) == 0:
            module, name, count = case.split(":")
            deadly(module, name, int(count))
            one_run.train(settings, Path(folder, str(place)))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), f"{case} was not reached"
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main()
