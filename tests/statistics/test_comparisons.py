"""Comparisons of settings: p-values, Holm's correction, effect sizes, against enumeration and other implementations."""

import math
from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from actsweep.statistics.inference import Estimate, compare, compare_all, holm, mean, proportion
from actsweep.statistics.power import too_few_of
from tests.statistics.test_statistics import EXACTLY, MAIZE, SLEEP, Floats, bounds, draw, seeds


def paired_p(differences: Floats | list[float]) -> float:
    return compare(seeds(differences), seeds(np.zeros(len(differences)))).p_value


def unpaired_p(first: Floats, second: Floats) -> float:
    return compare(seeds(first), seeds(second, start=1000)).p_value


def test_darwins_maize_gives_fishers_count() -> None:
    assert paired_p(MAIZE) == 1726 / 2**15  # Fisher 1935, section 21: 863 in each tail


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("decimals", [1, 16])  # with ties and without
def test_sign_flips_agree_with_enumeration(n: int, decimals: int) -> None:
    differences = np.round(0.2 + 0.3 * np.random.default_rng(n).normal(size=n), decimals)
    sums = np.array(list(product([-1, 1], repeat=n))) @ differences
    expected = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12)
    assert paired_p(differences) == pytest.approx(expected, **EXACTLY)


@pytest.mark.parametrize("n", [12, 29, 30])
def test_sign_flips_of_ranks_are_wilcoxons_test_and_of_ones_the_sign_test(n: int) -> None:
    signs = np.where(np.random.default_rng(n).random(n) < 0.7, 1.0, -1.0)
    ranks = signs * np.arange(1, n + 1)
    assert paired_p(ranks) == pytest.approx(stats.wilcoxon(ranks, method="exact").pvalue, **EXACTLY)
    assert paired_p(signs) == pytest.approx(stats.binomtest(int((signs > 0).sum()), n).pvalue, **EXACTLY)


@pytest.mark.parametrize("n", [31, 45])
def test_random_sign_flips_come_close_to_wilcoxons_exact_test(n: int) -> None:
    ranks = np.where(np.random.default_rng(n).random(n) < 0.65, 1.0, -1.0) * np.arange(1, n + 1)
    exact = stats.wilcoxon(ranks, method="exact").pvalue
    assert paired_p(ranks) == pytest.approx(exact, abs=4 * math.sqrt(exact / 99_999))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (3, 3), (4, 2), (5, 6)])
@pytest.mark.parametrize("decimals", [1, 16])
def test_shuffles_agree_with_enumeration(n: int, m: int, decimals: int) -> None:
    rng = np.random.default_rng(10 * n + m)
    first, second = np.round(0.4 + 0.3 * rng.normal(size=n), decimals), np.round(0.3 * rng.normal(size=m), decimals)
    pooled = np.concatenate([first, second])
    gaps = [
        abs(pooled[list(chosen)].mean() - np.delete(pooled, list(chosen)).mean())
        for chosen in combinations(range(n + m), n)
    ]
    expected = np.mean(np.array(gaps) >= abs(first.mean() - second.mean()) - 1e-12)
    assert unpaired_p(first, second) == pytest.approx(expected, **EXACTLY)
    assert unpaired_p(second, first) == pytest.approx(expected, **EXACTLY)


@pytest.mark.parametrize(("n", "m"), [(10, 10), (7, 13), (16, 15), (30, 41), (5, 30)])
def test_shuffles_of_ranks_are_the_mann_whitney_test(n: int, m: int) -> None:
    order = np.random.default_rng(n).normal(size=n + m) + np.repeat([0.4, 0.0], [n, m])
    ranks = stats.rankdata(order)
    expected = stats.mannwhitneyu(ranks[:n], ranks[n:], method="exact").pvalue
    error = 0 if n + m <= 20 else 4 * math.sqrt(expected / 99_999)
    assert 0.001 < expected < 0.9
    assert unpaired_p(ranks[:n], ranks[n:]) == pytest.approx(expected, rel=1e-9, abs=error)


