"""How many seeds would do: the power of the paired test of inference.py at the spread that was observed. Besides,
where one more run falls, and whether two programs do the same.

Flow: results → **statistics** → report. Sweeps are simulated: pairs drawn from the observed differences, or, where
these are too few to show their distribution, normal ones. Equal numbers give equal results: the generator is seeded.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]

from actsweep.statistics.inference import ROUNDING, TAIL, Estimate, Floats, are_paired, holm, mean, two_digits

LEVEL, POWER = 2 * TAIL, 0.8
SIMULATED = 2_000  # sweeps: 0.9 points, one standard error
ENUMERATED = 11  # pairs whose signs are all tried; Student's t stands for the test of more
SHOW = 10  # differences from which others can be drawn
MOST = 10_000  # pairs: a difference that takes more is none
WIDE = 200  # pairs: from then on the mean is normal, whatever they are
LARGEST_T = 37.0  # beyond, any number of pairs that can be significant at all would do


def power(effect: float, n: int, comparisons: int = 1, shape: Floats | None = None) -> float:
    """The probability that n pairs show a difference of `effect` standard deviations, in a family of comparisons.

    `shape`: values with mean 0 and standard deviation 1 that the differences are distributed as; None: normal.

    >>> power(3.0, 5), power(3.0, 6) > 0.95
    (0.0, True)
    """
    level = LEVEL / max(comparisons, 1)
    if n < 2 or 2.0 ** (1 - min(n, 99)) > level:
        return 0.0
    if n > WIDE:
        return float(special.ndtr(abs(effect) * math.sqrt(n) + special.ndtri(level / 2)))
    generator = np.random.default_rng(0)
    size = (SIMULATED, n)
    drawn = generator.standard_normal(size) if shape is None else generator.choice(shape, size)
    return float(np.mean(p_values(effect + drawn) <= level))


def p_values(differences: Floats) -> Floats:
    """Of each row (S, n): the sign-flip test's, as inference.compare has it; of long rows Student's."""
    n, total = differences.shape[1], np.abs(differences.sum(axis=1))
    if n > ENUMERATED:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = total / (math.sqrt(n) * differences.std(axis=1, ddof=1))
        return np.asarray(2 * special.stdtr(n - 1, -np.nan_to_num(t)))
    signs = 1 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)  # the other half is the same, turned
    sums = np.abs(differences @ signs.T)
    return np.asarray((sums >= (total - ROUNDING)[:, None]).mean(axis=1))


def needed(effect: float, comparisons: int = 1, shape: Floats | None = None) -> float:
    """The fewest pairs with a power of 0.8; ∞ where MOST don't do.

    >>> needed(3.0), needed(0.0)
    (6.0, inf)
    """
    low, high = 1, 2
    while power(effect, high, comparisons, shape) < POWER:
        low, high = high, 2 * high
        if low > MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, comparisons, shape) >= POWER else (middle, high)
    return float(high) if high <= MOST else math.inf


def effect_of(differences: Sequence[float]) -> Estimate:
    """Mean ÷ standard deviation of at least two differences, with Hedges' correction, and its 95 % interval if they
    are normal (Steiger & Fouladi 1997): the effects at which so large a t, or so small a one, has probability 2.5 %."""
    values = np.asarray(differences, dtype=float)
    n, sd = len(values), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if sd == 0:
        return Estimate(math.nan, n=n)
    t = min(max(float(values.mean()) / sd * math.sqrt(n), -LARGEST_T), LARGEST_T)
    j = special.poch((n - 2) / 2, 0.5) / math.sqrt((n - 1) / 2) if n > 2 else 1.0
    reach = 4 * abs(t) + 40
    ends = [brentq(lambda nc, tail=tail: stats.nct.sf(t, n - 1, nc) - tail, -reach, reach) for tail in (TAIL, 1 - TAIL)]
    low, high = (float(end) / math.sqrt(n) for end in ends)
    return Estimate(t / math.sqrt(n) * float(j), low, high, n)


def seeds_needed(differences: Sequence[float], comparisons: int = 1) -> Estimate:
    """So many seeds show the difference with a power of 0.8, if it and its spread are what these pairs show; the
    interval is of what the effect's interval leaves possible, up to ∞ where that holds 0. NaN without a spread."""
    effect, values = effect_of(differences), np.asarray(differences, dtype=float)
    if math.isnan(effect.value):
        return Estimate(math.nan, n=effect.n)
    shape = (values - values.mean()) / values.std() if len(values) >= SHOW else None
    near, far = sorted((abs(effect.low), abs(effect.high)))
    most = math.inf if effect.low <= 0 <= effect.high else needed(near, comparisons, shape)
    return Estimate(needed(effect.value, comparisons, shape), needed(far, comparisons, shape), most, effect.n)


