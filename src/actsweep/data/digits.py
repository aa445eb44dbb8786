"""scikit-learn's handwritten digits: small, and shipped with the package.

Source: Alpaydin & Kaynak 1998, the test part of UCI's Optical Recognition set.
"""

from functools import lru_cache
from importlib.metadata import distribution

import numpy as np
import numpy.typing as npt

from actsweep.data.dataset import Dataset, Examples, Pictures, Scale

FILE = "sklearn/datasets/data/digits.csv.gz"  # read as it is: scikit-learn takes a second to import
CLASSES, SHAPE = tuple("0123456789"), (8, 8)
TEST_SIZE = 360  # the last fifth: the order is by writer, so the test set shows hands not seen in training


def _rows() -> npt.NDArray[np.uint8]:
    return np.loadtxt(str(distribution("scikit-learn").locate_file(FILE)), np.uint8, delimiter=",")


@lru_cache(maxsize=1)
def load() -> Dataset:
    """1,437 + 360 images as uint8 rows of 64 with values 0 to 16; scaled to [−1, 1]."""
    import torch

    rows = torch.from_numpy(_rows())
    everything = Examples(rows[:, :-1].contiguous(), rows[:, -1].long())
    scale = Scale(divisor=16, mean=0.5, std=0.5)
    return Dataset(everything[:-TEST_SIZE], everything[-TEST_SIZE:], CLASSES, SHAPE, scale)


def pictures() -> Pictures:
    """The 360 of the test set."""
    return Pictures(_rows()[-TEST_SIZE:, :-1], CLASSES, SHAPE)
