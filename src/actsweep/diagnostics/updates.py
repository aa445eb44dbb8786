"""How far one optimiser step moves each layer's weights, relative to their size.

About 1e-3 is usual for a layer that learns; far less means that it stands still.
"""

from typing import Any

import pytorch_lightning as L
from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, publish
from actsweep.diagnostics.gradients import norm
from actsweep.diagnostics.watch import Watch, in_order


def update_ratio(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖₂ / ‖before‖₂ of each network's weights: two of (K, out, in) → (K,)."""
    return norm(after - before) / norm(before)


class UpdateRatio(Diagnostic):
    """The relative step of each layer: the first one (epoch 0), then each epoch's last (or every n-th)."""

    quantities = (
        Quantity("update_ratio", "1", "log", "‖ΔW‖₂ / ‖W‖₂ of a step: the first (epoch 0), each epoch's last"),
    )

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.watch(trainer, pl_module)

    def begin_watch(self, watch: Watch) -> None:
        watch.keep_updates()

    def record_watched(self, trainer: L.Trainer, watch: Watch, epoch: int) -> None:
        pairs = {name: (before[None], after[None]) for name, (before, after) in watch.updated.items() if before.any()}
        names = in_order(pairs, watch.seen)
        publish(trainer, {name: {"update_ratio": update_ratio(*pairs[name])} for name in names}, epoch)
