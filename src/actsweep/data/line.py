"""Equally spaced numbers with one label, or with a curve to fit.

With one unit per layer the numbers show what every layer does to them.
"""

from functools import lru_cache

import torch

from actsweep.data.dataset import Dataset, Examples, as_given, check_range


@lru_cache(maxsize=16)
def constant(low: float = -7.0, high: float = 7.0, points: int = 100, label: int = 1) -> Dataset:
    """`points` float64 inputs (N, 1) between low and high, all of class `label` of two."""
    check_range(0, 1, label=label)
    check_range(1, 1_000_000, points=points)
    check_range(-1e30, 1e30, float, low=low, high=high)
    inputs = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(1)
    pool = Examples(inputs, torch.full((points,), label))
    return Dataset(pool, None, ("y = 0", "y = 1"), (1,), as_given)


@lru_cache(maxsize=16)
def sine(points: int = 200, noise: float = 0.1, seed: int = 0) -> Dataset:
    """x in [−π, π] and y = sin x + noise · N(0, 1): a regression; a quarter of the points is the test set."""
    check_range(4, 1_000_000, points=points)
    check_range(0, 1e30, float, noise=noise)
    check_range(0, 2**32 - 1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.linspace(-torch.pi, torch.pi, points, dtype=torch.float64).unsqueeze(1)
    labels = inputs[:, 0].sin() + noise * torch.randn(points, generator=generator, dtype=torch.float64)
    everything = Examples(inputs, labels)
    order = torch.randperm(points, generator=generator)
    held_out = points // 4
    return Dataset(everything[order[held_out:]], everything[order[:held_out]], (), (1,), as_given)
