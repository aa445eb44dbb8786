"""What an earlier sweep found best, as a value of a later one: `optim.lr: ${tuned_lr:outputs/fair,relu,default}`.

Flow: results → **config** of the second part of a study, so that seeds that chose a value don't judge it.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from src import REPOSITORY, results
from src.errors import UserError


@lru_cache(maxsize=64)
def learning_rate(folder: str, act: str, init: str) -> float:
    """The learning rate with the highest mean validation accuracy, the smaller of equals; a broken run counts as 0.

    Raises UserError where the folder, within the repository, has no run of this activation and initialisation.
    """
    accuracies: dict[float, list[float]] = {}
    for path in Path(REPOSITORY, folder).glob(f"*/{results.RESULT}"):
        run = results.read_result(path.parent) or {}
        if (run.get("act"), run.get("init")) == (act, init):
            completed = run["status"] == "completed"
            accuracies.setdefault(run["config"]["optim"]["lr"], []).append(run["val_accuracy"] if completed else 0.0)
    if not accuracies:
        raise UserError(f"{folder} has no run of act={act} init={init}: run `python -m src.train +sweeps=fair` first")
    return max(sorted(accuracies), key=lambda lr: float(np.mean(accuracies[lr])))
