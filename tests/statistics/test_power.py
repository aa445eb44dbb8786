"""How many seeds would do, against closed forms, SciPy's noncentral t, and the test of inference.py itself."""

import math

import numpy as np
import pytest
from scipy import special, stats

from actsweep.statistics import inference
from actsweep.statistics.power import (
    MOST,
    SIMULATED,
    effect_of,
    fewest,
    needed,
    p_values,
    power,
    seeds_needed,
    smallest_p,
    too_few_of,
)

NOISE = 4 * math.sqrt(0.25 / SIMULATED)  # four standard errors of a simulated share


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_six_pairs_show_a_difference_just_where_all_agree(effect: float) -> None:
    agree = float(special.ndtr(effect) ** 6 + special.ndtr(-effect) ** 6)
    assert power(effect, 6) == pytest.approx(agree, abs=NOISE)
    assert power(effect, 5) == 0
    assert power(effect, 6, comparisons=2) == 0  # p = 2/64 each


@pytest.mark.parametrize("n", [20, 60, 150, 300])
def test_of_many_normal_pairs_the_power_is_students(n: int) -> None:
    effect = 2.5 / math.sqrt(n)
    expected = stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, 2.5)
    assert power(effect, n) == pytest.approx(expected, abs=NOISE)


def testp_values_are_those_of_the_comparison() -> None:
    rows = np.random.default_rng(0).normal(0.5, 1, (20, 9))
    nothing = dict.fromkeys(range(9), 0.0)
    asked = [inference.compare(dict(enumerate(row)), nothing).p_value for row in rows.tolist()]
    assert p_values(rows).tolist() == pytest.approx(asked, abs=1e-12)


def test_the_effects_interval_holds_the_truth() -> None:
    generator = np.random.default_rng(0)
    found = [effect_of(generator.normal(0.8, 1, 8).tolist()) for _ in range(200)]
    held = sum(each.low <= 0.8 <= each.high for each in found)
    assert held / 200 == pytest.approx(0.95, abs=0.05)
    assert np.mean([each.value for each in found]) == pytest.approx(0.8, abs=0.1)  # Hedges' correction


def test_so_many_seeds_keep_what_is_promised_also_of_skewed_differences() -> None:
    generator = np.random.default_rng(0)
    differences = generator.exponential(1, 40) + 0.2
    n = int(seeds_needed(differences.tolist()).value)
    nothing = dict.fromkeys(range(n), 0.0)
    drawn = [dict(enumerate(generator.choice(differences, n).tolist())) for _ in range(500)]
    shown = np.mean([inference.compare(each, nothing).p_value <= 0.05 for each in drawn])
    values = (differences - differences.mean()) / differences.std()
    promised = power(effect_of(differences.tolist()).value, n, shape=values)
    assert promised >= 0.8
    assert shown == pytest.approx(promised, abs=0.05)


def test_what_few_seeds_leave_open_is_said() -> None:
    open_ended = seeds_needed([0.1, -0.2, 0.15])
    assert open_ended.low < open_ended.value < open_ended.high == math.inf
    assert seeds_needed([0.3, 0.3, 0.3]).n == 3
    assert math.isnan(seeds_needed([0.3, 0.3, 0.3]).value)
    assert needed(1.0, comparisons=15) > needed(1.0)


@pytest.mark.parametrize(("n", "other"), [(2, 5), (3, 3), (4, 4), (5, 7), (6, None), (9, None)])
def test_where_all_agree_the_comparison_gives_the_smallest_p(n: int, other: int | None) -> None:
    better = {seed: 1.0 + seed**2 for seed in range(n)}
    worse = {seed: -float(seed) for seed in (range(n) if other is None else range(100, 100 + other))}
    assert inference.compare(better, worse).p_value == pytest.approx(smallest_p(n, other), rel=1e-12)
    assert fewest(3, other) <= fewest(3)


def test_four_runs_against_four_of_other_seeds_can_show_a_difference_and_three_cant() -> None:
    assert too_few_of({"relu": range(4), "tanh": range(4, 8)}) == {}
    assert too_few_of({"relu": range(3), "tanh": range(3, 6)})["relu"] == (
        "3 seeds can't show a difference: even if all agree, the unpaired test gives p = 0.1; "
        "at least 4 are needed, or 6 that both have"
    )


def test_one_run_against_thirty_shows_no_difference_though_p_is_small() -> None:
    many, one = {seed: 0.9 + 0.001 * seed for seed in range(30)}, {50: 0.1}
    assert inference.compare(many, one).p_value < 0.05
    assert not inference.compare(many, one).differ
    assert set(too_few_of({"relu": many, "tanh": one})) == {"relu", "tanh"}


def test_only_settings_that_no_outcome_can_tell_from_any_other_have_too_few_seeds() -> None:
    ten = range(10)
    assert too_few_of({"relu": ten, "tanh": ten}) == {}
    assert too_few_of({"relu": ten}) == {}
    few = too_few_of({"relu": ten, "elu": range(2), "tanh": ten, "selu": range(5)})
    assert list(few) == ["selu", "elu"]
    assert few["elu"].startswith("2 seeds can't show a difference")
    assert set(too_few_of(dict.fromkeys("abc", range(6)))) == set("abc")
    many = {"relu": [2]} | {act: range(3) for act in ("tanh", "elu", "selu", "swish", "gelu")}
    assert {why[:7] for act, why in too_few_of(many).items() if act != "relu"} == {"3 seeds"}
    best = {"a": ten, "b": ten, "c": range(6)}  # 3 pairs: Holm multiplies the two of c by 2
    assert "gives p = 0.063 after correction for 3 comparisons" in too_few_of(best)["c"]


def test_more_pairs_than_anyone_makes_are_no_number() -> None:
    """Also between the largest that is tried and the largest that counts."""
    effects = [2.8 / n**0.5 for n in (9_000, 12_000)]
    assert [needed(effect) <= MOST for effect in effects] == [True, False]
    assert needed(effects[1]) == math.inf
