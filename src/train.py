"""`python -m src.train` is the command `actsweep`."""

from actsweep.main import run

if __name__ == "__main__":
    run("train")
