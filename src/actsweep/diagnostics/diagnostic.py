"""The schedule that all diagnostics share, and how they declare and publish what they measure.

Times are counted in completed epochs: 0 is the initialisation.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import pytorch_lightning as L
import torch
from torch import Tensor

from actsweep.diagnostics.observation import Layer, observe
from actsweep.errors import UserError


@dataclass(frozen=True)
class Quantity:
    """What a number means, so that tables, TensorBoard and reports can show it without knowing the diagnostic."""

    name: str
    unit: str
    scale: Literal["linear", "log"]
    definition: str
    kind: Literal["scalar", "histogram"] = "scalar"


_latest: WeakKeyDictionary[L.LightningModule, tuple[Any, list[Layer]]] = WeakKeyDictionary()


def fixed_batch(trainer: L.Trainer, first_batch: Any, size: int) -> Any:
    """The batch that is looked at: the datamodule's `probe(size)`, else the first batch that is trained on."""
    probe = getattr(trainer.datamodule, "probe", None)  # type: ignore[attr-defined]
    return probe(size) if callable(probe) else first_batch


def probe_loss(module: L.LightningModule, batch: Any) -> Tensor:
    """The module's `probe_loss(batch)`, else what its training_step returns. A `loss` may be anything, such as a
    criterion of predictions and labels."""
    if callable(own := getattr(module, "probe_loss", None)):
        return own(batch)
    outputs = module.training_step(batch, 0)
    loss = outputs["loss"] if isinstance(outputs, dict) else outputs
    assert isinstance(loss, Tensor)
    return loss


def check_counts(owner: object, **given: int | None) -> None:
    """Raise UserError where an argument of a callback is less than 1."""
    for name, value in given.items():
        if value is not None and value < 1:
            raise UserError(f"{type(owner).__name__}.{name}={value}: must be at least 1")


class Diagnostic(L.Callback):
    """Measures every layer on a fixed batch: at initialisation, then every n epochs, or every n steps.

    A subclass lists its `quantities` and says in `measure` how they follow from a Layer. All diagnostics of a trainer
    share one pass over the batch, and none changes what training does. Values go to every logger of the trainer as
    `quantity/layer`.
    """

    quantities: ClassVar[tuple[Quantity, ...]]

    def __init__(self, every_n_epochs: int = 1, every_n_steps: int | None = None, probe_size: int = 1024) -> None:
        check_counts(self, every_n_epochs=every_n_epochs, every_n_steps=every_n_steps, probe_size=probe_size)
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.probe_size = probe_size
        self._batch: Any = None

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        """Values of shape (K,) by quantity name, of those scalar quantities that this layer has."""
        return {}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batch is None:
            self._batch = fixed_batch(trainer, batch, self.probe_size)
            if trainer.global_step == 0:
                self.record(trainer, pl_module, epoch=0)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self.record(trainer, pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if trainer.global_step == 0:
            return  # an untrained network: measured as epoch 0 already
        if not self.every_n_steps and epoch % self.every_n_epochs == 0:
            self.record(trainer, pl_module, epoch)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batch = None
        _latest.pop(pl_module, None)

    def layers(self, pl_module: L.LightningModule) -> list[Layer]:
        """What the fixed batch shows now, from the pass that another diagnostic just made where there is one."""
        # The step, because fused optimisers don't count as in-place changes of a parameter; both, because weights may
        # be loaded between two fits.
        versions = [parameter._version for parameter in pl_module.parameters()]
        state = self.probe_size, pl_module.trainer.global_step, versions
        if pl_module not in _latest or _latest[pl_module][0] != state:
            _latest[pl_module] = state, observe(pl_module, lambda: probe_loss(pl_module, self._batch))
        return _latest[pl_module][1]

    def record(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Measure every layer and publish."""
        if trainer.is_global_zero:
            measured = {layer.name: self.measure(layer) for layer in self.layers(pl_module)}
            publish(trainer, measured, epoch)


def publish_table(trainer: L.Trainer, name: str, columns: dict[str, Any]) -> None:
    """Send rows, as values by column, to those of the trainer's loggers that keep tables."""
    for logger in trainer.loggers:
        if callable(log_table := getattr(logger, "log_table", None)):
            log_table(name, columns)


def by_network(measured: dict[str, dict[str, Tensor]]) -> list[dict[str, float]]:
    """Layer → quantity → (K,) values as each network's values by `quantity/layer`: one transfer from the device."""
    names = [f"{quantity}/{layer}" for layer, values in measured.items() for quantity in values]
    values = [each.detach().double() for quantities in measured.values() for each in quantities.values()]
    return [dict(zip(names, row, strict=True)) for row in torch.stack(values, dim=1).tolist()] if values else []


def publish(trainer: L.Trainer, measured: dict[str, dict[str, Tensor]], epoch: int) -> None:
    """Send layer → quantity → (1,) values to the trainer's loggers."""
    for metrics in by_network(measured):
        send_layers(trainer, metrics, epoch)


def send_layers(trainer: L.Trainer, metrics: dict[str, float], epoch: int) -> None:
    """Send one network's values by `quantity/layer` to the trainer's loggers."""
    for logger in trainer.loggers:
        if callable(log_layers := getattr(logger, "log_layers", None)):
            log_layers(metrics, epoch, trainer.global_step)
        else:
            logger.log_metrics(metrics, trainer.global_step)
