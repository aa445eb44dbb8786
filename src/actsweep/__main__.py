"""`python -m actsweep` is the command `actsweep`, of the Python that is named."""

import sys

from actsweep.main import main

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, which the command has last (places.py)
    main()
