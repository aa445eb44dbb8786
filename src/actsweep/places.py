"""Which version this is, where its own files lie, where data are kept, by which door the person came in.

Flow: around everything; imports nothing. In a checkout conf/ and sweeps/ lie beside src/; in an installation they are
inside the package.
"""

import os
import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "conf" / "config.yaml").is_file()
REPOSITORY = PACKAGE if INSTALLED else PACKAGE.parent.parent  # holds conf/ and sweeps/
COMMAND = "actsweep"
VERSION = "0.1.0"


def data_folder() -> Path:
    """Where data are looked for, and put, unless the person says where: $ACTSWEEP_DATA; else the checkout's data/; of
    an installation, the user's cache."""
    if chosen := os.environ.get("ACTSWEEP_DATA"):
        return Path(chosen)
    if not INSTALLED:
        return REPOSITORY / "data"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "actsweep")  # whoever opens it finds the home, or says


def door(part: str = "train") -> str:
    """How a part of the program is called by the person who has started this process."""
    started = Path(sys.argv[0])
    as_module = started.parts[-2:] == (COMMAND, "__main__.py")
    if not (INSTALLED or as_module or started.stem == COMMAND):
        return f"python -m src.{part}"
    called = f"python -m {COMMAND}" if as_module else COMMAND
    return called if part == "train" else f"{called} {part.rpartition('.')[2]}"


def command(part: str, *arguments: object) -> str:
    """A line that the person can type.

    >>> command("report", "my outputs", "--forget")
    "python -m src.report 'my outputs' --forget"
    """
    return f"{door(part)} {shlex.join(map(str, arguments))}".rstrip()


def importable() -> None:
    """Let modules in the current folder be named in a configuration, as `python -m` does. They come last: a project's
    own conf, src or train.py takes nobody's place.

    A hydra_plugins there that is a package of its own would hide every plugin, in processes started from here too: such
    a folder stays out.
    """
    here = Path.cwd()
    if (here / "hydra_plugins" / "__init__.py").is_file():
        os.environ["PYTHONSAFEPATH"] = "1"
    elif str(here) not in sys.path:
        sys.path.append(str(here))
