"""Theory of very small and very large numbers, and of functions that are others in training."""

import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from actsweep import predict
from actsweep.config.schema import Settings
from actsweep.network import activations
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import MeanField, layers, moments
from tests.network import own_activations

DEPTH = 100


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
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "act=sigmoid", "depth=400"])
    predict.main()
    first = next(line for line in capsys.readouterr().out.splitlines() if line.lstrip("│ ").startswith("1 "))
    assert [each.strip() for each in first.split("│")][-3:-1] == ["0", "0 to 0"]
