"""Theory of very small and very large numbers, and of functions that are others in training."""

import math
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from actsweep import predict
from actsweep.config.schema import Settings
from actsweep.network import activations
from actsweep.theory.critical import critical
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import MeanField, layers, limit, moments, second_moment
from tests.network import own_activations

DEPTH = 100
SettingsFor = Callable[..., Settings]


def root_q(act: nn.Module, weight: float) -> list[float]:
    found = layers(act, 1.0, [weight] * DEPTH, [0.0] * DEPTH, [100] * DEPTH)
    return np.sqrt(found.q).tolist()


@pytest.mark.parametrize("weight", [4.0, 0.2, 0.05])
def test_relus_variances_go_on_where_they_are_tiny_or_huge(weight: float) -> None:
    expected = [math.sqrt(weight) * (weight / 2) ** (layer / 2) for layer in range(DEPTH)]
    assert min(expected) < 1e-7 or max(expected) > 1e7
    held = [value for value in expected if 1e-38 < value < 1e38]
    assert root_q(nn.ReLU(), weight)[: len(held)] == pytest.approx(held, rel=1e-9, abs=0)


def test_tanhs_variances_go_on_where_it_is_linear() -> None:
    found = root_q(nn.Tanh(), 0.0256)
    assert np.divide(found[15:45], found[14:44]).tolist() == pytest.approx([0.16] * 30, rel=1e-9)


def test_variances_that_diverge_slowly_have_no_fixed_point() -> None:
    relu = Function(nn.ReLU())
    found = {MeanField(relu, weight, 0.0).fixed_point(q) for weight in (2.02, 2.2) for q in (0.5, 1.0, 3.0)}
    for act, weight in ((Function(nn.Identity()), 1.0), (relu, 2.0)):  # by as much in each layer
        found |= {MeanField(act, weight, bias).fixed_point() for bias in (0.1, 0.01, 0.001)}
    assert found == {math.inf}
    assert MeanField(relu, 1.0, 0.3).fixed_point() == pytest.approx(0.6, rel=1e-12)


@pytest.mark.parametrize("q", [1e-90, 1e90])
@pytest.mark.parametrize("power", [2, 3, 9])
def test_moments_of_powers_raise_nothing_wherever_they_are(power: int, q: float) -> None:
    found = moments(Function(activations.build({"_target_": "torch.pow", "exponent": power})), q)
    assert found.square >= 0


@pytest.mark.parametrize("act", [nn.RReLU(), nn.Sequential(nn.ReLU(), nn.Dropout(0.5)), own_activations.TwoFaced()])
def test_a_function_that_is_another_in_training_has_no_theory(act: nn.Module) -> None:
    with pytest.raises(ValueError, match="is another function in training: the theory is of one function"):
        Function(act)


def test_several_networks_are_none_that_the_command_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "-m", "act=relu,tanh"])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: -m: must be KEY=VALUE, of one network: ")


def test_gradients_that_vanish_beyond_numbers_are_0_in_all_networks(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "act=sigmoid", "depth=400"])
    predict.main()
    first = next(line for line in capsys.readouterr().out.splitlines() if line.lstrip("│ ").startswith("1 "))
    assert [each.strip() for each in first.split("│")][-3:-1] == ["0", "0 to 0"]


@pytest.mark.parametrize(
    ("gain", "act"), [(1.4142136, nn.ReLU()), (1.4142135, nn.ReLU()), (1.4071951, nn.LeakyReLU(0.1))]
)
def test_a_gain_to_eight_digits_neither_grows_nor_shrinks_what_it_is_made_to_keep(gain: float, act: nn.Module) -> None:
    end = limit(MeanField(Function(act), gain**2, 0.0), 2.0)
    assert (end.q, end.correlation, end.depth_scale > 1e6) == (2.0, 1.0, True)


@pytest.mark.parametrize(("variances", "expected"), [((1e300, 1e300), math.inf), ((1.0, 0.1), 0.2)])
def test_variances_start_anywhere(variances: tuple[float, float], expected: float) -> None:
    for start in (1e-200, 1.0, 1e200):
        assert MeanField(Function(nn.ReLU()), *variances).fixed_point(start) == pytest.approx(expected)


def test_averages_that_lie_beyond_what_is_averaged_over_are_infinite_and_no_edge_of_chaos() -> None:
    exponential = Function(activations.build({"_target_": "torch.exp"}))
    assert second_moment(exponential, 4.0) == pytest.approx(math.exp(8), rel=1e-9)
    assert second_moment(exponential, 60.0) == second_moment(exponential, 1e9) == math.inf
    assert moments(exponential, 60.0).square == math.inf
    with pytest.raises(ValueError, match="exp has no useful edge of chaos"):
        critical(exponential, 0.1)
    assert second_moment(Function(nn.Hardshrink(0.5)), 0.0018) == pytest.approx(0, abs=1e-30)  # 11.8 deviations away


def test_what_no_number_holds_warns_of_nothing() -> None:
    """Warnings are errors here."""
    found = layers(activations.build({"_target_": "torch.square"}), 1.0, [2.0] * 20, [0.0] * 20, [100] * 20)
    assert found.gradients[0] == math.inf
    assert math.isinf(limit(MeanField(Function(activations.build({"_target_": "torch.exp"})), 1.0, 0.0)).q)


def test_where_there_is_no_edge_of_chaos_the_initialisations_that_are_named_instead_work(
    settings_for: SettingsFor,
) -> None:
    with pytest.raises(ValueError, match="no useful edge of chaos") as told:
        critical(nn.Softplus(), 0.1)
    named = re.findall(r"init=\w+", str(told.value))
    assert named == ["init=gain", "init=variance"]
    for init in named:
        assert predict.predict(settings_for("act=softplus", init, "depth=2"))


def test_keys_that_theory_knows_nothing_of_are_named(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "Theory knows nothing of data=digits, optim.lr=3, seed=7: it is of untrained networks, whatever the data."
    for more in ([], ["data=digits", "optim.lr=3", "seed=7"]):
        monkeypatch.setattr(
            sys, "argv", ["theory", "act=relu", "init=gain", "init.gain=2", "depth=2", "width=8", *more]
        )
        predict.main()
        assert (said in capsys.readouterr().out) == bool(more)


def test_where_all_weights_are_0_it_is_not_the_slope_that_is(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "act=relu", "init=variance", "init.weight_variance=0", "depth=1"])
    predict.main()
    assert "relu at init=variance: χ₁ = 0, so no gradient passes many layers" in capsys.readouterr().out


def test_tiny_shares_of_dead_networks_are_not_0_and_huge_slopes_have_few_digits(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """128 units are all off with a probability of 2⁻¹²⁸."""
    for given in (["act=relu", "width=128"], ["act=tanh", "init=variance", "init.weight_variance=1e300", "width=64"]):
        monkeypatch.setattr(sys, "argv", ["theory", *given, "depth=1"])
        predict.main()
    said = capsys.readouterr().out
    assert "Born dead at one input, at most over all (Lu et al. 2019): 2.9e-39." in said
    assert re.search(r"√χ₁ = 2\.306e\+146,", said)
