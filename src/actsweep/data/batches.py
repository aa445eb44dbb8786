"""A data set split, and cut into batches. Without Lightning, so that a mistake is answered before that is imported.

No example is touched one by one: a batch is one gather of raw rows and one scaling.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from actsweep.config import schema
from actsweep.data.checked import opened
from actsweep.data.dataset import Dataset, Examples, split, standardised
from actsweep.errors import UserError

Batch = tuple[Tensor, Tensor]
EVALUATION_BATCH = 2048


@dataclass(frozen=True)
class Sampling:
    """Which examples the steps of an epoch see: a function of (seed, epoch) alone, so that training can resume.

    `batch_size` examples of a fresh permutation per step, an incomplete last batch dropped; with `replacement`,
    drawn anew for every step; `in_order`: the same examples in every epoch; "all": every step sees every example.
    """

    batch_size: int | Literal["all"]
    replacement: bool
    steps_per_epoch: int | None
    seed: int
    in_order: bool = False

    def steps(self, size: int) -> int:
        """Steps of one epoch over `size` examples."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        return 1 if self.batch_size == "all" else size // self.batch_size

    def rows(self, epoch: int, size: int) -> Tensor:
        """The rows of each step of an epoch, (steps, batch)."""
        assert self.batch_size != "all"
        shape = self.steps(size), self.batch_size
        generator = np.random.default_rng([self.seed, epoch])
        if self.in_order:
            drawn = np.arange(math.prod(shape)) % size
        elif self.replacement:
            drawn = generator.integers(0, size, shape)
        else:
            drawn = generator.permutation(size)[: math.prod(shape)]
        return torch.from_numpy(drawn.reshape(shape))


class TrainingBatches:
    """The batches of one epoch after another, each cut from memory when it is asked for.

    Lightning calls `set_epoch` because the object names itself as its `sampler`. With several processes, each takes
    its share of every batch, so that together they see the same batches as one process would.
    """

    def __init__(
        self, examples: Examples, scale: Callable[[Tensor], Tensor], sampling: Sampling, rank: int = 0, ranks: int = 1
    ) -> None:
        self.examples, self.scale, self.sampling = examples, scale, sampling
        batch = ranks if sampling.batch_size == "all" else sampling.batch_size
        if batch % ranks:
            raise UserError(f"data.batch_size={batch}: must be divisible by the {ranks} devices")
        self.share = slice(rank * batch // ranks, (rank + 1) * batch // ranks)
        self.epoch = 0
        if not sampling.in_order:
            self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.sampling.steps(len(self.examples))

    def __iter__(self) -> Iterator[Batch]:
        if self.sampling.batch_size == "all":
            yield from [(self.scale(self.examples.inputs), self.examples.labels)] * len(self)
            return
        device, labels = self.examples.inputs.device, self.examples.labels
        for rows in self.sampling.rows(self.epoch, len(self.examples))[:, self.share].to(device):
            yield self.scale(self.examples.inputs.index_select(0, rows)), labels[rows]


@dataclass(frozen=True)
class OrderedBatches:
    """All examples once, in order, in large batches: for validation, test and counting."""

    examples: Examples
    scale: Callable[[Tensor], Tensor]
    batch_size: int = EVALUATION_BATCH

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.examples), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self.scale(self.examples.inputs[rows]), self.examples.labels[rows]


def _check_sizes(pool: int, sampling: Sampling, val_size: int) -> None:
    batch_size, left = sampling.batch_size, pool - val_size
    if val_size >= pool:
        raise UserError(f"data.val_size={val_size}: must be between 0 and {pool - 1}, the data has {pool} examples")
    if batch_size == "all":
        if sampling.replacement:
            nothing = "with data.batch_size=all nothing is drawn"
            raise UserError(f"data.replacement=true: {nothing}; give data.replacement=false")
    elif sampling.replacement:
        if not sampling.steps(left):
            raise UserError(
                f"data.steps_per_epoch=null: {left} training examples make no batch of {batch_size}; give "
                "data.steps_per_epoch=N, or a smaller data.batch_size"
            )
    elif batch_size > left:
        raise UserError(f"data.batch_size={batch_size}: must be at most {left}, the training split's size")
    elif sampling.steps(left) > left // batch_size:
        raise UserError(
            f"data.steps_per_epoch={sampling.steps_per_epoch}: must be at most {left // batch_size}, one pass "
            "through the training split; or draw with data.replacement=true"
        )


class SplitData:
    """Training, validation and test batches of a Dataset.

    Raises UserError where the sizes leave nothing to train on or to validate with.
    """

    def __init__(
        self, dataset: Dataset, sampling: Sampling, val_size: int, split_seed: int, standardise: bool = False
    ) -> None:
        super().__init__()
        _check_sizes(len(dataset.pool), sampling, val_size)
        self.train, self.val = split(dataset.pool, val_size, split_seed)
        scale = standardised(self.train, dataset) if standardise else dataset.scale
        self.dataset, self.sampling = replace(dataset, scale=scale), sampling
        self.test = dataset.test or dataset.pool
        if dataset.classes and len(absent := np.setdiff1d(dataset.pool.labels, self.train.labels)):
            raise UserError(
                f"data.val_size={val_size}: leaves no example of {dataset.classes[absent[0]]} to train on; give a "
                f"smaller one, or another data.split_seed than {split_seed}"
            )

    @property
    def examples_per_step(self) -> int:
        return len(self.train) if self.sampling.batch_size == "all" else self.sampling.batch_size

    def train_dataloader(self) -> TrainingBatches:
        return TrainingBatches(self.train, self.dataset.scale, self.sampling)

    def val_dataloader(self) -> OrderedBatches:
        return OrderedBatches(self.val, self.dataset.scale)

    def test_dataloader(self) -> OrderedBatches:
        return OrderedBatches(self.test, self.dataset.scale)

    def all_training_batches(self) -> OrderedBatches:
        """The whole training split once, in order: what the dead-unit counts look at."""
        return OrderedBatches(self.train, self.dataset.scale)

    def probe(self, size: int) -> Batch:
        """The first `size` examples of the training split, the same for every seed and activation."""
        return next(iter(OrderedBatches(self.train[:size], self.dataset.scale, size)))


def described(settings: schema.Data, seed: int) -> tuple[Dataset, Sampling, int, int, bool]:
    """SplitData's arguments. Raises UserError if the data set is missing, damaged or unfit."""
    sampling = Sampling(settings.batch_size, settings.replacement, settings.steps_per_epoch, seed)
    found = opened(settings.source.plain())
    return found, sampling, settings.val_size, settings.split_seed, settings.standardise
