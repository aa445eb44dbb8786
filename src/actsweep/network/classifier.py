"""The LightningModule: an MLP, its loss, its optimiser; a batch is a step, and the rest is Lightning's.

Its hyper-parameters are plain data, so that a checkpoint loads with `weights_only=True` and
`Classifier.load_from_checkpoint` needs nothing but the file.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as L
import torch
from torch import Tensor

from actsweep.config.descriptions import instantiate, taken
from actsweep.data.batches import Batch
from actsweep.network import activations
from actsweep.network.losses import LOSSES, Sums
from actsweep.network.mlp import MLP


class Classifier(L.LightningModule):
    """Trains an MLP.

    `network` are MLP's arguments; `optim` names an optimiser class and holds its arguments, and `l2`: λ of a penalty
    λ/(2B) Σw² over the linear layers' weights, for the B examples of a batch (scikit-learn's alpha); `seed` is the
    run's; `data` names the data set, for whoever opens the checkpoint; `loss` is a name in LOSSES;
    `standardised`: what data.standardise made of the training examples, likewise.

    Logs once per epoch {train,val}_{loss,accuracy}, and test_{loss,accuracy} in a test; a regression has no accuracy.
    Sums are kept on the device, because a `.item()` or a log call in every step would cost more than the step on a GPU.
    """

    is_trained = True  # False: an epoch ends before its first step

    def __init__(
        self,
        network: Mapping[str, Any],
        optim: Mapping[str, Any],
        seed: int = 0,
        data: str = "fashion_mnist",
        loss: str = "cross_entropy",
        standardised: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = MLP(**network)
        self.optim = dict(optim)
        self.l2 = float(self.optim.pop("l2", 0.0))
        self.examples = 1  # of a step
        self.seed = seed
        self.objective = LOSSES[loss]
        self.monitor: dict[str, Any] = {"monitor": "val_loss", "mode": "min"}
        if self.objective.classifies:
            self.monitor = {"monitor": "val_accuracy", "mode": "max"}
        self.diverged = False
        self.running: dict[str, Sums] = {}  # by phase, of the epoch under way
        self.means: dict[str, dict[str, float]] = {}  # by phase; what is logged, before Lightning rounds it to float32

    @classmethod
    def load_from_checkpoint(cls, *arguments: Any, allow: Sequence[str] = (), **named: Any) -> "Classifier":
        """Lightning's. The file may name torch's activations and this project's, and those in `allow`, nothing else."""
        with activations.from_a_file(tuple(allow)):
            return super().load_from_checkpoint(*arguments, **named).float()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        return outputs

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss over the batch, a scalar: in nats, or in squared label units."""
        x, labels = batch
        return self.objective.value(self(x), labels)

    probe_loss = loss  # by which diagnostics know it

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weight decay is for the linear layers' weights, not for biases and what norms and activations learn."""
        arguments = taken(self.optim)
        groups: list[dict[str, Any]] = [{"params": list(self.parameters())}]
        if arguments.get("weight_decay", 0) != 0:
            weights = self._weights()
            known = {id(weight) for weight in weights}
            others = [parameter for parameter in self.parameters() if id(parameter) not in known]
            groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        optimizer: torch.optim.Optimizer = instantiate(arguments, groups)
        return optimizer

    def _weights(self) -> list[Tensor]:
        return [tap.linear.weight for tap in self.network.taps()]

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the penalty's gradient: once a step, before clipping, after diagnostics have seen that of the loss."""
        for weight in self._weights() if self.l2 else ():
            if not weight.requires_grad:  # a callback has frozen it
                continue
            own = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = own.add_(weight, alpha=self.l2 / self.examples)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["diverged"] = self.diverged

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.diverged = checkpoint.get("diverged", False)
        # In completed epochs, as everywhere in the tables.
        self.loaded_epoch = checkpoint["epoch"] + 1 if checkpoint["global_step"] else 0

    def tested(self) -> dict[str, Any] | None:
        """The epoch whose weights were tested, and what the test found; None before a test."""
        return {"epoch": self.loaded_epoch} | self.means["test"] if "test" in self.means else None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        """Seed activations that draw random numbers: what they draw depends on the step alone, also after a resume."""
        step = self.trainer.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        seed = (self.seed * 1_000_003 + step) % 2**32
        # Not torch.manual_seed: where CUDA is not in use, that keeps a stack trace of every call.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        return None if self.is_trained else -1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss, without the penalty, whose gradient is added afterwards; train_loss has both."""
        self.examples = len(batch[1]) * self.trainer.world_size * self.trainer.accumulate_grad_batches
        return self._step("train", batch)[0]

    def _penalty(self) -> Tensor | float:
        if not self.l2:
            return 0.0
        squares = [weight.detach().square().sum() for weight in self._weights()]
        return self.l2 / (2 * self.examples) * torch.stack(squares).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The outputs, for whoever looks at single predictions."""
        return self._step("test", batch)[1]

    def on_train_epoch_end(self) -> None:
        self._log_means("train")

    def on_validation_epoch_end(self) -> None:
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        self._log_means("test")

    def _step(self, phase: str, batch: Batch) -> tuple[Tensor, Tensor]:
        x, labels = batch
        outputs = self(x)
        loss = self.objective.value(outputs, labels)
        if phase not in self.running:
            self.running[phase] = Sums((), self.device, self.objective.predict)
        self.running[phase].add(loss + self._penalty() if phase == "train" else loss, outputs, labels)
        return loss, outputs

    def _log_means(self, phase: str) -> None:
        if phase not in self.running:
            return  # an untrained network has no training loss
        sums = self.trainer.strategy.reduce(self.running.pop(phase).sums(), reduce_op="sum")
        assert isinstance(sums, Tensor)
        loss, accuracy = (sums[:2] / sums[2]).tolist()
        self.means[phase] = {f"{phase}_loss": loss}
        if self.objective.classifies:
            self.means[phase][f"{phase}_accuracy"] = accuracy
        # "step" tells the loggers the number of optimiser steps; Lightning would give that of the last one.
        now = {"step": float(self.trainer.global_step), "epoch": float(self.trainer.current_epoch)}
        self.log_dict(self.means[phase] | now, sync_dist=True)
        if not math.isfinite(loss) and phase != "test" and not self.trainer.sanity_checking:
            self.diverged = True
            self.trainer.should_stop = True
