"""How many seeds would do: the power of the paired test of inference.py, at the spread that was observed.

Flow: results → **statistics** → report. The sign-flip test is taken for Student's, which it is in the limit, at the
level that it can reach: of 2^n choices of signs, p is a multiple of 2^(1−n).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special, stats  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]

from actsweep.statistics.inference import TAIL, Estimate

LEVEL, POWER = 0.05, 0.8
FINE = 50  # pairs: from then on any level can be reached
LARGEST_T = 37.0  # beyond, any number of pairs that can be significant at all would do
MOST = 10_000  # pairs: a difference that takes more is none


def power(effect: float, n: int, comparisons: int = 1) -> float:
    """The probability that n pairs show a difference of `effect` standard deviations, in a family of comparisons.

    >>> power(3.0, 5), round(power(1.0, 10), 2)
    (0.0, 0.8)
    """
    level = LEVEL / max(comparisons, 1)
    if n < FINE:
        level = math.floor(level * 2 ** (n - 1)) / 2 ** (n - 1)
    if n < 2 or level == 0:
        return 0.0
    reached = special.stdtrit(n - 1, 1 - level / 2)
    beyond = stats.nct.sf(reached, n - 1, abs(effect) * math.sqrt(n))
    return float(beyond) if math.isfinite(beyond) else 1.0


def needed(effect: float, comparisons: int = 1) -> float:
    """The fewest pairs with a power of 0.8; ∞ where MOST don't do.

    >>> needed(1.0), needed(3.0), needed(0.0)
    (11.0, 6.0, inf)
    """
    low, high = 1, 2
    while power(effect, high, comparisons) < POWER:
        low, high = high, 2 * high
        if low > MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, comparisons) >= POWER else (middle, high)
    return float(high)


def effect_of(differences: Sequence[float]) -> Estimate:
    """Mean ÷ standard deviation of at least two differences, with Hedges' correction, and its 95 % interval if they
    are normal (Steiger & Fouladi 1997): the effects at which so large a t, or so small a one, has probability 2.5 %."""
    values = np.asarray(differences, dtype=float)
    n, sd = len(values), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if sd == 0:
        return Estimate(math.nan, n=n)
    t = float(values.mean()) / sd * math.sqrt(n)
    j = special.poch((n - 2) / 2, 0.5) / math.sqrt((n - 1) / 2) if n > 2 else 1.0
    t = min(max(t, -LARGEST_T), LARGEST_T)
    reach = 4 * abs(t) + 40
    ends = [brentq(lambda nc, tail=tail: stats.nct.sf(t, n - 1, nc) - tail, -reach, reach) for tail in (TAIL, 1 - TAIL)]
    low, high = (float(end) / math.sqrt(n) for end in ends)
    return Estimate(t / math.sqrt(n) * float(j), low, high, n)


def seeds_needed(differences: Sequence[float], comparisons: int = 1) -> Estimate:
    """So many seeds show the difference with a power of 0.8, if it and its spread are what these pairs show; the
    interval is of what the effect's interval leaves possible, up to ∞ where that holds 0."""
    effect = effect_of(differences)
    if math.isnan(effect.value):
        return Estimate(math.nan, n=effect.n)
    ends = sorted((abs(effect.low), abs(effect.high)))
    least = math.inf if effect.low <= 0 <= effect.high else needed(ends[0], comparisons)
    return Estimate(needed(effect.value, comparisons), needed(ends[1], comparisons), least, effect.n)
