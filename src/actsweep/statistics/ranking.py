"""Hundreds of functions on common seeds: which differ from one of them, their ranks, what the best is worth.

Flow: results → **statistics** → report. Pure functions of numbers, as in inference.py. A table is (F, S): a row for
each of F functions, a column for each of S seeds, without gaps; higher is better.

Why not Holm's correction: with 16 seeds the smallest p is 2 / 2^16 = 3e-5, and of 390 comparisons Holm asks the first
for p ≤ 1.3e-4, 8 of the 65,536 choices of signs: it finds only what nearly all seeds agree on. Benjamini & Hochberg
bound the share of false ones among all discoveries, which is what a table of hundreds is read for. Their proof doesn't
cover two-sided tests that share the reference's seeds: bench/ranking.py simulates what becomes of the bound.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, count
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from actsweep.statistics.inference import TAIL, Comparison, Estimate, compare, mean

Floats = NDArray[np.float64]
RESAMPLES = 1_999
EXACT_SEEDS = 16  # 12,870 ways to halve them
HALVINGS = 9_999
LEVEL = 0.05


def against(reference: Mapping[int, float], others: Mapping[str, Mapping[int, float]]) -> dict[str, Comparison]:
    """Each of the others, seed → value, compared with the reference: paired permutation tests, uncorrected."""
    return {name: compare(values, reference) for name, values in others.items()}


def discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg's (1995) adjusted p-values: those of at most 0.05 are 5 % false discoveries, on average.

    In the given order; NaNs stay NaN and don't count.

    >>> discovery_rates([0.01, 0.04, float("nan"), 0.03])
    [0.03, 0.04, nan, 0.04]
    """
    adjusted = np.array(p_values, dtype=float)
    known = ~np.isnan(adjusted)
    adjusted[known] = stats.false_discovery_control(adjusted[known])
    return adjusted.round(12).tolist()


def letters(names: Sequence[str], groups: Mapping[str, Mapping[int, float]]) -> dict[str, str]:
    """Compact letters (Piepho 2004): two of the names share a letter unless they differ, with Benjamini & Hochberg's
    correction over all pairs of them. Those named first have the first letters.
    """
    pairs = list(combinations(names, 2))
    rates = discovery_rates([compare(groups[one], groups[other]).p_value for one, other in pairs])
    different = [pair for pair, rate in zip(pairs, rates, strict=True) if rate <= LEVEL]
    alike = sorted(tuple(map(names.index, group)) for group in _groups(names, different))
    found = dict.fromkeys(names, "")
    for letter, members in zip(_alphabet(), map(sorted, alike), strict=False):
        for member in members:
            found[names[member]] += letter
    return found


def _groups(names: Sequence[str], different: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The largest groups of names without a pair that differs: insert a pair, and absorb what another group holds."""
    groups = [frozenset(names)]
    for one, other in different:
        parts = {group - {name} for group in groups if {one, other} <= group for name in (one, other)}
        whole = {group for group in groups if not {one, other} <= group} | parts
        groups = [group for group in whole if not any(group < larger for larger in whole)]
    return [[name for name in names if name in group] for group in groups]


def _alphabet() -> Iterator[str]:
    """a … z, then a′ … z′, a″ …"""
    return (letter + "′" * primes for primes in count() for letter in ascii_lowercase)


def ranks(table: Floats) -> list[Estimate]:
    """Each function's rank by its mean, 1 the best, equals sharing the middle one; between what ranks 95 % of the
    bootstrap's resamples of seeds, the same for all functions, put it.

    A resample has a seed less than the table, so that means scatter as they do (Hesterberg 2015).
    """
    seeds, value = table.shape[1], _ranked(table.mean(axis=1)[None])[0]
    if seeds < 2:
        return [Estimate(float(each), n=seeds) for each in value]
    drawn = np.random.default_rng(0).multinomial(seeds - 1, np.full(seeds, 1 / seeds), RESAMPLES) / (seeds - 1)
    low, high = np.quantile(_ranked(drawn @ table.T), [TAIL, 1 - TAIL], axis=0)
    ends = np.minimum(value, low).tolist(), np.maximum(value, high).tolist()
    return [Estimate(*each, seeds) for each in zip(value.tolist(), *ends, strict=True)]


def _ranked(means: Floats) -> Floats:
    return stats.rankdata(-means.round(12), axis=1)


def best_on_fresh_seeds(table: Floats) -> tuple[Estimate, Estimate]:
    """The best function's mean, flattered by having been chosen for it, and what the best of these functions is worth.

    The second is chosen on half of the seeds and measured on the others, averaged over all ways (up to 16 seeds, else
    9,999) to halve them: seeds that chose never judge. As it is chosen by half of the seeds, it is a little low. Its
    interval is that of a mean over as many seeds as judge, of the functions so chosen, on average: one that is chosen
    by luck scatters more than the best does. In 200 simulated atlases it held the truth in 90 % [86, 94]: seeds are few
    and functions skewed (bench/ranking.py).
    """
    seeds, chosen = table.shape[1], _halves(table.shape[1])
    judges = seeds - seeds // 2
    by, on = (half @ table.T / half.sum(axis=1, keepdims=True) for half in (chosen, 1 - chosen))
    best = by.argmax(axis=1)
    worth = float(np.take_along_axis(on, best[:, None], axis=1).mean())
    scatter = float(table.std(axis=1, ddof=1)[best].mean()) if seeds > 1 else math.nan
    reach = scatter * float(stats.t.ppf(1 - TAIL, judges - 1)) / math.sqrt(judges) if judges > 1 else math.nan
    flattered = mean(table[table.mean(axis=1).argmax()].tolist())
    return flattered, Estimate(worth, worth - reach, worth + reach, seeds)


def _halves(seeds: int) -> Floats:
    """(ways, seeds): 1 where a seed is in the first half."""
    if seeds > EXACT_SEEDS:
        order = np.random.default_rng(0).permuted(np.tile(np.arange(seeds), (HALVINGS, 1)), axis=1)
        return (order < seeds // 2).astype(float)
    ways = list(combinations(range(seeds), seeds // 2))
    chosen = np.zeros((len(ways), seeds))
    np.put_along_axis(chosen, np.array(ways), 1.0, axis=1)
    return chosen


def spearman(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Spearman's ρ over functions, with the interval that 95 % of the bootstrap's resamples of functions lie in.

    Infinite values are the largest. NaN where all of either are equal.
    """
    ranked = np.stack([stats.rankdata(values) for values in (x, y)])
    if not np.ptp(ranked, axis=1).all():
        return Estimate(n=len(x))
    drawn = np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x)))
    resampled = stats.rankdata(ranked[:, drawn], axis=-1)
    resampled -= resampled.mean(axis=-1, keepdims=True)
    one, other = resampled
    with np.errstate(invalid="ignore"):  # a resample of equal values has no ρ
        found = (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    low, high = np.nanquantile(found, [TAIL, 1 - TAIL])
    return Estimate(float(np.corrcoef(ranked)[0, 1]), float(low), float(high), len(x))
