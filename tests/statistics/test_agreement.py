"""What one more run, and another program, are held against."""

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from statsmodels.stats.weightstats import ttost_ind  # type: ignore[import-untyped]

from actsweep.statistics.power import equivalent, one_more

SEEDS = [88.0, 88.4, 88.2, 89.1, 88.7]


def test_one_more_run_falls_into_its_interval_19_times_of_20() -> None:
    found = one_more(SEEDS)
    reach = stats.t.ppf(0.975, 4) * np.std(SEEDS, ddof=1) * np.sqrt(1 + 1 / 5)
    assert (found.low, found.high) == pytest.approx((np.mean(SEEDS) - reach, np.mean(SEEDS) + reach))
    draws = np.random.default_rng(0).normal(size=(4000, 11))
    ends = [one_more(draw[:10]) for draw in draws]
    held = np.mean([end.low <= draw[10] <= end.high for end, draw in zip(ends, draws, strict=True)])
    assert held == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 4000))


@pytest.mark.parametrize(("sizes", "shift", "spread"), [((10, 10), 0.1, 1.0), ((4, 9), -0.4, 3.0), ((10, 10), 0.6, 1)])
def test_two_one_sided_tests_are_statsmodels(sizes: tuple[int, int], shift: float, spread: float) -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(shift, 0.3, sizes[0]), generator.normal(0, 0.3 * spread, sizes[1])
    found = equivalent(first, second, 0.5)
    p_value, *_ = ttost_ind(first, second, -0.5, 0.5, usevar="unequal")
    assert found.p_value == pytest.approx(p_value, rel=1e-10)
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx(tuple(interval))
    assert found.is_shown == (max(-found.low, found.high) < 0.5)


@pytest.mark.parametrize(("shift", "power"), [(0.5, 0.05), (0.0, 0.946)])
def test_programs_that_differ_by_the_margin_are_called_the_same_once_in_twenty(shift: float, power: float) -> None:
    """For no difference: the power of ten runs each at a deviation of 0.3, 0.946 in 200,000 other draws."""
    generator = np.random.default_rng(2)
    pairs = generator.normal(0, 0.3, (2000, 2, 10))
    shown = np.mean([equivalent(first + shift, second, 0.5).is_shown for first, second in pairs])
    assert shown == pytest.approx(power, abs=3 * np.sqrt(power * (1 - power) / 2000) + 0.005)


@pytest.mark.parametrize(("difference", "is_shown"), [(0.0, True), (0.25, True), (0.5, False)])
def test_runs_that_never_vary_are_the_same_if_they_differ_by_less_than_the_margin(
    difference: float, is_shown: bool
) -> None:
    assert equivalent([1.0 + difference] * 3, [1.0] * 3, 0.5).is_shown is is_shown
