"""Clusters of points, one or more per class: scikit-learn's make_classification.

Flow: config → **data** → network.
"""

from functools import lru_cache

import torch
from sklearn.datasets import make_classification

from src.data.dataset import Dataset, Examples, as_given


@lru_cache(maxsize=16)
def load(n_classes: int = 2, **arguments: float) -> Dataset:
    """float64 inputs (N, D), any argument of make_classification; nothing is held out."""
    inputs, labels = make_classification(n_classes=n_classes, **arguments)
    pool = Examples(torch.from_numpy(inputs), torch.from_numpy(labels).long())
    return Dataset(pool, None, tuple(f"class {label}" for label in range(n_classes)), inputs.shape[1:], as_given)
