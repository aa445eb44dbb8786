"""`python -m src.report` is the command `actsweep report`."""

from actsweep.main import report

if __name__ == "__main__":
    report()
