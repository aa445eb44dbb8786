"""Which of an epoch's batches make whole steps: what is left over tells less of the units than the others."""

import math
from collections.abc import Mapping, Sized
from typing import Any

import pytorch_lightning as L
from torch.utils.data import BatchSampler, DataLoader


def is_last_step(trainer: L.Trainer, module: L.LightningModule, batch_idx: int) -> bool:
    """Whether a batch is of its epoch's last whole step. Of data without a length it is known at the last batch."""
    if math.isinf(trainer.num_training_batches):
        return bool(trainer.is_last_batch)
    together, steps = _whole_steps(trainer, module)
    first = max(steps - 1, 0) * together
    return first <= batch_idx < first + together


def is_left_over(trainer: L.Trainer, module: L.LightningModule, batch_idx: int) -> bool:
    """Whether a batch lies behind its epoch's last whole step."""
    if math.isinf(trainer.num_training_batches):
        return False
    together, steps = _whole_steps(trainer, module)
    return 0 < steps * together <= batch_idx


def _whole_steps(trainer: L.Trainer, module: L.LightningModule) -> tuple[int, int]:
    """How many batches make a step, and how many steps of an epoch have as many examples as others: on a few left
    over, units look dead that aren't."""
    batches, together = int(trainer.num_training_batches), 1
    if module.automatic_optimization:
        together = trainer.accumulate_grad_batches
    return together, (batches - last_is_short(trainer.train_dataloader, batches)) // together


def last_is_short(loader: Any, batches: int) -> bool:
    """Whether the last of so many batches has fewer examples than the others; of several loaders, in any of them."""
    if isinstance(loader, Mapping | list | tuple):
        loaders = loader.values() if isinstance(loader, Mapping) else loader
        return any(last_is_short(each, batches) for each in loaders)
    batched = loader.batch_sampler if isinstance(loader, DataLoader) else None
    if type(batched) is not BatchSampler or not isinstance(batched.sampler, Sized) or len(batched) != batches:
        return False
    return batches * batched.batch_size > len(batched.sampler)
