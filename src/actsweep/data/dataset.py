"""What every data set module returns: all examples as tensors, and how to turn raw inputs into numbers.

torch is imported by what needs it: what a report shows of a data set doesn't.
"""

import hashlib
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from actsweep.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SCALED = 256  # examples whose scaled values stand in a digest


@dataclass(frozen=True, eq=False)
class Examples:
    """N labelled examples: raw inputs (N, D), images as uint8, and labels (N,): class numbers in int64, or reals."""

    inputs: "Tensor"
    labels: "Tensor"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: "Tensor | slice") -> "Examples":
        return Examples(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True)
class Scale:
    """Raw value → number: (value / divisor − mean) / std, in float32.

    The order of operations is that of torchvision's ToTensor and Normalize, so the numbers are identical to theirs.
    """

    divisor: float
    mean: float
    std: float

    def __call__(self, raw: "Tensor") -> "Tensor":
        import torch

        return raw.to(torch.float32, copy=True).div_(self.divisor).sub_(self.mean).div_(self.std)


def as_given(raw: "Tensor") -> "Tensor":
    """The scale of inputs that are numbers already."""
    return raw


@dataclass(frozen=True, eq=False)
class Standardised:
    """Numbers → (number − mean) / std, each of the D inputs by its own: `data.standardise`."""

    numbers: Callable[["Tensor"], "Tensor"]
    shift: "Tensor"  # − mean / std, (D,)
    factor: "Tensor"  # 1 / std
    there: dict["torch.device", tuple["Tensor", "Tensor"]] = field(default_factory=dict)  # the two, where needed

    def __call__(self, raw: "Tensor") -> "Tensor":
        import torch

        numbers = self.numbers(raw)
        if numbers.device not in self.there:
            self.there[numbers.device] = self.shift.to(numbers.device), self.factor.to(numbers.device)
        shift, factor = self.there[numbers.device]
        return torch.addcmul(shift, numbers, factor)

    def plain(self) -> dict[str, "Tensor"]:
        """What the training examples fix."""
        return {"shift": self.shift, "factor": self.factor}


def unscaled(scale: Callable[["Tensor"], "Tensor"]) -> Callable[["Tensor"], "Tensor"]:
    """What is standardised: numbers as they are, where their scale is one that standardising only undoes."""
    import torch

    return torch.Tensor.float if type(scale) is Scale else scale


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as published: a pool for training and validation, a test set, and what they show.

    Without a test set nothing can be held out for it: the pool is what is tested. checked.py says what a data set
    of one's own may be, and makes it this.
    """

    pool: Examples
    test: Examples | None
    classes: tuple[str, ...]  # none where the labels are real numbers: a regression
    shape: tuple[int, ...]  # of one input, to draw it
    scale: Callable[["Tensor"], "Tensor"]
    expected: str | None = None  # digest of the published content

    @property
    def input_size(self) -> int:
        return self.pool.inputs.shape[1]

    @property
    def published(self) -> bool:
        """Whether this is the published content, and not a part or a variant of it."""
        return self.expected is not None and self.digest == self.expected

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in hexadecimal: what the data are, not where they lie.

        A scale of one's own counts by what it makes of the first examples.
        """
        scale = _numbers(self.scale)
        content = hashlib.sha256(repr((self.classes, self.shape, scale)).encode())
        parts = [self.pool, *([self.test] if self.test else [])]
        tensors = [tensor for part in parts for tensor in (part.inputs, part.labels)]
        if scale is None:
            tensors.append(self.scale(self.pool.inputs[:SCALED]))
        for tensor in tensors:
            content.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            content.update(raw_bytes(tensor))
        return content.hexdigest()


def raw_bytes(tensor: "Tensor") -> memoryview:
    """What a tensor on the CPU holds."""
    import torch

    return tensor.contiguous().view(torch.uint8).numpy().data  # NumPy has no bfloat16


def _numbers(scale: object) -> list[float] | None:
    """What a Scale is made of; None for one of one's own, also for a Scale with a number for each input."""
    try:
        return [float(number) for number in astuple(scale)] if type(scale) is Scale else None
    except (TypeError, ValueError, RuntimeError):
        return None


@lru_cache(maxsize=2)  # the runs of a sweep share one
def standardised(examples: Examples, dataset: Dataset) -> Standardised:
    """A scale that gives every input of these examples of a data set mean 0 and variance 1, one that never varies 0."""
    import torch

    numbers = unscaled(dataset.scale)
    first = numbers(examples.inputs[:1])

    def total(of: Callable[["Tensor"], "Tensor"]) -> "Tensor":
        return torch.stack([of(numbers(part)).sum(0) for part in examples.inputs.split(2048)]).sum(0)

    centre = total(lambda x: x.double()) / len(examples)
    factor = (total(lambda x: (x.double() - centre).square()) / len(examples)).rsqrt()
    varies = total(lambda x: x != first) > 0  # a variance of rounding alone is none, nor is one too small for the type
    factor = factor.where(varies & factor.to(first.dtype).isfinite(), 1.0)
    return Standardised(numbers, (-centre * factor).to(first.dtype), factor.to(first.dtype))


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a report shows of a data set of images, read without torch, whose import takes longer than to draw them.

    A module has `pictures` beside `load`, with the same arguments, where it can.
    """

    test: npt.NDArray[Any]  # raw inputs (N, D), of the pool where nothing is held out
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one input


def check_range(low: float, high: float, kind: type[int] | type[float] = int, /, **given: object) -> None:
    """Raise UserError unless each argument of a data set is a number of this kind, from `low` to `high`."""
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | kind) or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise UserError(f"data.source.{key}={value}: must be {what} from {low} to {high}")


@lru_cache(maxsize=2)  # the runs of a sweep share one copy
def split(pool: Examples, val_size: int, seed: int) -> tuple[Examples, Examples]:
    """Training and validation examples, in the order torch.utils.data.random_split deals them.

    `val_size` 0 holds nothing out: training and validation see the whole pool, in its own order.
    """
    import torch

    if val_size == 0:
        return pool, pool
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order[:-val_size]], pool[order[-val_size:]]
