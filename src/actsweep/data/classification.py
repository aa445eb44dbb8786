"""Clusters of points, one or more per class: scikit-learn's make_classification."""

from typing import Any

import torch
from sklearn.datasets import make_classification

from actsweep.data.dataset import Dataset, Examples, as_given, check_range

NUMBERS = 2**27  # a gigabyte


def load(
    n_classes: int = 2, n_samples: int = 100, n_features: int = 20, random_state: int = 0, **arguments: Any
) -> Dataset:
    """float64 inputs (N, D), any argument of make_classification; nothing is held out."""
    check_range(2, 1_000_000, n_classes=n_classes, n_samples=n_samples)
    check_range(1, NUMBERS // n_samples, n_features=n_features)
    check_range(0, 2**32 - 1, random_state=random_state)
    inputs, labels = make_classification(
        n_samples, n_features, n_classes=n_classes, random_state=random_state, **arguments
    )
    pool = Examples(torch.from_numpy(inputs), torch.from_numpy(labels).long())
    return Dataset(pool, None, tuple(f"class {label}" for label in range(n_classes)), inputs.shape[1:], as_given)
