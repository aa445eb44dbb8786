"""What every data set module returns: all examples as tensors, and how to turn raw inputs into numbers.

Flow: config → **data** → network.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """N labelled examples: raw inputs (N, D), images as uint8, and labels (N,): class numbers in int64, or reals."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> "Examples":
        return Examples(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True)
class Scale:
    """Raw value → number: (value / divisor − mean) / std, in float32.

    The order of operations is that of torchvision's ToTensor and Normalize, so the numbers are identical to theirs.
    """

    divisor: float
    mean: float
    std: float

    def __call__(self, raw: Tensor) -> Tensor:
        return raw.float().div_(self.divisor).sub_(self.mean).div_(self.std)


def as_given(raw: Tensor) -> Tensor:
    """The scale of inputs that are numbers already."""
    return raw


@dataclass(frozen=True)
class Dataset:
    """A data set as published: a pool for training and validation, a test set, and what they show.

    Without a test set nothing can be held out for it: the pool is what is tested.
    """

    pool: Examples
    test: Examples | None
    classes: tuple[str, ...]  # none where the labels are real numbers: a regression
    shape: tuple[int, ...]  # of one input, to draw it
    scale: Callable[[Tensor], Tensor]
    published: bool = False

    @cached_property
    def digest(self) -> str:
        """TEMP: replaced by the helper's."""
        found = hashlib.sha256()
        for part in (self.pool, self.test):
            for each in (part.inputs, part.labels) if part else ():
                found.update(each.contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def input_size(self) -> int:
        return self.pool.inputs.shape[1]


@lru_cache(maxsize=2)  # the runs of a sweep share one copy
def split(pool: Examples, val_size: int, seed: int) -> tuple[Examples, Examples]:
    """Training and validation examples, in the order torch.utils.data.random_split deals them.

    `val_size` 0 holds nothing out: training and validation see the whole pool, in its own order.
    """
    if val_size == 0:
        return pool, pool
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order[:-val_size]], pool[order[-val_size:]]
