"""What else than its settings a result may depend on: versions, machine, git revision.

Flow: around **results**.
"""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from actsweep import threads
from actsweep.places import INSTALLED, REPOSITORY, VERSION


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """Read once, when a command starts: what is committed while it runs is not what runs."""
    packages = ("torch", "pytorch-lightning", "hydra-core", "numpy")
    return {
        "versions": {"actsweep": VERSION, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "waiting": threads.waiting(),
        "git": None if INSTALLED else _git_revision(),
    }


def _git_revision() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
