"""`python -m src.data.fetch` is the command `actsweep fetch`."""

from actsweep.main import fetch

if __name__ == "__main__":
    fetch()
