"""`python -m src.evaluate` is the command `actsweep evaluate`."""

from actsweep.main import evaluate

if __name__ == "__main__":
    evaluate()
