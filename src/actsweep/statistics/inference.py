"""Estimates, 95 % intervals and paired tests from the results of independent runs: pure functions of numbers.

Flow: results → **statistics** → report. Equal numbers give equal results: generators are seeded.

Each kind of interval was chosen for how often it holds the truth: docs/measured.md, "How sure the numbers are".
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
TAIL = 0.025  # on either side of a 95 % interval
SHUFFLES = 99_999  # the smallest p-value, 1e-5, survives Holm's correction for 5,000 comparisons
EXACT_PAIRS = 30  # in two halves of 2^15 sums each
EXACT_RUNS = 20  # of two groups together: 2^20 sums, of which 184,756 are of groupings of 10 and 10
MIDDLE_MEAN = partial(stats.trim_mean, proportiontocut=0.25, axis=-1)
ROUNDING = 1e-12  # of the largest value: what differs by less is equal


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (NaN where n is too small for one), and the number of independent runs."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    def within(self, low: float, high: float) -> "Estimate":
        """Without what can't be, such as accuracies above 100 %: the interval holds the truth as often as before."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))


@dataclass(frozen=True)
class Comparison:
    """How much better the first is than the second, over seeds."""

    n: int  # pairs, or the smaller group's size
    paired: bool
    seeds: int  # different ones of both together
    difference: Estimate  # mean of first - second
    p_value: float  # two-sided
    p_holm: float  # corrected within the family given to compare_all; = p_value for a lone comparison
    effect_size: float  # mean difference / sd, Hedges-corrected; paired: sd of the differences, else pooled; or NaN
    improvement: Estimate  # P(first > second) + 1/2 P(equal); paired: over pairs, else over all n·m (Mann-Whitney)

    @property
    def differ(self) -> bool:
        """Beyond chance: p < 0.05, of more than one run: one doesn't tell how far others would lie from it."""
        return self.n > 1 and self.p_holm < 2 * TAIL


def trained(accuracy: float, classes: int) -> bool:
    """Whether a network learnt anything: it closed a tenth of the gap between chance and perfection.

    >>> trained(0.10, classes=10), trained(0.60, classes=10)
    (False, True)
    """
    return accuracy > 1 / classes + 0.1 * (1 - 1 / classes)


def mean(values: Sequence[float]) -> Estimate:
    """The mean, with Student's interval: 95 % for normal values, less for skewed and bimodal ones (docs/measured.md).

    Raises ValueError for a value that is not finite, as do the others: failed runs are never averaged silently.
    """
    return _mean(_finite(values))


def median(values: Sequence[float]) -> Estimate:
    """The median, between the order statistics that hold it at least 95 % of the time, whatever the distribution.

    That takes 6 values. The extremes of 5 hold it 93.75 % of the time and are given; fewer have no interval.
    """
    return _robust(_finite(values), np.median, _order_interval)


def interquartile_mean(values: Sequence[float]) -> Estimate:
    """The mean without the lowest and the highest quarter, each rounded down to whole values (Agarwal et al. 2021).

    From 5 values there is an interval: the percentile bootstrap that rliable uses too, but with the tails widened as
    Student's t is to the normal (Hesterberg 2015). It promises 95 % for normal, lognormal and bimodal values.
    """
    return _robust(_finite(values), MIDDLE_MEAN, _bootstrap_interval)