def test_random_p_values_are_never_zero() -> None:
    apart = 10 + np.random.default_rng(0).random(60)
    assert paired_p(apart) == 1e-5
    assert unpaired_p(apart, -apart) == 1e-5


@pytest.mark.parametrize("values", [[0.1] * 7, [0.1, 0.3, 0.7, 1 / 3, 0.9, 0.2, 0.6], [0.0] * 7])
@pytest.mark.parametrize("start", [0, 100])
def test_equal_settings_show_nothing(values: list[float], start: int) -> None:
    found = compare(seeds(values), seeds(values, start))
    assert found.paired == (start == 0)
    assert (found.p_value, found.improvement.value) == (1.0, 0.5)
    assert found.difference.value == pytest.approx(0, abs=1e-15)


def test_differences_by_rounding_are_ties() -> None:
    found = compare(seeds([0.1 + 0.2] * 6), seeds([0.3] * 6))
    assert found.difference == Estimate(0.0, 0.0, 0.0, 6)
    assert (found.p_value, found.improvement.value) == (1.0, 0.5)
    assert math.isnan(found.effect_size)


def test_p_counts_sums_that_differ_by_rounding_as_ties() -> None:
    found = compare(seeds([0.3, 0.2, 0.9, 0.5]), seeds([0.2, 0.1, 0.8, 0.6]))  # 0.1, 0.1, 0.1, -0.1 but for rounding
    assert found.p_value == 10 / 16


def test_unpaired_p_of_a_smaller_group_that_spreads_more_is_too_small_as_documented() -> None:
    rng = np.random.default_rng(5)
    found = [unpaired_p(4 * rng.normal(size=8), rng.normal(size=10)) <= 0.05 for _ in range(2000)]
    assert 100 * np.mean(found) == pytest.approx(10, abs=3)


@pytest.mark.parametrize(("p_value", "level"), [(paired_p, 12 / 2**8), (unpaired_p, 0.05)])
def test_p_values_keep_their_level(p_value: Callable[..., float], level: float) -> None:
    rng = np.random.default_rng(6)
    firsts, seconds = draw("bimodal", rng, (4000, 8)), draw("bimodal", rng, (4000, 8))
    if p_value is paired_p:
        found = [paired_p(first - second) for first, second in zip(firsts, seconds, strict=True)]
    else:
        found = [unpaired_p(first, second) for first, second in zip(firsts, seconds, strict=True)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(level, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


# --- Holm


@pytest.mark.parametrize("n", [1, 2, 7, 66])
def test_holm_agrees_with_statsmodels(n: int) -> None:
    p_values = np.round(np.random.default_rng(n).random(n) ** 3, 2)  # with ties, and some above 1 once corrected
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), **EXACTLY)


def test_holm_skips_nans_in_place() -> None:
    assert holm([math.nan, 0.02, math.nan, 0.03]) == pytest.approx([math.nan, 0.04, math.nan, 0.04], nan_ok=True)
    assert holm([]) == []


def test_holm_keeps_the_family_wise_error_below_5_percent() -> None:
    rng = np.random.default_rng(8)
    families = [compare_all({str(group): seeds(rng.normal(size=10)) for group in range(5)}) for _ in range(1000)]
    uncorrected = np.mean([any(pair.p_value <= 0.05 for pair in family.values()) for family in families])
    corrected = np.mean([any(pair.p_holm <= 0.05 for pair in family.values()) for family in families])
    assert uncorrected > 0.2  # ten tests at 5 % each
    assert 0.01 < corrected <= 0.05


def test_compare_all_corrects_over_every_pair_in_order() -> None:
    rng = np.random.default_rng(2)
    groups = {name: seeds(rng.normal(size=8) + shift) for name, shift in [("swish", 2.0), ("relu", 1.0), ("elu", 0.0)]}
    found = compare_all(groups)
    assert list(found) == [("swish", "relu"), ("swish", "elu"), ("relu", "elu")]
    raw = [one.p_value for one in found.values()]
    assert raw == [compare(groups[one], groups[other]).p_value for one, other in found]
    assert [one.p_holm for one in found.values()] == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    assert compare_all({"relu": groups["relu"]}) == {}


