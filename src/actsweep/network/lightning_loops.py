"""Lightning's counts of epochs, batches and steps, which lie in its loops: nothing else here reaches into them.

Flow: network → **training**, of a stack, whose members leave what a lone run would.
"""

import inspect
from copy import deepcopy
from functools import lru_cache
from typing import Any

import pytorch_lightning as L

LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
OPTIMIZER = "epoch_loop.automatic_optimization.optim_progress"


def counters(epochs: int, steps: int) -> dict[str, Any]:
    """Lightning's, as they are when an epoch's end is saved, where all epochs have equally many steps, a batch each."""
    loops = deepcopy(_at_the_start())
    fit = loops["fit_loop"]
    for part in ("current", "total"):
        fit["epoch_progress"][part] |= _all(epochs) | {"completed": epochs - 1}
    for name, count in (("current", steps // epochs), ("total", steps)):
        fit["epoch_loop.batch_progress"][name] |= _all(count)
        fit[OPTIMIZER]["optimizer"]["step"][name] |= {"ready": count, "completed": count}
        fit[OPTIMIZER]["optimizer"]["zero_grad"][name] |= {"ready": count, "started": count, "completed": count}
    for loop in ("epoch_loop", "epoch_loop.val_loop"):
        fit[f"{loop}.batch_progress"]["is_last_batch"] = True
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = steps
    return loops


def recount(checkpoint: dict[str, Any]) -> None:
    """Of a run of an earlier version, whose steps Lightning didn't make: as if it had made them."""
    counted = checkpoint["loops"]["fit_loop"][OPTIMIZER]["optimizer"]["step"]["total"]["completed"]
    if counted != checkpoint["global_step"]:
        checkpoint["loops"] = counters(checkpoint["epoch"] + 1, checkpoint["global_step"])


def _all(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def defaults() -> dict[str, Any]:
    """What Lightning's Trainer takes for what it isn't given, unless a variable such as PL_TRAINER_LIMIT_TRAIN_BATCHES
    is left in the environment."""
    return {name: each.default for name, each in inspect.signature(L.Trainer).parameters.items()}


@lru_cache(maxsize=1)
def _at_the_start() -> dict[str, Any]:
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(**defaults() | {"devices": 1} | dict.fromkeys(quiet, False))
    return {name: getattr(trainer, name).state_dict() for name in LOOPS}
