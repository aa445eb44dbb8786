"""The command `actsweep`: trains, or does what its first word says.

Flow: around everything. How threads wait is settled before torch is imported, so each part is imported when it is asked
for.
"""

import sys
from importlib.metadata import version

from actsweep.threads import wait_briefly


def train() -> None:
    wait_briefly()
    from actsweep.train import main

    main()


def evaluate() -> None:
    wait_briefly()
    from actsweep.config.command_line import one_line_errors
    from actsweep.evaluate import main

    with one_line_errors():
        main()


def report() -> None:
    wait_briefly()
    from actsweep.config.command_line import one_line_errors
    from actsweep.report.writing import main

    with one_line_errors():
        main()


def theory() -> None:
    wait_briefly()
    from actsweep.config.command_line import one_line_errors
    from actsweep.predict import main

    with one_line_errors():
        main()


def fetch() -> None:
    from actsweep.config.command_line import one_line_errors
    from actsweep.data.fetch import main

    with one_line_errors():
        main()


PARTS = {"train": train, "evaluate": evaluate, "report": report, "theory": theory, "fetch": fetch}


def main() -> None:
    """`actsweep WORD…`: the rest is that part's; without such a word it trains."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word == "--version":
        print("actsweep", version("actsweep"))
        return
    if word in PARTS:
        del sys.argv[1]
    PARTS.get(word, train)()