def test_a_setting_without_runs_does_not_count_in_the_correction() -> None:
    groups = {"relu": seeds(SLEEP), "elu": seeds([0.0] * 10), "sigmoid": {}}
    found = compare_all(groups)
    assert found["relu", "elu"].p_holm == found["relu", "elu"].p_value == 2 / 2**9  # nine positive, one 0
    assert math.isnan(found["relu", "sigmoid"].p_holm)
    assert found["relu", "sigmoid"].n == 0


# --- comparisons


def test_pairs_are_matched_by_seed() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 4.0, 3: 5.0}, {3: 4.0, 2: 2.0, 1: 2.0, 0: 1.5})
    assert (found.n, found.paired, found.p_holm) == (4, True, found.p_value)
    assert found.difference == mean([-0.5, 0.0, 2.0, 1.0])
    assert found.improvement.value == (2 + 0.5) / 4


def test_too_few_common_seeds_make_it_unpaired() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.5, 3: 2.0, 4: 1.0, 5: 0.0})
    assert (found.n, found.paired, found.seeds) == (3, False, 6)
    assert found.improvement.value == pytest.approx((2.5 + 3.5 + 4) / 12, **EXACTLY)
    tens = seeds(np.arange(10.0)), seeds(np.arange(10.0) - 20, start=6)  # four common ones: p ≥ 0.125 if paired
    assert compare(*tens).p_value < 1e-4
    assert not compare(*tens).paired


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 9), (30, 12)])
def test_unpaired_difference_has_welchs_interval(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    first, second = 3 * rng.normal(size=n), 1 + rng.normal(size=m)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    found = compare(seeds(first), seeds(second, start=100)).difference
    assert found.value == pytest.approx(first.mean() - second.mean(), **EXACTLY)
    assert bounds(found) == pytest.approx((expected.low, expected.high), **EXACTLY)


@pytest.mark.parametrize("decimals", [0, 16])  # with ties and without
def test_unpaired_improvement_is_mann_whitneys_with_brunner_and_munzels_variance(decimals: int) -> None:
    rng = np.random.default_rng(4)
    first, second = np.round(0.5 + rng.normal(size=12), decimals), np.round(rng.normal(size=9), decimals)
    found = compare(seeds(first), seeds(second, start=100)).improvement
    share = stats.mannwhitneyu(first, second).statistic / (12 * 9)
    error = (0.5 - share) / stats.brunnermunzel(first, second).statistic  # which is their ratio
    effective = share * (1 - share) / error**2
    assert 9 < effective < 21
    assert found.value == pytest.approx(share, **EXACTLY)
    assert bounds(found) == pytest.approx(proportion_confint(share * effective, effective, method="wilson"), **EXACTLY)


def test_a_clean_sweep_counts_as_many_runs_as_the_smaller_group_has() -> None:
    found = compare(seeds([0.8, 0.9, 0.7, 0.8, 0.85]), seeds([0.1] * 7, start=100)).improvement
    assert found == Estimate(1.0, proportion(5, 5).low, 1.0, 5)


def test_ties_do_not_make_more_runs_than_there_are() -> None:
    found = compare(seeds([0.1, 0.1, 0.1, 0.1, 0.2]), seeds([0.1] * 5, start=100)).improvement
    assert bounds(found) == pytest.approx(bounds(proportion(6, 10)), **EXACTLY)  # the variance amounts to 24 runs


@pytest.mark.parametrize(("n", "correction"), [(3, 0.5642), (4, 0.7236), (11, 0.9228)])
def test_paired_effect_size_has_hedges_published_correction(n: int, correction: float) -> None:
    differences = np.random.default_rng(n).normal(size=n)
    found = compare(seeds(differences), seeds(np.zeros(n))).effect_size  # Hedges 1981, table 1: 2, 3 and 10 degrees
    assert found == pytest.approx(correction * differences.mean() / differences.std(ddof=1), rel=1e-4)


def test_unpaired_effect_size_is_hedges_g_with_gamma_functions() -> None:
    first, second = np.array([3.0, 5.0, 6.0, 8.0]), np.array([1.0, 2.0, 6.0])
    pooled = math.sqrt((first.var() * 4 + second.var() * 3) / 5)
    correction = math.gamma(2.5) / (math.sqrt(2.5) * math.gamma(2.0))
    found = compare(seeds(first), seeds(second, start=100)).effect_size
    assert found == pytest.approx(correction * 2.5 / pooled, **EXACTLY)


def test_effect_size_is_unbiased_for_normal_values() -> None:
    experiments = 1 + np.random.default_rng(1).normal(size=(4000, 6))
    found = [compare(seeds(runs), seeds(np.zeros(6))).effect_size for runs in experiments]
    assert np.mean(found) == pytest.approx(1, abs=4 * np.std(found) / math.sqrt(4000))


@pytest.mark.parametrize("start", [0, 100])
@pytest.mark.parametrize(("first", "second"), [([0.3] * 4, [0.1] * 4), ([0.3, 0.4], [0.1, 0.1]), ([0.3], [0.1])])
def test_effect_size_is_nan_without_spread_or_two_degrees_of_freedom(
    first: list[float], second: list[float], start: int
) -> None:
    found = compare(seeds(first), seeds(second, start))
    undefined = len(set(first)) == 1 or start == 0
    assert math.isnan(found.effect_size) == undefined
    assert found.difference.value == pytest.approx(np.mean(first) - np.mean(second), **EXACTLY)


def test_one_run_each_shows_nothing() -> None:
    for start in (0, 100):
        found = compare({0: 0.8}, {start: 0.1})
        assert (found.n, found.p_value) == (1, 1.0)
        assert np.isnan([found.difference.low, found.difference.high]).all()


def test_swapping_the_settings_mirrors_the_comparison() -> None:
    rng = np.random.default_rng(9)
    for start, n, m in [(0, 9, 9), (0, 40, 40), (100, 9, 9), (100, 16, 16), (100, 18, 13)]:
        first, second = seeds(0.5 + rng.normal(size=n)), seeds(rng.normal(size=m), start)
        there, back = compare(first, second), compare(second, first)
        assert 1e-4 < there.p_value < 0.9
        assert back.p_value == there.p_value
        assert back.effect_size == pytest.approx(-there.effect_size, **EXACTLY)
        assert bounds(back.difference) == pytest.approx((-there.difference.high, -there.difference.low), **EXACTLY)
        assert bounds(back.improvement) == pytest.approx(
            (1 - there.improvement.high, 1 - there.improvement.low), **EXACTLY
        )


def test_a_failed_run_is_refused_in_a_comparison() -> None:
    with pytest.raises(ValueError, match="nan among 2 values"):
        compare({0: 0.5, 1: 0.7}, {0: 0.5, 1: math.nan})


@pytest.mark.parametrize("settings", [2, 3, 6, 12])
def test_too_few_says_when_no_outcome_can_be_significant(settings: int) -> None:
    comparisons = math.comb(settings, 2)
    for n in range(1, 16):
        smallest = paired_p(np.linspace(1, 2, n))
        possible = smallest * comparisons <= 0.05
        reasons = too_few_of(dict.fromkeys("abcdefghijkl"[:settings], range(n)))
        assert len(reasons) == (0 if possible else settings)
        for sentence in reasons.values():
            needed = int(sentence.split("at least ")[1].split()[0])
            assert paired_p(np.linspace(1, 2, needed)) * comparisons <= 0.05
            assert paired_p(np.linspace(1, 2, needed - 1)) * comparisons > 0.05
            assert sentence.startswith(f"{n} seed{'s' if n > 1 else ''} can't show a difference")


def test_too_few_names_the_family() -> None:
    assert too_few_of(dict.fromkeys("abcdef", range(5)))["a"] == (
        "5 seeds can't show a difference: even if all agree, the paired test gives p = 0.94 "
        "after correction for 15 comparisons; at least 10 are needed"
    )
    assert too_few_of({"a": [], "b": range(6)}).keys() == {"a", "b"}
