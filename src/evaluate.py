"""`python -m src.evaluate` is the command `actsweep evaluate`."""

from actsweep.main import run

if __name__ == "__main__":
    run("evaluate")
