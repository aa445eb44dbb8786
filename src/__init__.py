"""actsweep: what an activation function does to a deep network, measured.

config → data → network → training → diagnostics → results → statistics → report: imports point one way along it.
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
