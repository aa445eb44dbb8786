"""One progress line per run: epoch, losses, accuracy and time left.

Flow: **training**. The numbers are those of the epoch before, so the line never makes the device wait.
"""

from typing import Any

import pytorch_lightning as L
from pytorch_lightning.callbacks import ProgressBar as LightningProgressBar
from tqdm import tqdm


class ProgressBar(LightningProgressBar):
    """A tqdm bar over all steps of a run; silent where the output is no terminal."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.bar: tqdm[Any] | None = None
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs = trainer.max_epochs or 0
        self.bar = tqdm(
            total=self.epochs * int(trainer.num_training_batches),
            desc=f"{self.name} epoch 1/{self.epochs}",
            unit="step",
            mininterval=0.2,
            leave=False,
            disable=None if self.enabled else True,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {elapsed}, at most {remaining} left{postfix}",
        )

    def on_train_batch_end(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shown = trainer.callback_metrics
        if self.bar is None or self.bar.disable or "train_loss" not in shown:
            return  # in the first epoch there is nothing to show
        self.bar.set_description(f"{self.name} epoch {trainer.current_epoch + 1}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(
            f"train loss {float(shown['train_loss']):.3f}, val loss {float(shown['val_loss']):.3f}"
            + (f", val accuracy {float(shown['val_accuracy']):.1%}" if "val_accuracy" in shown else ""),
            refresh=False,
        )

    def on_train_end(self, *_: Any) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
