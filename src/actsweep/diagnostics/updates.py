"""How far one optimiser step moves each layer's weights, relative to their size.

About 1e-3 is usual for a layer that learns; far less means that it stands still.
"""

from typing import Any

import pytorch_lightning as L
from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, publish
from actsweep.diagnostics.observation import find_taps


def update_ratio(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖₂ / ‖before‖₂ of each network's weights: two of (K, out, in) → (K,)."""
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


class UpdateRatio(Diagnostic):
    """The relative step of each layer: the first one (epoch 0), then each epoch's last (or every n-th)."""

    quantities = (
        Quantity("update_ratio", "1", "log", "‖ΔW‖₂ / ‖W‖₂ of a step: the first (epoch 0), each epoch's last"),
    )

    _before: dict[str, Tensor] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero and self._epochs(trainer, batch_idx, trainer.global_step):
            self._before = {tap.name: tap.linear.weight.detach().clone() for tap in find_taps(pl_module)}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._before is None or trainer.global_step == 0:
            return
        ratios = {
            tap.name: {"update_ratio": update_ratio(self._before[tap.name][None], tap.linear.weight.detach()[None])}
            for tap in find_taps(pl_module)
        }
        for epoch in self._epochs(trainer, batch_idx, trainer.global_step - 1):
            publish(trainer, ratios, epoch)
        self._before = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pass  # the epoch's last step was recorded when it was made

    def _epochs(self, trainer: L.Trainer, batch_idx: int, steps_done: int) -> list[int]:
        is_last = batch_idx == int(trainer.num_training_batches) - 1
        return self.recorded_under(steps_done, trainer.current_epoch, is_last)

    def recorded_under(self, done: int, epoch: int, is_last: bool) -> list[int]:
        """Under which epoch numbers the step after `done` steps and `epoch` whole epochs is recorded; none if it isn't.

        `is_last`: it is its epoch's last.
        """
        if self.every_n_steps:
            return [epoch] if done % self.every_n_steps == 0 else []
        return [0] * (done == 0) + [epoch + 1] * (is_last and (epoch + 1) % self.every_n_epochs == 0)
