"""The doors of a checkout: `python -m src.train` is the command `actsweep`; what is behind them is the package."""
