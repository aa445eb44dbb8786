"""Where the project's own files lie: in a checkout beside src/, in an installation inside the package.

Flow: around everything; imports nothing.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent.parent
REPOSITORY = CHECKOUT if (CHECKOUT / "conf" / "config.yaml").is_file() else PACKAGE  # holds conf/ and sweeps/
