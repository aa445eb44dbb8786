"""`python -m src.train` is the command `actsweep`."""

from actsweep.main import train

if __name__ == "__main__":
    train()