def proportion(successes: int, n: int) -> Estimate:
    """The share of successes, with Wilson's interval (1927): 95 % on average over shares, not at every single one.

    Raises ValueError unless 0 ≤ successes ≤ n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes={successes}: must be between 0 and n={n}")
    return _wilson(successes / n, n, n) if n else Estimate()


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the given order; NaNs stay NaN and don't count.

    >>> holm([0.01, 0.04, math.nan, 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    adjusted = np.array(p_values, dtype=float)
    order = np.argsort(adjusted, kind="stable")[: np.count_nonzero(~np.isnan(adjusted))]  # NaNs sort last
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def two_digits(p: float) -> str:
    """A p-value as people read it: halves go up, as in browsers, so that the page's figures say what its words say.

    >>> two_digits(0.125), two_digits(0.0625), two_digits(0.03)
    ('0.13', '0.063', '0.03')
    """
    return f"{p * (1 + ROUNDING):.2g}"


def compare(first: Mapping[int, float], second: Mapping[int, float]) -> Comparison:
    """Compare two settings, given as seed → value: paired over the seeds that both have, at least two and half of the
    smaller group's; with fewer in common unpaired, because pairs would drop more runs than they are worth.

    The p-value is that of a permutation test of the mean difference. Paired, signs are flipped: the differences are
    symmetric about 0 if there is nothing to find. Unpaired, runs change groups: both have one distribution then, and if
    the smaller one spreads more, p ≤ 0.05 comes too often (8 and 10 runs, 4-fold sd: 10 %; 5 and 15: 25 %). The
    interval leans on Student's t (unpaired: Welch's); where it disagrees with p, believe p.
    """
    common, seeds, paired = first.keys() & second.keys(), len(first.keys() | second.keys()), are_paired(first, second)
    a, b = (_finite([group[seed] for seed in sorted(common if paired else group)]) for group in (first, second))
    if (n := min(len(a), len(b))) == 0:
        return Comparison(0, paired, seeds, Estimate(), math.nan, math.nan, math.nan, Estimate())
    noise = ROUNDING * float(np.abs([*a, *b]).max())
    differences = a - b if paired else np.subtract.outer(a, b)
    differences[np.abs(differences) <= noise] = 0
    groups = (differences,) if paired else (a, b)
    difference, improvement = _mean(*groups), _improvement(np.heaviside(differences, 0.5))
    p = _sign_flip_p(differences, noise) if paired else _shuffle_p(a, b, noise)
    return Comparison(n, paired, seeds, difference, p, p, _effect_size(difference.value, groups, noise), improvement)


def are_paired(first: Collection[int], second: Collection[int]) -> bool:
    """Whether two settings with these seeds are compared in pairs."""
    common = len(set(first) & set(second))
    return common == len(first) == len(second) or common >= max(2, min(len(first), len(second)) / 2)


def compare_all(groups: Mapping[str, Mapping[int, float]]) -> dict[tuple[str, str], Comparison]:
    """Every unordered pair of settings, in their order, with Holm's correction over all of them."""
    pairs = {(one, other): compare(groups[one], groups[other]) for one, other in combinations(groups, 2)}
    corrected = holm([pair.p_value for pair in pairs.values()])
    return {names: replace(pair, p_holm=p) for (names, pair), p in zip(pairs.items(), corrected, strict=True)}


def _sign_flip_p(differences: Floats, noise: float) -> float:
    """Two-sided p-value of the mean among all choices of signs (Fisher 1935), exact up to 30; else by 99,999 of them.

    SciPy enumerates the choices, up to 13 or so. Here the sums of each half are sorted and the pairs of one of each
    that reach the observed sum are counted by bisection. What falls short by rounding (noise per value) is a tie.
    """
    n, total = len(differences), float(differences.sum())
    reached = abs(total) - n * noise
    if reached <= 0:
        return 1.0
    if n <= EXACT_PAIRS:
        left, right = (np.sort(_subset_sums(2 * half)) - half.sum() for half in np.array_split(differences, 2))
        return 2 * int((len(right) - np.searchsorted(right, reached - left)).sum()) / 2**n  # both tails
    generator = np.random.default_rng(0)
    sums = sum(generator.choice(_subset_sums(2 * block), SHUFFLES) for block in _blocks(differences)) - total
    return float((1 + np.count_nonzero(np.abs(sums) >= reached)) / (1 + SHUFFLES))


def _shuffle_p(first: Floats, second: Floats, noise: float) -> float:
    """Two-sided p-value of |mean difference| among all groupings (Pitman 1937), exact up to 20 runs; else by 99,999."""
    few, many = sorted((first, second), key=lambda group: (len(group), *group))  # p is the same if they are swapped
    pooled = np.concatenate([few, many])
    pooled -= pooled.mean()  # so that a difference of means is proportional to the sum of one group
    reached = abs(float(pooled[: len(few)].sum())) - len(pooled) * noise
    picks = _groupings(len(pooled), len(few))
    sums = sum(_subset_sums(block)[pick] for block, pick in zip(_blocks(pooled), picks, strict=True))
    observed = int(len(pooled) > EXACT_RUNS)  # among the random ones, the observed grouping counts too
    return float((observed + np.count_nonzero(np.abs(sums) >= reached)) / (observed + len(picks[0])))


