"""What else than its settings a result may depend on: versions, machine, git revision, and what a function of
the person's own computes.

Flow: around **results**.
"""

import os
import platform
import subprocess
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from actsweep import threads
from actsweep.config.descriptions import targets
from actsweep.places import INSTALLED, REPOSITORY, VERSION

if TYPE_CHECKING:
    from actsweep.config.schema import Settings

VALUES = "act_values"


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


def own_function(settings: "Settings") -> dict[str, list[float]]:
    """What an activation of the person's own computes, by its key in run.json: its code may change, its name not."""
    named = [str(each) for each in targets(settings.act.plain())]
    if not settings.layer_sizes or all(each.startswith(("torch.", "actsweep.")) for each in named):
        return {}
    from actsweep.network import trying  # here, because it imports torch

    with suppress(Exception):  # of code of a person's own: it was tried, or will be
        return {VALUES: trying.values(settings.act.plain(), settings.layer_sizes[0])}
    return {}


def _git_revision() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
