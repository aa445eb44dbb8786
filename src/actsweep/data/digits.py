"""scikit-learn's handwritten digits: small, and shipped with the package.

Source: Alpaydin & Kaynak 1998, the test part of UCI's Optical Recognition set.
"""

from functools import lru_cache

import torch
from sklearn.datasets import load_digits

from actsweep.data.dataset import Dataset, Examples, Scale

TEST_SIZE = 360  # the last fifth: the order is by writer, so the test set shows hands not seen in training


@lru_cache(maxsize=1)
def load() -> Dataset:
    """1,437 + 360 images as uint8 rows of 64 with values 0 to 16; scaled to [−1, 1]."""
    digits = load_digits()
    everything = Examples(torch.from_numpy(digits.data).to(torch.uint8), torch.from_numpy(digits.target).long())
    return Dataset(
        pool=everything[:-TEST_SIZE],
        test=everything[-TEST_SIZE:],
        classes=tuple("0123456789"),
        shape=(8, 8),
        scale=Scale(divisor=16, mean=0.5, std=0.5),
    )
