"""The first 100 rows of Fisher's iris data: two kinds of flower that four measurements tell apart.

Source: deep.TEACHING's notebook on activation functions; the data come with scikit-learn.
"""

from functools import lru_cache

import torch
from sklearn.datasets import load_iris

from actsweep.data.dataset import Dataset, Examples, as_given, check_range
from actsweep.errors import UserError


@lru_cache(maxsize=4)
def load(standardise: bool = True, factor: float = 1.0) -> Dataset:
    """100 rows of four float64 measurements, in cm times `factor`, or standardised by column; nothing is held out."""
    check_range(1e-30, 1e30, float, factor=factor)
    if not isinstance(standardise, bool):
        raise UserError(f"data.source.standardise={standardise}: must be true or false")
    iris = load_iris()
    inputs, labels = iris.data[:100] * factor, iris.target[:100]
    if standardise:
        inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    pool = Examples(torch.from_numpy(inputs), torch.from_numpy(labels).long())
    return Dataset(pool, None, tuple(iris.target_names[:2].tolist()), (4,), as_given)
