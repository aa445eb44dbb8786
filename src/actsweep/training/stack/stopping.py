"""When a run ends, and which of its epochs was the best: Lightning's EarlyStopping and this project's BestAndLast."""

import math
from dataclasses import dataclass

import numpy as np


def rounded(value: float) -> float:
    """To float32, in which Lightning logs and compares."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


@dataclass
class Stopping:
    """`mode`: "max" or "min". After `patience` epochs without a better score a run stops; one that isn't finite stops
    it at once. The best checkpoint follows the same scores, but takes the first one whatever it is.

    >>> stopping = Stopping("max", patience=2)
    >>> [stopping.after(score) for score in (0.5, 0.5, 0.5)]
    [False, False, True]
    """

    mode: str
    patience: int
    waited: int = 0
    best: float | None = None  # as EarlyStopping sees it
    saved: float | None = None  # as BestAndLast does

    def after(self, score: float) -> bool:
        """Whether training ends after an epoch with this score."""
        score = rounded(score)
        if not math.isfinite(score):
            return True
        if self.best is None or self._better(score, self.best):
            self.best, self.waited = score, 0
            return False
        self.waited += 1
        return self.waited >= self.patience

    def saves(self, score: float) -> bool:
        """Whether an epoch with this score becomes the best checkpoint."""
        score = rounded(score)
        better = self.saved is None or self._better(score, self.saved)
        if better:
            self.saved = score
        return better

    def _better(self, score: float, than: float) -> bool:
        return score > than if self.mode == "max" else score < than
