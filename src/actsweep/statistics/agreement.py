"""Does another's number agree with ours? Where one more run would fall, and whether two programs do the same.

Flow: results → **statistics** → report. Pure functions of numbers, as in inference.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from actsweep.statistics.inference import Estimate, mean

LEVEL = 0.05


@dataclass(frozen=True)
class Equivalence:
    """Of two groups of independent runs, by two one-sided Welch tests (Schuirmann 1987).

    `low`, `high`: the 90 % interval of the difference of means, which lies within the margin just where p < 0.05.
    """

    difference: float
    low: float
    high: float
    p_value: float
    margin: float

    @property
    def is_shown(self) -> bool:
        return self.p_value < LEVEL


def one_more(values: Sequence[float]) -> Estimate:
    """The mean, and where a single further run falls with 95 % probability, if runs are normal (Student's prediction
    interval): what one published run can be held against. √(n + 1) times as wide as the mean's interval.

    >>> found = one_more([88.52, 88.39, 87.33, 88.0])
    >>> round(found.low, 2), round(found.high, 2)
    (86.16, 89.96)
    """
    found = mean(values)
    reach = (found.high - found.value) * math.sqrt(found.n + 1)
    return Estimate(found.value, found.value - reach, found.value + reach, found.n)


def equivalent(first: Sequence[float], second: Sequence[float], margin: float) -> Equivalence:
    """Whether the means of two groups, of at least two runs each, differ by less than `margin` either way."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    parts = np.array([group.var(ddof=1) / len(group) for group in (a, b)])
    difference, error = float(a.mean() - b.mean()), math.sqrt(parts.sum())
    if error == 0:
        return Equivalence(difference, difference, difference, float(abs(difference) >= margin), margin)
    freedom = parts.sum() ** 2 / np.sum(parts**2 / [len(a) - 1, len(b) - 1])
    reach = float(special.stdtrit(freedom, 1 - LEVEL)) * error
    p_value = float(special.stdtr(freedom, (abs(difference) - margin) / error))
    return Equivalence(difference, difference - reach, difference + reach, p_value, margin)
