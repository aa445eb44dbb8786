"""The LightningModule: an MLP, its loss and its optimiser.

Flow: network → **training** → diagnostics. Its hyper-parameters are plain data, so that a checkpoint loads with
`weights_only=True` and `Classifier.load_from_checkpoint` needs nothing but the file.
"""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as L
import torch
import torch.nn.functional as F
from hydra.utils import get_class
from torch import Tensor

from src.mlp import MLP

Batch = tuple[Tensor, Tensor]


class Running:
    """Sums over the batches of one epoch: loss in nats × examples, correct predictions, examples."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.correct = torch.zeros((), device=device, dtype=torch.int64)
        self.examples = 0

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.loss.add_(mean_loss, alpha=len(labels))
        self.correct += (logits.argmax(1) == labels).sum()
        self.examples += len(labels)

    def sums(self) -> Tensor:
        examples = torch.tensor(self.examples, device=self.loss.device)
        return torch.stack([self.loss.double(), self.correct.double(), examples.double()])


class Classifier(L.LightningModule):
    """Trains an MLP with cross-entropy.

    `network` are MLP's arguments; `optim` names an optimiser class and holds its arguments; `seed` is the run's; `data`
    names the data set, for whoever opens the checkpoint.

    Logs once per epoch {train,val}_{loss,accuracy}, and test_{loss,accuracy} in a test. Sums are kept
    on the device, because a `.item()` or a log call in every step would cost more than the step on a GPU.
    """

    def __init__(
        self, network: Mapping[str, Any], optim: Mapping[str, Any], seed: int = 0, data: str = "fashion_mnist"
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = MLP(**network)
        self.optim = dict(optim)
        self.seed = seed
        self.diverged = False
        self.running: dict[str, Running] = {}
        self.means: dict[str, dict[str, float]] = {}  # by phase; what is logged, before Lightning rounds it to float32

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats, a scalar."""
        x, labels = batch
        return F.cross_entropy(self(x), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        arguments = dict(self.optim)
        optimizer: torch.optim.Optimizer = get_class(arguments.pop("_target_"))(self.parameters(), **arguments)
        return optimizer

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loaded_epoch = checkpoint["epoch"] + 1  # in completed epochs, as everywhere in the tables

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # For activations that draw random numbers: what they draw depends on the step alone, also after a resume.
        seed = (self.seed * 1_000_003 + self.trainer.global_step) % 2**32
        # Not torch.manual_seed: where CUDA is not in use, that keeps a stack trace of every call.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("test", batch)

    def on_train_epoch_start(self) -> None:
        self.running["train"] = Running(self.device)

    def on_validation_epoch_start(self) -> None:
        self.running["val"] = Running(self.device)

    def on_test_epoch_start(self) -> None:
        self.running["test"] = Running(self.device)

    def on_train_epoch_end(self) -> None:
        self._log_means("train")

    def on_validation_epoch_end(self) -> None:
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        self._log_means("test")

    def _step(self, phase: str, batch: Batch) -> Tensor:
        x, labels = batch
        logits = self(x)
        loss = F.cross_entropy(logits, labels)
        self.running[phase].add(loss.detach(), logits.detach(), labels)
        return loss

    def _log_means(self, phase: str) -> None:
        sums = self.trainer.strategy.reduce(self.running[phase].sums(), reduce_op="sum")
        assert isinstance(sums, Tensor)
        loss, accuracy = (sums[:2] / sums[2]).tolist()
        self.means[phase] = {f"{phase}_loss": loss, f"{phase}_accuracy": accuracy}
        self.log_dict(self.means[phase], sync_dist=True)
        if not math.isfinite(loss) and phase != "test":
            self.diverged = True
            self.trainer.should_stop = True
