"""A few of the images that the network learns from."""

import pytorch_lightning as L
import torch
from torch import Tensor

from actsweep.data.dataset import Dataset
from actsweep.diagnostics.diagnostic import receiving


def sample_grid(dataset: Dataset, per_class: int = 6) -> Tensor | None:
    """The first images of each class, a row each, as (height, width) in [0, 1]; None where inputs are no images."""
    if len(dataset.shape) != 2 or dataset.pool.inputs.dtype != torch.uint8 or not dataset.classes:
        return None
    inputs, labels = dataset.pool.inputs, dataset.pool.labels
    rows = []
    for label in range(len(dataset.classes)):
        chosen = (labels == label).nonzero()[:per_class, 0]
        images = torch.zeros(per_class, *dataset.shape)
        images[: len(chosen)] = inputs[chosen].view(-1, *dataset.shape).float()
        rows.append(torch.cat(list(images), dim=1))
    return torch.cat(rows) / inputs.max()


class Samples(L.Callback):
    """Sends the grid to those of the trainer's loggers that take images."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        dataset = getattr(trainer.datamodule, "dataset", None)  # type: ignore[attr-defined]
        grid = sample_grid(dataset) if trainer.is_global_zero and isinstance(dataset, Dataset) else None
        if grid is None or trainer.global_step:
            return  # a resumed run has sent them
        for log_image in receiving(trainer, "log_image"):
            log_image("samples", grid)
