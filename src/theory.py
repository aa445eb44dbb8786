"""`python -m src.theory` is the command `actsweep theory`."""

from actsweep.main import theory

if __name__ == "__main__":
    theory()
