"""`python -m src.theory` is the command `actsweep theory`."""

from actsweep.main import run

if __name__ == "__main__":
    run("theory")
