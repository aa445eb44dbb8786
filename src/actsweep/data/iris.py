"""The first 100 rows of Fisher's iris data: two kinds of flower that four measurements tell apart.

Source: deep.TEACHING's notebook on activation functions; the data come with scikit-learn.
"""

from functools import lru_cache
from importlib.metadata import distribution

import numpy as np
import torch

from actsweep.data.dataset import Dataset, Examples, as_given, check_range
from actsweep.errors import UserError

FILE = "sklearn/datasets/data/iris.csv"  # read as it is: scikit-learn takes a second to import
KINDS = ("setosa", "versicolor")


@lru_cache(maxsize=4)
def load(standardise: bool = True, factor: float = 1.0) -> Dataset:
    """100 rows of four float64 measurements, in cm times `factor`, or standardised by column; nothing is held out."""
    check_range(1e-30, 1e30, float, factor=factor)
    if not isinstance(standardise, bool):
        raise UserError(f"data.source.standardise={standardise}: must be true or false")
    rows = np.loadtxt(str(distribution("scikit-learn").locate_file(FILE)), delimiter=",", skiprows=1, max_rows=100)
    inputs, labels = rows[:, :-1] * factor, rows[:, -1]
    if standardise:
        inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    pool = Examples(torch.from_numpy(inputs), torch.from_numpy(labels).long())
    return Dataset(pool, None, KINDS, (4,), as_given)
