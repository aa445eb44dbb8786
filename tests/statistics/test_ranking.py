"""Hundreds of functions ranked: other implementations, enumeration, and simulated truth."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from actsweep.statistics import ranking
from actsweep.statistics.inference import compare

Floats = NDArray[np.float64]


def by_seed(table: Floats) -> dict[str, dict[int, float]]:
    return {f"f{row}": dict(enumerate(values.tolist())) for row, values in enumerate(table)}


def test_sixteen_pairs_have_the_p_value_of_all_65536_choices_of_signs() -> None:
    table = np.random.default_rng(0).normal([[0.0], [0.3], [0.6], [4.0]], size=(4, 16)).round(1)
    signs = np.array(list(product((1, -1), repeat=16)))
    sums = np.abs(signs @ (table[1:] - table[0]).T)
    expected = np.mean(sums >= sums[0] - 1e-9, axis=0)
    groups = by_seed(table)
    found = ranking.against(groups["f0"], groups)
    assert [found[name].p_value for name in ("f1", "f2", "f3")] == pytest.approx(expected.tolist())
    assert found["f3"].p_value == 2 / 2**16
    assert (found["f0"].p_value, found["f0"].difference.value) == (1.0, 0.0)


def test_discovery_rates_are_those_of_statsmodels() -> None:
    p_values = np.random.default_rng(1).beta(0.3, 1, size=390).round(3)
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert ranking.discovery_rates(p_values.tolist()) == pytest.approx(expected.tolist(), abs=1e-12)
    assert all(math.isnan(rate) for rate in ranking.discovery_rates([math.nan, math.nan]))


def test_at_most_a_twentieth_of_the_discoveries_among_copies_of_relu_is_false() -> None:
    """90 copies and 10 better functions; uncorrected a third of what is found would be false."""
    rng, shares, missed = np.random.default_rng(2), [], 0
    for _ in range(30):
        table = rng.normal(size=(101, 12)) + np.r_[np.zeros(91), np.full(10, 4.0)][:, None] + rng.normal(size=12)
        groups = by_seed(table)
        found = ranking.against(groups.pop("f0"), groups)
        called = np.array(ranking.discovery_rates([pair.p_value for pair in found.values()])) <= 0.05
        shares.append(called[:90].sum() / max(called.sum(), 1))
        missed += 10 - int(called[90:].sum())
    assert np.mean(shares) < 0.05 + 2 * np.std(shares) / math.sqrt(len(shares))
    assert missed < 10


def test_names_share_a_letter_just_where_they_can_not_be_told_apart() -> None:
    table = np.linspace(3, 0, 9)[:, None] + np.random.default_rng(3).normal(size=(9, 10))
    groups = by_seed(table)
    found = ranking.letters(list(groups), groups)
    pairs = list(combinations(groups, 2))
    rates = ranking.discovery_rates([compare(groups[one], groups[other]).p_value for one, other in pairs])
    shared = [bool(set(found[one]) & set(found[other])) for one, other in pairs]
    assert shared == [rate > 0.05 for rate in rates]
    assert {True, False} == set(shared)
    members = {letter: {name for name in found if letter in found[name]} for letter in "".join(found.values())}
    assert not any(one < other for one, other in product(members.values(), repeat=2))
    assert found["f0"][0] == "a"


def test_letters_of_all_alike_are_one_and_of_all_different_all() -> None:
    table = 10.0 * np.arange(4)[::-1, None] + np.random.default_rng(4).normal(size=(4, 10))
    assert ranking.letters([*"f"], {"f": {0: 1.0}}) == {"f": "a"}
    assert [*ranking.letters(list(by_seed(table)), by_seed(table)).values()] == ["a", "b", "c", "d"]
    assert {*ranking.letters(list(by_seed(table * 0)), by_seed(table * 0)).values()} == {"a"}


def test_ranks_of_functions_far_apart_are_certain_and_equals_share_theirs() -> None:
    noise = np.random.default_rng(5).normal(size=16)
    found = ranking.ranks(np.array([[0.0], [50.0], [20.0], [20.0]]) + noise)
    assert [(each.low, each.value, each.high) for each in found] == [(4, 4, 4), (1, 1, 1), (2.5, 2.5, 2.5), (2.5,) * 3]


def test_equal_functions_rank_may_be_nearly_any() -> None:
    found = ranking.ranks(np.random.default_rng(6).normal(size=(40, 16)))
    widths = [each.high - each.low for each in found]
    assert np.mean(widths) > 20
    assert sorted(each.value for each in found) == [*range(1, 41)]


def test_the_best_of_equals_is_flattered_by_what_order_statistics_say_and_fresh_seeds_are_not() -> None:
    rng = np.random.default_rng(7)
    found = [ranking.best_on_fresh_seeds(rng.normal(size=(50, 8))) for _ in range(200)]
    chosen, fresh = (np.array([pair[which].value for pair in found]) for which in (0, 1))
    expected = 2.2491 / math.sqrt(8)  # Harter 1961: the largest of 50 normal values, on average
    assert chosen.mean() == pytest.approx(expected, abs=4 * chosen.std() / math.sqrt(200))
    assert fresh.mean() == pytest.approx(0, abs=4 * fresh.std() / math.sqrt(200))
    assert np.mean([pair[1].low <= 0 <= pair[1].high for pair in found]) > 0.95


def test_the_best_of_one_function_is_its_mean_and_many_seeds_are_halved_at_random() -> None:
    values = np.random.default_rng(8).normal(size=(1, 7))
    chosen, fresh = ranking.best_on_fresh_seeds(values)
    assert (chosen.n, fresh.value) == (7, pytest.approx(chosen.value))
    many = np.random.default_rng(9).normal([[0.0], [9.0]], size=(2, 20))
    assert ranking.best_on_fresh_seeds(many)[1].value == pytest.approx(many[1].mean(), abs=0.02)


def test_spearman_is_scipys_with_ties_and_infinite_values() -> None:
    rng = np.random.default_rng(10)
    x = [*rng.normal(size=40).round(1), math.inf, math.inf]
    y = [*(np.array(x[:40]) + rng.normal(size=40)).round(0), 9.0, 1.0]
    found = ranking.spearman(x, y)
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert ranking.spearman(x, x).low == pytest.approx(1)
    assert math.isnan(ranking.spearman(x, [1.0] * 42).value)


def test_spearmans_interval_of_normal_pairs_is_as_wide_as_bonett_and_wright_say() -> None:
    pair = np.random.default_rng(11).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=300)
    found = ranking.spearman(pair[:, 0].tolist(), pair[:, 1].tolist())
    error = (1 - found.value**2) * math.sqrt((1 + found.value**2 / 2) / (300 - 3))  # 2000, of Fisher's z; delta method
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.12)
