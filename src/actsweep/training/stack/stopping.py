"""When a run ends, and which of its epochs was the best: as training/early_stopping.py and BestAndLast say."""

import math
from dataclasses import dataclass

import numpy as np


def rounded(value: float) -> float:
    """To float32, in which Lightning logs and compares."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


@dataclass
class Stopping:
    """`mode`: "max" or "min". After `patience` epochs that don't beat the best by more than `min_delta` a run stops;
    one that isn't finite stops it at once. The best checkpoint follows the same scores, but takes any better one, and
    the first one whatever it is.

    >>> stopping = Stopping("max", patience=2)
    >>> [stopping.after(score) for score in (0.5, 0.5, 0.5)]
    [False, False, True]
    """

    mode: str
    patience: int
    min_delta: float = 0.0
    waited: int = 0
    best: float | None = None  # as EarlyStopping sees it
    saved: float | None = None  # as BestAndLast does

    def after(self, score: float) -> bool:
        """Whether training ends after an epoch with this score."""
        score = rounded(score)
        if not math.isfinite(score):
            return True
        counts = self.best is None or self._better(self._short_of(score), self.best)
        if self.best is None or self._better(score, self.best):
            self.best = score
        self.waited = 0 if counts else self.waited + 1
        return not counts and self.waited >= self.patience

    def saves(self, score: float) -> bool:
        """Whether an epoch with this score becomes the best checkpoint."""
        score = rounded(score)
        better = self.saved is None or self._better(score, self.saved)
        if better:
            self.saved = score
        return better

    def _short_of(self, score: float) -> float:
        """By min_delta, in float32."""
        worse = np.float32(-self.min_delta if self.mode == "max" else self.min_delta)
        return float(np.float32(score) + worse)

    def _better(self, score: float, than: float) -> bool:
        return score > than if self.mode == "max" else score < than
