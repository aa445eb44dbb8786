"""The DataModule: a data set split, moved to the training device as it is, and cut into batches there."""

from dataclasses import replace
from typing import Any

import pytorch_lightning as L
import torch

from actsweep.config import schema
from actsweep.data.batches import SplitData, TrainingBatches, described
from actsweep.data.dataset import Examples


class DataModule(SplitData, L.LightningDataModule):
    """The batches, on the device that trains."""

    def setup(self, stage: str) -> None:
        """Move the raw examples to the training device; on a CPU nothing is copied."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.train, self.val, self.test = (
            Examples(part.inputs.to(device), part.labels.to(device)) for part in (self.train, self.val, self.test)
        )

    def train_dataloader(self) -> TrainingBatches:
        if self.trainer is None:
            return super().train_dataloader()
        sampling = replace(self.sampling, in_order=self.trainer.overfit_batches > 0)  # type: ignore[attr-defined]
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        return TrainingBatches(self.train, self.dataset.scale, sampling, rank, ranks)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # cut from tensors that are already there


def open_data(settings: schema.Data, seed: int) -> DataModule:
    """The data set of these settings, split. Raises UserError if it is missing, damaged, unfit or too small."""
    return DataModule(*described(settings, seed))
