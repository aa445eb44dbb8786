"""Three interleaved spiral arms in the plane, no two of which a line can part.

Source: Stanford CS231n's notebook on vanishing gradients, whose numbers are those of seed 0, bit for bit.
`after_the_data` continues the notebook's one stream of random numbers, from which it draws its weights.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from actsweep.data.dataset import Dataset, Examples, as_given, check_range


@lru_cache(maxsize=16)
def load(seed: int = 0, points: int = 100, classes: int = 3, noise: float = 0.2) -> Dataset:
    """`points` float64 positions (N, 2) per class; nothing is held out."""
    check_range(0, 2**32 - 1, seed=seed)
    check_range(1, 100_000, points=points)
    check_range(2, 1000, classes=classes)
    check_range(0, 1e30, float, noise=noise)
    generator = np.random.RandomState(seed)
    radius = np.linspace(0.0, 1.0, points)
    arms = []
    for arm in range(classes):
        angle = np.linspace(arm * 4, (arm + 1) * 4, points) + generator.randn(points) * noise
        arms.append(np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1))
    labels = torch.arange(classes).repeat_interleave(points)
    pool = Examples(torch.from_numpy(np.concatenate(arms)), labels)
    return Dataset(pool, None, tuple(f"arm {arm + 1}" for arm in range(classes)), (2,), as_given)


def after_the_data(seed: int, draws: int) -> np.random.RandomState:
    """The generator seeded `seed`, after `draws` normal numbers: the notebook's data take the first 300."""
    generator = np.random.RandomState(seed)
    generator.randn(draws)
    return generator


def fill_in_order(tensor: Tensor, generator: np.random.RandomState, std: float) -> Tensor:
    """Fill a weight (out, in) with std · N(0, 1), drawn as the notebook draws its (in, out) matrices."""
    fan_out, fan_in = tensor.shape
    return tensor.copy_(torch.from_numpy(std * generator.randn(fan_in, fan_out)).T)
