"""`python -m src.report` is the command `actsweep report`."""

from actsweep.main import run

if __name__ == "__main__":
    run("report")
