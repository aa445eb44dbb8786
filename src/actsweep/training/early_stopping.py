"""When a run ends, alone or in a stack: Lightning's EarlyStopping by scikit-learn's rule.

Flow: **training**. Without `min_delta` the rule is Lightning's own.
"""

from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """An epoch counts as better that beats the best so far by more than `min_delta`: scikit-learn's `tol`.

    Lightning's has to beat the last epoch that counted, so that many small steps become a large one. What is found in
    training is looked at when an epoch's training ends, what a validation finds when that does.
    """

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        when = {"check_on_train_epoch_end": monitor.startswith("train_")}
        super().__init__(monitor, min_delta, patience, mode=mode, **when)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._remember(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:  # what that finds, the superclass has passed over too
            self._remember(trainer.callback_metrics)

    def _remember(self, metrics: dict[str, Any]) -> None:
        score = metrics.get(self.monitor)
        if score is not None and score.isfinite():
            best = self.best_score.to(score.device)
            self.best_score = torch.maximum(best, score) if self.mode == "max" else torch.minimum(best, score)
