"""What every data set module returns: all examples as tensors, and how to turn raw inputs into numbers.

Flow: config → **data** → network.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """N labelled examples: raw inputs (N, D), usually uint8, and class numbers (N,) int64."""

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


@dataclass(frozen=True)
class Dataset:
    """A data set as published: a pool for training and validation, a test set, and what they show."""

    pool: Examples
    test: Examples
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one input, to draw it
    scale: Scale

    @property
    def input_size(self) -> int:
        return self.pool.inputs.shape[1]
