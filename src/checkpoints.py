"""best.ckpt and last.ckpt of a run, one of which is always whole.

Flow: **training** → results. Lightning's ModelCheckpoint writes last.ckpt only in epochs that are the best so far, and
moves files between file systems, which a kill or a full disk can catch half way.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as L
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from src import results


def replace(source: Path, target: Path) -> None:
    """Rename so that `target` is at any time the old file or the whole new one, whose content is on disk first."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it when it is on disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            super().save_checkpoint(checkpoint, temporary, storage_options)
            replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


class BestAndLast(Checkpoint):
    """Saves last.ckpt after every epoch, and best.ckpt whenever `monitor` is better than ever."""

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.folder, self.monitor, self.sign = folder, monitor, 1 if mode == "max" else -1
        self.best: float | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        score = self.sign * float(trainer.callback_metrics[self.monitor])
        is_better = self.best is None or score > self.best
        if is_better:
            self.best = score
        trainer.save_checkpoint(self.folder / results.LAST, weights_only=False)
        if is_better and trainer.is_global_zero:
            # The same bytes: copied, because the next epoch replaces last.ckpt.
            temporary = (self.folder / results.BEST).with_name(f".{results.BEST.name}.{os.getpid()}")
            shutil.copyfile(self.folder / results.LAST, temporary)
            replace(temporary, self.folder / results.BEST)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
