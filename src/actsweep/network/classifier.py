"""The LightningModule: an MLP, its loss, its optimiser, and the training step.

Its hyper-parameters are plain data, so that a checkpoint loads with `weights_only=True` and
`Classifier.load_from_checkpoint` needs nothing but the file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from actsweep.config.descriptions import find
from actsweep.data.datamodule import Batch, BatchGroup
from actsweep.network import activations
from actsweep.network.lightning_loops import count_step
from actsweep.network.losses import LOSSES, Sums
from actsweep.network.mlp import MLP

Listeners = dict[str, list[Callable[..., None]]]
HEARD = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")  # callbacks' hooks within a step


def steps_are_plain(trainer: L.Trainer) -> bool:
    """Whether a step is all on one device and without loss scaling, so that Lightning adds only its hooks to it."""
    is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    return not is_scaled and isinstance(trainer.strategy, SingleDeviceStrategy)


def listeners(trainer: L.Trainer) -> Listeners:
    """Whom each hook calls. Asking every callback in every step takes longer than a small network's gradients."""
    found: Listeners = {hook: [] for hook in HEARD}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for hook in HEARD:
            hear = getattr(callback, hook)
            if getattr(hear, "__func__", None) is not getattr(L.Callback, hook):
                found[hook].append(hear)
    return found


class Classifier(L.LightningModule):
    """Trains an MLP.

    `network` are MLP's arguments; `optim` names an optimiser class and holds its arguments; `seed` is the run's; `data`
    names the data set, for whoever opens the checkpoint; `loss` is a name in LOSSES; gradients are clipped at
    `clip_val`, by norm or by value.

    Logs once per epoch {train,val}_{loss,accuracy}, and test_{loss,accuracy} in a test; a regression has no accuracy.
    Sums are kept on the device, because a `.item()` or a log call in every step would cost more than the step on a GPU.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        optim: Mapping[str, Any],
        seed: int = 0,
        data: str = "fashion_mnist",
        loss: str = "cross_entropy",
        clip_val: float | None = None,
        clip_algorithm: str = "norm",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False  # training_step makes many steps: Lightning's cost is per call
        self.network = MLP(**network)
        self.optim = dict(optim)
        self.seed = seed
        self.objective = LOSSES[loss]
        self.clip_val, self.clip_algorithm = clip_val, clip_algorithm
        self.monitor: dict[str, Any] = {"monitor": "val_loss", "mode": "min"}
        if self.objective.classifies:
            self.monitor = {"monitor": "val_accuracy", "mode": "max"}
        self.diverged = False
        self.running: dict[str, Sums] = {}
        self.means: dict[str, dict[str, float]] = {}  # by phase; what is logged, before Lightning rounds it to float32

    @classmethod
    def load_from_checkpoint(cls, *arguments: Any, allow: Sequence[str] = (), **named: Any) -> "Classifier":
        """Lightning's. The file may name torch's activations and this project's, and those in `allow`, nothing else."""
        with activations.from_a_file(tuple(allow)):
            return super().load_from_checkpoint(*arguments, **named)

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
        arguments = dict(self.optim)
        groups: list[dict[str, Any]] = [{"params": list(self.parameters())}]
        if arguments.get("weight_decay") != 0:
            weights = [tap.linear.weight for tap in self.network.taps()]
            known = {id(weight) for weight in weights}
            others = [parameter for parameter in self.parameters() if id(parameter) not in known]
            groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        optimizer: torch.optim.Optimizer = find(arguments.pop("_target_"))(groups, **arguments)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["diverged"] = self.diverged

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.diverged = checkpoint.get("diverged", False)
        # In completed epochs, as everywhere in the tables.
        self.loaded_epoch = checkpoint["epoch"] + 1 if checkpoint["global_step"] else 0

    def tested(self) -> dict[str, Any] | None:
        """The epoch whose weights were tested, and what the test found; None before a test."""
        return {"epoch": self.loaded_epoch} | self.means["test"] if "test" in self.means else None

    def training_step(self, steps: BatchGroup, batch_idx: int) -> None:
        """As many optimiser steps as `steps` has batches."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, L.core.optimizer.LightningOptimizer)
        parameters = list(self.parameters())
        update = self._lightning_update
        if steps_are_plain(self.trainer):
            update = partial(self._plain_update, listeners(self.trainer))
        for step, batch in enumerate(steps, start=self.trainer.global_step):
            self._seed_generators(step)
            loss, _ = self._step("train", batch)
            update(loss, optimizer)
            for parameter in parameters:
                parameter.grad = None  # what zero_grad does, without its bookkeeping

    def _lightning_update(self, loss: Tensor, optimizer: L.core.optimizer.LightningOptimizer) -> None:
        self.manual_backward(loss)
        optimizer.step()

    def _plain_update(self, heard: Listeners, loss: Tensor, optimizer: L.core.optimizer.LightningOptimizer) -> None:
        """The same without the detours; Lightning's count of the steps is kept."""
        for hear in heard["on_before_backward"]:
            hear(self.trainer, self, loss)
        loss.backward()
        for hear in heard["on_after_backward"]:
            hear(self.trainer, self)
        for hear in heard["on_before_optimizer_step"]:
            hear(self.trainer, self, optimizer.optimizer)
        self.on_before_optimizer_step(optimizer.optimizer)
        optimizer.optimizer.step()
        count_step(self.trainer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.clip_val:
            self.clip_gradients(optimizer, self.clip_val, self.clip_algorithm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The outputs, for whoever looks at single predictions."""
        return self._step("test", batch)[1]

    def on_train_epoch_start(self) -> None:
        self.running["train"] = Sums((), self.device, self.objective.predict)

    def on_validation_epoch_start(self) -> None:
        self.running["val"] = Sums((), self.device, self.objective.predict)

    def on_test_epoch_start(self) -> None:
        self.running["test"] = Sums((), self.device, self.objective.predict)

    def on_train_epoch_end(self) -> None:
        self._log_means("train")

    def on_validation_epoch_end(self) -> None:
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        self._log_means("test")

    def _seed_generators(self, step: int) -> None:
        # For activations that draw random numbers: what they draw depends on the step alone, also after a resume.
        seed = (self.seed * 1_000_003 + step) % 2**32
        # Not torch.manual_seed: where CUDA is not in use, that keeps a stack trace of every call.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _step(self, phase: str, batch: Batch) -> tuple[Tensor, Tensor]:
        x, labels = batch
        outputs = self(x)
        loss = self.objective.value(outputs, labels)
        self.running[phase].add(loss, outputs, labels)
        return loss, outputs

    def _log_means(self, phase: str) -> None:
        sums = self.trainer.strategy.reduce(self.running[phase].sums(), reduce_op="sum")
        assert isinstance(sums, Tensor)
        if not sums[2]:
            return  # an untrained network has no training loss
        loss, accuracy = (sums[:2] / sums[2]).tolist()
        self.means[phase] = {f"{phase}_loss": loss}
        if self.objective.classifies:
            self.means[phase][f"{phase}_accuracy"] = accuracy
        # "step" tells the loggers the number of optimiser steps; Lightning would count calls of training_step.
        now = {"step": float(self.trainer.global_step), "epoch": float(self.trainer.current_epoch)}
        self.log_dict(self.means[phase] | now, sync_dist=True)
        if not math.isfinite(loss) and phase != "test":
            self.diverged = True
            self.trainer.should_stop = True
