"""`python -m src.data.fetch` is the command `actsweep fetch`."""

from actsweep.main import run

if __name__ == "__main__":
    run("fetch")
