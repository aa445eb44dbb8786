"""actsweep: what an activation function does to a deep network, measured.

config → data → network → training → diagnostics → results → statistics → report: imports point one way along it.
"""

import sys
from pathlib import Path

from src.threads import wait_briefly

REPOSITORY = Path(__file__).resolve().parent.parent

if sys.argv[:1] == ["-m"]:  # `python -m src.…` is being located: this program is ours, and torch not yet imported
    wait_briefly()
