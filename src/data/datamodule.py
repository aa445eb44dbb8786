"""The DataModule: a data set split, moved to the training device as it is, and cut into batches there.

Flow: **data** → network. No example is touched one by one: a batch is one gather of raw rows and one scaling.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as L
import torch
from hydra.utils import instantiate
from torch import Tensor

from src import config
from src.data.dataset import Dataset, Examples, Scale

Batch = tuple[Tensor, Tensor]
EVALUATION_BATCH = 2048


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """The order of `size` examples in one epoch: a function of seed and epoch alone, so that training can resume."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(size))


def split(pool: Examples, val_size: int, seed: int) -> tuple[Examples, Examples]:
    """Training and validation examples, in the order torch.utils.data.random_split deals them."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return pool[order[:-val_size]], pool[order[-val_size:]]


class ShuffledBatches:
    """The training batches of one epoch after another. An incomplete last batch is dropped.

    Lightning calls `set_epoch` because the object names itself as its `sampler`. With several processes, each takes
    its share of every batch, so that together they see the same batches as one process would.
    """

    def __init__(
        self, examples: Examples, scale: Scale, batch_size: int, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        if batch_size % ranks:
            raise ValueError(f"data.batch_size={batch_size}: must be divisible by the {ranks} devices")
        self.examples, self.scale, self.batch_size, self.seed = examples, scale, batch_size, seed
        self.share = slice(rank * batch_size // ranks, (rank + 1) * batch_size // ranks)
        self.epoch = 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        order = epoch_order(self.seed, self.epoch, len(self.examples)).to(self.examples.inputs.device)
        for rows in order.split(self.batch_size)[: len(self)]:
            mine = rows[self.share]
            yield self.scale(self.examples.inputs.index_select(0, mine)), self.examples.labels[mine]


@dataclass(frozen=True)
class OrderedBatches:
    """All examples once, in order, in large batches: for validation, test and counting."""

    examples: Examples
    scale: Scale
    batch_size: int = EVALUATION_BATCH

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.examples), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self.scale(self.examples.inputs[rows]), self.examples.labels[rows]


class DataModule(L.LightningDataModule):
    """Training, validation and test batches of a Dataset, on the device that trains.

    Raises ValueError where the sizes leave nothing to train on or to validate with.
    """

    def __init__(self, dataset: Dataset, batch_size: int, val_size: int, split_seed: int, seed: int) -> None:
        super().__init__()
        pool = len(dataset.pool)
        if not 1 <= val_size < pool:
            raise ValueError(
                f"data.val_size={val_size}: must be between 1 and {pool - 1}, the data has {pool} examples"
            )
        if batch_size > pool - val_size:
            raise ValueError(
                f"data.batch_size={batch_size}: must be at most {pool - val_size}, the training split's size"
            )
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.train, self.val = split(dataset.pool, val_size, split_seed)
        self.test = dataset.test

    def setup(self, stage: str) -> None:
        """Move the raw examples to the training device; on a CPU nothing is copied."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.train, self.val, self.test = (
            Examples(part.inputs.to(device), part.labels.to(device)) for part in (self.train, self.val, self.test)
        )

    def train_dataloader(self) -> ShuffledBatches:
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return ShuffledBatches(self.train, self.dataset.scale, self.batch_size, self.seed, rank, ranks)

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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # cut from tensors that are already there


def open_data(settings: config.Data, seed: int) -> DataModule:
    """The data set of these settings, split. Raises ValueError if it is missing, damaged or too small."""
    dataset = instantiate(settings.source.plain())
    return DataModule(dataset, settings.batch_size, settings.val_size, settings.split_seed, seed)