@lru_cache(maxsize=8)
def _groupings(n: int, chosen: int) -> list[NDArray[np.int32]]:
    """Choices of some of n values, all or random ones: which subset of each block, as _subset_sums counts them."""
    members = [_subset_sums(np.ones_like(block)) for block in _blocks(np.zeros(n))]
    if n <= EXACT_RUNS:
        return [np.flatnonzero(members[0] == chosen).astype(np.int32)]
    generator = np.random.default_rng(0)
    picks = []
    drawn = generator.multivariate_hypergeometric([int(member[-1]) for member in members], chosen, SHUFFLES)
    for member, taken in zip(members, drawn.T, strict=True):
        number = np.bincount(member.astype(int))
        place = np.cumsum(number)[taken] - number[taken] + generator.integers(number[taken])
        picks.append(np.argsort(member, kind="stable").astype(np.int32)[place])
    return picks


def _blocks(values: Floats) -> list[Floats]:
    return np.array_split(values, 1 if len(values) <= EXACT_RUNS else math.ceil(len(values) / 15))


def _subset_sums(values: Floats) -> Floats:
    """The sum of each subset: the bits of its index say which values it holds."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _finite(values: Sequence[float]) -> Floats:
    array = np.asarray(values, dtype=float)
    if bad := array[~np.isfinite(array)].tolist():
        raise ValueError(f"{bad[0]} among {len(array)} values: leave failed runs out, and say how many they are")
    return array


def _mean(*groups: Floats) -> Estimate:
    """The mean with Student's interval; of two groups, the difference of their means with Welch's (1947)."""
    if (n := min(len(group) for group in groups)) == 0:
        return Estimate()
    value = float(np.subtract.reduce([group[0] + np.mean(group - group[0]) for group in groups]))  # exact if constant
    if n == 1:
        return Estimate(value, n=1)
    freedoms = np.array([len(group) - 1 for group in groups])
    parts = np.array([np.var(group - group[0], ddof=1) / len(group) for group in groups])
    freedom = 1 / np.sum((parts / parts.sum()) ** 2 / freedoms) if parts.any() else 1
    half = float(special.stdtrit(freedom, 1 - TAIL) * np.sqrt(parts.sum()))
    return Estimate(value, value - half, value + half, n)


def _robust(values: Floats, statistic: Callable[..., float], interval: Callable[..., tuple[float, float]]) -> Estimate:
    """The statistic and its interval, which takes five sorted values at least."""
    n = len(values)
    if n < 2 or np.ptp(values) == 0:  # the bootstrap's mean of equal values can differ in the last digit
        return _mean(values)
    values = np.sort(values)
    low, high = interval(values) if n >= 5 else (math.nan, math.nan)
    return Estimate(float(statistic(values)), float(low), float(high), n)


def _order_interval(values: Floats) -> tuple[float, float]:
    rank = max(int(stats.binom.ppf(TAIL, len(values), 0.5)), 1)
    return values[rank - 1], values[-rank]


def _bootstrap_interval(values: Floats) -> tuple[float, float]:
    n = len(values)
    level = 1 - 2 * special.ndtr(-math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, 1 - TAIL))
    how = {"method": "percentile", "n_resamples": 9_999, "batch": max(1, 10**6 // n), "rng": np.random.default_rng(0)}
    return stats.bootstrap((values,), MIDDLE_MEAN, confidence_level=level, **how).confidence_interval


def _wilson(share: float, effective: float, n: int) -> Estimate:
    """Wilson's interval for a share of so many effective runs, which need not be whole."""
    square = float(special.ndtri(1 - TAIL)) ** 2 / effective
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return Estimate(share, min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share), n)


def _improvement(wins: Floats) -> Estimate:
    """The mean win over pairs (n) or over all of both groups (n, m), with Wilson's interval for the effective runs.

    Those of (n, m) are as many as the variance of the placements (Sen 1960) amounts to (Korn & Graubard 1998), at most
    all, and the smaller group's where there is no variance, as when every run of one group wins.
    """
    n, share, variance = min(wins.shape), float(wins.mean()), 0.0
    if wins.ndim == 2 and n > 1:
        variance = sum(wins.mean(1 - group).var(ddof=1) / wins.shape[group] for group in (0, 1))
    effective = min(share * (1 - share) / variance, sum(wins.shape)) if variance > ROUNDING else n
    return _wilson(share, effective, n)


def _effect_size(difference: float, groups: Sequence[Floats], noise: float) -> float:
    """In (pooled) standard deviations, times J, which makes it unbiased for normal values (Hedges 1981)."""
    freedom = sum(len(group) - 1 for group in groups)
    sd = math.sqrt(sum(len(group) * np.var(group) for group in groups) / max(freedom, 1))
    j = special.poch((freedom - 1) / 2, 0.5) / math.sqrt(max(freedom, 1) / 2)
    return float(difference / sd * j) if freedom > 1 and sd > noise else math.nan
