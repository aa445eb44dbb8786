"""Lightning's counts of epochs, batches and steps, which lie in its loops: nothing else here reaches into them.

Flow: network → **training**. The counting of steps goes when Lightning makes the steps itself.
"""

from copy import deepcopy
from functools import lru_cache
from typing import Any

import pytorch_lightning as L

LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
STEPS = "epoch_loop.manual_optimization.optim_step_progress"


def count_step(trainer: L.Trainer) -> None:
    """What `LightningOptimizer.step` does besides the step."""
    count = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    count.increment_ready()
    count.increment_completed()


def counters(epochs: int, steps: int) -> dict[str, Any]:
    """Lightning's, as they are when an epoch's end is saved."""
    loops = deepcopy(_at_the_start())
    fit = loops["fit_loop"]
    for part in ("current", "total"):
        fit["epoch_progress"][part] |= dict.fromkeys(("ready", "started", "processed"), epochs)
        fit["epoch_progress"][part]["completed"] = epochs - 1
        fit[STEPS][part] |= {"ready": steps, "completed": steps}
    for loop in ("epoch_loop", "epoch_loop.val_loop"):
        fit[f"{loop}.batch_progress"]["is_last_batch"] = True
    return loops


@lru_cache(maxsize=1)
def _at_the_start() -> dict[str, Any]:
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(devices=1, **dict.fromkeys(quiet, False))  # type: ignore[arg-type]
    return {name: getattr(trainer, name).state_dict() for name in LOOPS}