def smallest_p(n: int, other: int | None = None) -> float:
    """The p-value of inference.compare where all runs agree: of n pairs, or of n runs against `other`, as many or more,
    of other seeds. One run against others shows nothing, whatever p is.

    >>> smallest_p(6), smallest_p(4, 4) == 2 / 70, smallest_p(1, 30)
    (0.03125, True, 1.0)
    """
    if other is None:
        return 2.0 ** (1 - min(n, 99))
    return (1 + (n == other)) / math.comb(n + other, n) if n > 1 else 1.0


def fewest(comparisons: int, other: int | None = None) -> int:
    """So many pairs, or runs against `other` of other seeds, can show a difference if all agree."""
    n = 1
    while max(comparisons, 1) * smallest_p(n, other and max(n, other)) >= LEVEL:
        n += 1
    return n


def _why(n: int, other: int | None, p: float, comparisons: int) -> str:
    corrected = f" after correction for {comparisons:,} comparisons" if comparisons > 1 else ""
    test = "paired" if other is None else "unpaired"
    why = f"even if all agree, the {test} test gives p = {two_digits(p)}{corrected}"
    if other is not None and n == 1:
        why = "one run doesn't tell how far others would lie from it"
    shared = "" if other is None else f", or {fewest(comparisons)} that both have"
    needed = f"at least {fewest(comparisons, other)} are needed{shared}"
    return f"{n} seed{'s' * (n != 1)} can't show a difference: {why}; {needed}"


def too_few_of(groups: Mapping[str, Collection[int]]) -> dict[str, str]:
    """Of settings, given by their seeds, those that no outcome tells from any other, each with the reason, those with
    the most seeds first: what Holm leaves of the smallest p-values is not below 0.05.

    >>> too_few_of({"relu": range(10), "tanh": range(10), "elu": range(2)})["elu"][:50]
    "2 seeds can't show a difference: even if all agree"
    """
    if len(groups) < 2:
        return {}
    sets = [frozenset(seeds) for seeds in groups.values()]
    kinds = {seeds: place for place, seeds in enumerate(dict.fromkeys(sets))}
    sizes = [[_sizes(one, other) for other in kinds] for one in kinds]
    kind = np.array([kinds[each] for each in sets])
    smallest = np.array([[smallest_p(*each) for each in row] for row in sizes])[kind[:, None], kind]
    np.fill_diagonal(smallest, math.inf)
    one, other = np.triu_indices(len(sets), 1)
    corrected = np.full(smallest.shape, math.inf)
    corrected[one, other] = corrected[other, one] = holm(smallest[one, other].tolist())
    nearest = smallest.argmin(axis=1)  # before the correction, which takes many to 1
    few = sorted(np.flatnonzero(corrected.min(axis=1) >= LEVEL).tolist(), key=lambda place: -len(sets[place]))
    labels, reasons = list(groups), {}
    for place in few:
        n, against = sizes[kind[place]][kind[nearest[place]]]
        reasons[labels[place]] = _why(n, against, float(corrected[place, nearest[place]]), len(one))
    return reasons


def _sizes(one: Collection[int], other: Collection[int]) -> tuple[int, int | None]:
    """The number of pairs, or the smaller and the larger number of runs."""
    if are_paired(one, other):
        return len(set(one) & set(other)), None
    return min(len(one), len(other)), max(len(one), len(other))


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
