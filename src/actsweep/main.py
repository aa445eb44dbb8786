"""The command `actsweep`: trains, or does what its first word says.

Flow: around everything. How threads wait is settled before torch is imported, so each part is imported when it is asked
for.
"""

import sys
import textwrap
from importlib import import_module

from actsweep.errors import UserError
from actsweep.imports import at_end, uncollected
from actsweep.places import REPOSITORY, VERSION, importable
from actsweep.threads import numpy_starts_none, wait_briefly

USAGE = """\
actsweep {version}: what an activation function does to a deep network, measured

  actsweep act=relu seed=0                  one run
  actsweep -m act=relu,tanh seed=0,1,2      a sweep: every combination, and a report
  actsweep +sweeps=NAME                     a study:
{studies}

  actsweep report FOLDER…                   the report of a sweep, or of several together
  actsweep evaluate CHECKPOINT…             measure networks that are trained
  actsweep theory act=swish depth=50        what theory says of a network, without training
  actsweep fetch                            get FashionMNIST, once

plan=true says what a sweep would take. Each part has its own --help; `actsweep train --help` lists every key.
"""


PARTS = {
    "train": "actsweep.jobs",
    "evaluate": "actsweep.evaluate",
    "report": "actsweep.report.writing",
    "theory": "actsweep.predict",
    "fetch": "actsweep.data.fetch",
}


def run(part: str) -> None:
    """Do one of PARTS, as the command line asks."""
    wait_briefly()
    numpy_starts_none()
    from actsweep.config.command_line import one_line_errors

    with one_line_errors():
        with uncollected():
            module = import_module(PARTS[part])
        at_end()
        module.main()


def usage() -> str:
    names = ", ".join(sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml")))
    studies = textwrap.fill(names, 100, break_on_hyphens=False)
    return USAGE.format(version=VERSION, studies=textwrap.indent(studies, " " * 8))


def main() -> None:
    """`actsweep WORD…`: the rest is that part's; without such a word it trains."""
    from actsweep.config.command_line import one_line_errors

    with one_line_errors():
        word = sys.argv[1] if len(sys.argv) > 1 else ""
        if word in {"--version", "--help", "-h", "help"}:
            print(f"actsweep {VERSION}\n" if word == "--version" else usage(), end="")
            return
        if word in PARTS:
            del sys.argv[1]
        elif word[:1].isalpha() and "=" not in word:
            raise UserError(f"{word}: must be one of {', '.join(PARTS)}, or KEY=VALUE, as act=relu")
        try:
            importable()
        except FileNotFoundError as error:
            raise UserError("the current folder is there no more: go to another one") from error
        run(word if word in PARTS else "train")
