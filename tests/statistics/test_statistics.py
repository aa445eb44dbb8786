"""Estimates and tests against other implementations, enumeration, published examples and simulated truth."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from actsweep.statistics import inference
from actsweep.statistics.inference import Estimate, compare, interquartile_mean, mean, median, proportion, trained

Floats = NDArray[np.float64]
EXACTLY = {"rel": 1e-9, "abs": 1e-12}
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]  # Darwin's, in Fisher 1935, section 17
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]  # Student 1908
KINDS = ("normal", "lognormal", "bimodal")
RUNS = (5, 10, 30)


def draw(kind: str, rng: np.random.Generator, shape: tuple[int, ...], high: float = 0.2) -> Floats:
    if kind == "bimodal":
        return np.where(rng.random(shape) < high, 0.87, 0.10) + 0.01 * rng.normal(size=shape)
    return rng.normal(size=shape) if kind == "normal" else np.exp(rng.normal(size=shape))


def truth(statistic: str, kind: str) -> float:
    """Closed forms; the upper mode of the bimodal values lies above their third quartile."""
    quartile = special.ndtri(0.75)
    low, high = special.ndtri(0.25 / 0.8), special.ndtri(0.75 / 0.8)
    return {
        ("mean", "normal"): 0.0,
        ("mean", "lognormal"): math.exp(0.5),
        ("mean", "bimodal"): 0.8 * 0.10 + 0.2 * 0.87,
        ("median", "normal"): 0.0,
        ("median", "lognormal"): 1.0,
        ("median", "bimodal"): 0.10 + 0.01 * special.ndtri(0.5 / 0.8),
        ("iqm", "normal"): 0.0,
        ("iqm", "lognormal"): 2 * math.exp(0.5) * (special.ndtr(quartile - 1) - special.ndtr(-quartile - 1)),
        ("iqm", "bimodal"): 0.10 + 0.01 * (stats.norm.pdf(low) - stats.norm.pdf(high)) / (0.5 / 0.8),
    }[statistic, kind]


def covered(estimates: list[Estimate], value: float) -> float:
    return 100 * sum(found.low <= value <= found.high for found in estimates) / len(estimates)


def seeds(values: Floats | list[float], start: int = 0) -> dict[int, float]:
    return {start + seed: float(value) for seed, value in enumerate(values)}


def bounds(found: Estimate) -> tuple[float, float]:
    return found.low, found.high


# --- estimates


def test_mean_of_students_sleep_data_has_the_interval_that_r_gives() -> None:
    found = mean(SLEEP)
    assert (found.value, found.n) == (pytest.approx(1.58, **EXACTLY), 10)
    assert bounds(found) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)  # R: t.test(extra ~ group, paired = TRUE)


@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_mean_agrees_with_the_one_sample_t_test(n: int) -> None:
    values = draw("lognormal", np.random.default_rng(n), (n,))
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert bounds(mean(values.tolist())) == pytest.approx((expected.low, expected.high), **EXACTLY)


@pytest.mark.parametrize("n", range(6, 41))
def test_median_agrees_with_the_inverted_quantile_test(n: int) -> None:
    values = draw("lognormal", np.random.default_rng(n), (n,))
    expected = stats.quantile_test(values, p=0.5).confidence_interval()
    found = median(values.tolist())
    assert found == Estimate(sorted(values)[n // 2] if n % 2 else found.value, expected.low, expected.high, n)
    assert found.value == pytest.approx(np.sort(values)[[(n - 1) // 2, n // 2]].mean(), **EXACTLY)


def test_median_of_five_lies_between_the_extremes() -> None:
    assert median([3.0, 1.0, 5.0, 2.0, 9.0]) == Estimate(3.0, 1.0, 9.0, 5)


def test_interquartile_mean_drops_a_quarter_rounded_down_at_each_end() -> None:
    assert interquartile_mean([9.0, 0.0, 2.0, 4.0]).value == 3.0
    assert interquartile_mean([7.0, 1.0, 100.0, 2.0, 3.0, -50.0, 5.0]).value == pytest.approx(18 / 5, **EXACTLY)
    assert interquartile_mean([1.0, 2.0, 9.0]).value == 4.0  # a quarter of 3 is less than one value


def widened_percentile(values: Floats, places: NDArray[np.intp]) -> Floats:
    """(experiments, n) → (2, experiments): the interval over resamples (R, n), by weights of the ordered values."""
    n = values.shape[1]
    middle = np.sort(places)[:, n // 4 : n - n // 4]
    weights = np.stack([(middle == place).mean(1) for place in range(n)])
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    blocks = [np.sort(block) @ weights for block in np.array_split(values, max(1, len(values) // 250))]
    return np.concatenate([np.quantile(block, [tail, 1 - tail], axis=1) for block in blocks], axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_interquartile_interval_agrees_with_that_over_all_resamples(kind: str) -> None:
    values = draw(kind, np.random.default_rng(3), (20, 5))
    low, high = widened_percentile(values, np.array(list(product(range(5), repeat=5))))
    found = np.array([bounds(interquartile_mean(row)) for row in values.tolist()])
    assert np.abs(found - np.stack([low, high], axis=1)).max(axis=1) == pytest.approx(0, abs=0.02 * np.max(high - low))


@pytest.mark.parametrize("n", RUNS[1:])
def test_interquartile_interval_agrees_with_that_over_other_resamples(n: int) -> None:
    rng = np.random.default_rng(n)
    values = draw("lognormal", rng, (20, n))
    low, high = widened_percentile(values, rng.integers(n, size=(40_000, n)))
    found = np.array([bounds(interquartile_mean(row)) for row in values.tolist()])
    assert np.all(np.abs(found - np.stack([low, high], axis=1)) < 0.06 * (high - low)[:, None])


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (3, 7), (30, 30), (417, 1000)])
def test_proportion_agrees_with_two_other_wilson_intervals(successes: int, n: int) -> None:
    found = proportion(successes, n)
    scipys = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.value, found.n) == (successes / n, n)
    assert bounds(found) == pytest.approx(proportion_confint(successes, n, method="wilson"), **EXACTLY)
    assert bounds(found) == pytest.approx((scipys.low, scipys.high), **EXACTLY)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_proportion_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert bounds(proportion(successes, n)) == pytest.approx((low, high), abs=5e-5)  # Newcombe 1998, table I, method 3


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_proportions_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"successes={successes}: must be between 0 and n={n}"):
        proportion(successes, n)


@pytest.mark.parametrize("estimate", [mean, median, interquartile_mean])
class TestEveryEstimate:
    def test_of_nothing_is_nan(self, estimate: Callable[[list[float]], Estimate]) -> None:
        found = estimate([])
        assert np.isnan([found.value, found.low, found.high]).all()
        assert found.n == 0

    def test_of_one_run_has_no_interval(self, estimate: Callable[[list[float]], Estimate]) -> None:
        found = estimate([0.3])
        assert (found.value, found.n) == (0.3, 1)
        assert np.isnan([found.low, found.high]).all()

    @pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 30])
    @pytest.mark.parametrize("value", [0.1, -1 / 3, 0.0, 1e-30, 1e30])
    def test_of_equal_runs_has_no_width(
        self, estimate: Callable[[list[float]], Estimate], n: int, value: float
    ) -> None:
        assert estimate([value] * n) == Estimate(value, value, value, n)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_of_a_failed_run_is_refused(self, estimate: Callable[[list[float]], Estimate], bad: float) -> None:
        with pytest.raises(ValueError, match=f"{bad} among 3 values: leave failed runs out"):
            estimate([0.5, bad, 0.7])

    def test_does_not_depend_on_the_order_of_runs_or_on_chance(
        self, estimate: Callable[[list[float]], Estimate]
    ) -> None:
        values = draw("normal", np.random.default_rng(0), (12,)).tolist()
        assert estimate(values) == estimate(list(values))
        assert bounds(estimate(values[::-1])) == pytest.approx(bounds(estimate(values)), **EXACTLY)


@pytest.mark.parametrize("estimate", [median, interquartile_mean])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_robust_estimates_have_no_interval_below_five_runs(estimate: Callable[[list[float]], Estimate], n: int) -> None:
    found = estimate([0.1, 0.2, 0.4, 0.8][:n])
    assert 0.1 < found.value < 0.8
    assert np.isnan([found.low, found.high]).all()


def test_an_interval_is_cut_at_what_is_possible_and_nothing_else_changes() -> None:
    found = mean([0.97, 0.99, 1.0])
    cut = found.within(0, 1)
    assert found.high > 1
    assert cut == Estimate(found.value, found.low, 1, 3)
    assert found.within(-9, 9) == found
    assert np.isnan(bounds(mean([0.3]).within(0, 1))).all()


def test_proportion_of_nothing_is_nan() -> None:
    found = proportion(0, 0)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.n == 0


# --- coverage: the table in the module's docstring, for 5, 10 and 30 runs

COVERAGE = {
    "mean": {"normal": (95, 95, 95), "lognormal": (82, 83, 88), "bimodal": (66, 89, 94)},
    "median": {"normal": (94, 98, 96), "lognormal": (94, 98, 96), "bimodal": (94, 98, 96)},
    "iqm": {"normal": (94, 98, 96), "lognormal": (94, 97, 96), "bimodal": (94, 97, 96)},
    "difference": {"normal": (96, 95, 95), "lognormal": (98, 97, 96), "bimodal": (97, 95, 95)},
    "improvement": {"normal": (97, 96, 95), "lognormal": (96, 96, 96), "bimodal": (96, 96, 95)},
}
CASES = [(kind, n, at) for kind in KINDS for at, n in enumerate(RUNS)]


def check_coverage(statistic: str, kind: str, at: int, measured: float) -> None:
    """As documented, and within 3 points of 95 % where it is promised: everywhere but for means that are not normal."""
    assert measured == pytest.approx(COVERAGE[statistic][kind][at], abs=2.5)  # standard error: 0.9 at most
    if statistic not in ("mean", "difference") or kind == "normal":
        assert measured == pytest.approx(95, abs=3)


@pytest.mark.parametrize(("kind", "n", "at"), CASES)
@pytest.mark.parametrize(("statistic", "estimate"), [("mean", mean), ("median", median)])
def test_coverage_is_as_documented(
    statistic: str, estimate: Callable[[list[float]], Estimate], kind: str, n: int, at: int
) -> None:
    experiments = draw(kind, np.random.default_rng(n), (3000, n)).tolist()
    measured = covered([estimate(runs) for runs in experiments], truth(statistic, kind))
    check_coverage(statistic, kind, at, measured)


@pytest.mark.parametrize(("kind", "n", "at"), CASES)
def test_interquartile_coverage_is_as_documented(kind: str, n: int, at: int) -> None:
    rng = np.random.default_rng(n)
    low, high = widened_percentile(draw(kind, rng, (1500, n)), rng.integers(n, size=(9_999, n)))
    check_coverage("iqm", kind, at, 100 * float(np.mean((low <= truth("iqm", kind)) & (truth("iqm", kind) <= high))))


@pytest.mark.parametrize(("kind", "n", "at"), CASES)
def test_unpaired_coverage_is_as_documented(kind: str, n: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_shuffle_p", lambda *_: 1.0)  # slow, and not in question here
    rng = np.random.default_rng(n)
    shift = {"normal": 1.0, "lognormal": 0.5, "bimodal": 0.0}[kind]
    firsts, seconds = draw(kind, rng, (2000, n), high=0.5) + shift, draw(kind, rng, (2000, n))
    found = [compare(seeds(a), seeds(b, start=n)) for a, b in zip(firsts, seconds, strict=True)]
    check_coverage("difference", kind, at, covered([one.difference for one in found], shift or 0.3 * 0.77))
    # A normal pair's difference is N(1, 2); a bimodal pair is decided by its modes, or by chance if they are the same.
    better = {"normal": special.ndtr(1 / math.sqrt(2)), "lognormal": 0.6593, "bimodal": 0.5 * 0.8 + 0.5 * 0.5}[kind]
    check_coverage("improvement", kind, at, covered([one.improvement for one in found], better))


@pytest.mark.parametrize("n", RUNS)
def test_wilson_covers_95_percent_on_average_over_shares(n: int) -> None:
    intervals = np.array([bounds(proportion(successes, n)) for successes in range(n + 1)])
    shares = np.linspace(0.0005, 0.9995, 1000)[:, None]
    inside = (intervals[:, 0] <= shares) & (shares <= intervals[:, 1])
    coverage = (stats.binom.pmf(np.arange(n + 1), n, shares) * inside).sum(1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() < 0.92  # not at every single share


def test_trained_needs_a_tenth_of_the_gap_between_chance_and_perfection() -> None:
    assert [trained(accuracy, classes=10) for accuracy in (0.1, 0.189, 0.191, 1.0)] == [False, False, True, True]
    assert [trained(accuracy, classes=2) for accuracy in (0.5, 0.549, 0.551)] == [False, False, True]
