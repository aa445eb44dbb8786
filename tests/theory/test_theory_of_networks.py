"""Mean-field theory and networks: what wide random ones do, and what command and diagnostic say of them."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from actsweep import predict as program
from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.diagnostics.taxonomy import always_linear, always_off, always_saturated, collapsed
from actsweep.diagnostics.theory import Theory
from actsweep.network.build import build_network
from actsweep.statistics.inference import proportion
from actsweep.theory.critical import of_layer
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import MeanField, born_dead, layers
from tests.conftest import SMALL
from tests.theory.test_theory import phi

SettingsFor = Callable[..., Settings]


def test_critical_weights_and_biases_have_their_variances(settings_for: SettingsFor) -> None:
    settings = settings_for("act=torch.nn.Tanh", "init=critical", "depth=2", "width=600", "init.q=0.5")
    tap = build_network(settings, 784, 10).network.taps()[1]
    assert of_layer(tap.linear.weight, tap.linear.bias) == pytest.approx((1.688, 0.0380), rel=0.12)
    assert of_layer(tap.linear.weight, None)[0] == pytest.approx(1.688, rel=0.01)


def test_correlations_of_a_wide_network_converge_as_predicted() -> None:
    generator, nets, width = torch.Generator().manual_seed(0), 40, 500
    theory = MeanField(Function(nn.Tanh()), 2.5, 0.05)
    q, c = theory.fixed_point(), 0.2
    pair = torch.randn(nets, 2, width, generator=generator)
    z = math.sqrt(q) * torch.stack([pair[:, 0], c * pair[:, 0] + math.sqrt(1 - c * c) * pair[:, 1]], dim=1)
    for _ in range(3):
        weight = torch.randn(nets, width, width, generator=generator) * math.sqrt(2.5 / width)
        z = torch.tanh(z) @ weight.mT + math.sqrt(0.05) * torch.randn(nets, 1, width, generator=generator)
        c = theory.correlation(c, q)
        measured = (z[:, 0] * z[:, 1]).mean() / z.square().mean()
        assert measured.item() == pytest.approx(c, abs=0.02)


@pytest.mark.parametrize("init", ["default", "critical"])
@pytest.mark.parametrize("act", ["tanh", "relu", "swish", "selu", "hardswish"])
def test_a_wide_networks_layers_are_as_predicted(act: str, init: str, settings_for: SettingsFor) -> None:
    depth, width, seeds = 8, 512, 4
    found: list[Any] = []
    for seed in range(seeds):
        asked = [f"act={act}", f"init={init}", f"depth={depth}", f"width={width}", f"seed={seed}"]
        module = build_network(settings_for(*asked), width, 10)
        inputs = torch.randn(16, width, generator=torch.Generator().manual_seed(seed))
        rows = Theory().compare(module, (inputs, torch.arange(16) % 10))
        found.append(
            [
                [row["pre_activation_rms_error"].item(), row["delta_ratio_error"].item()]
                for row in list(rows.values())[:-1]
            ]
        )
    errors = np.array(found)
    # The noise of rms adds up over layers, that of ratios doesn't: single layers' means are within four of theirs.
    same = [[1.0] * (depth + 1), [0.0] * (depth + 1), [width] * (depth + 1)]
    predicted = layers(phi(act, settings_for), 1.0, *same)  # type: ignore[arg-type]
    rms, ratios = errors[:, :, 0].mean(axis=0), errors[:, :, 1]
    assert abs(ratios.mean()) < 0.02
    assert np.abs(ratios.mean(axis=0)).max() < 4 * predicted.chi_noise.max() / math.sqrt(seeds)
    assert (np.abs(rms) < 4 * predicted.rms_noise[:-1] / math.sqrt(seeds) + 0.01).all()


def test_the_diagnostic_says_where_theory_and_network_part(settings_for: SettingsFor) -> None:
    settings = settings_for(*SMALL, "act=tanh", "depth=4", "width=128", "init=lecun")
    data = datamodule.open_data(settings.data, 0)
    module = build_network(settings, data.dataset.input_size, 10)
    whole = Theory().compare(module, data.probe(256))
    assert sum(row["theory_deviates"].item() for row in whole.values()) == 0
    with torch.no_grad():  # correlated weights: no mean field
        weight = module.network.taps()[2].linear.weight
        weight.copy_(weight[:1].expand_as(weight) * torch.randn(128, 1, generator=torch.Generator().manual_seed(0)))
    broken = Theory().compare(module, data.probe(256))
    assert broken["layer_02"]["theory_deviates"].item() + broken["layer_03"]["theory_deviates"].item() > 0


@pytest.mark.parametrize("override", ["init=ones", "act=maxout", "norm=batch", "depth=0"])
def test_the_diagnostic_keeps_silent_where_theory_says_nothing(override: str, settings_for: SettingsFor) -> None:
    settings = settings_for(*SMALL, override)
    data = datamodule.open_data(settings.data, 0)
    assert Theory().compare(build_network(settings, data.dataset.input_size, 10), data.probe(32)) == {}


def test_how_often_relu_networks_are_born_dead() -> None:
    generator = torch.Generator().manual_seed(0)
    nets, width, depth, inputs = 4000, 3, 8, 40
    h = torch.randn(1, inputs, width, generator=generator).expand(nets, -1, -1)
    for _ in range(depth):
        h = torch.relu(h @ torch.randn(nets, width, width, generator=generator))
    expected = float(born_dead([width] * depth)[-1])
    at_one = proportion(int((h[:, 0] == 0).all(dim=1).sum()), nets)
    at_all = proportion(int((h == 0).all(dim=2).all(dim=1).sum()), nets)
    assert at_one.low < expected < at_one.high
    assert at_all.high < expected  # for all inputs it is an upper bound


def test_useless_units_are_told_apart() -> None:
    pre = torch.tensor([[[-1.0, 2.0, -1.0, 9.0, 7.0], [-2.0, 1.0, 1.0, 8.0, 7.0]]])  # (K=1, N=2, H=5)
    relu6, slopes = pre.clamp(0, 6), ((pre > 0) & (pre < 6)).float()
    assert always_off(pre, slopes).tolist() == [[True, False, False, False, False]]
    assert always_linear(slopes).tolist() == [[False, True, False, False, False]]
    assert always_saturated(slopes, torch.ones(1)).tolist() == [[True, False, False, True, True]]
    assert collapsed(relu6).tolist() == [[True, False, False, True, True]]


def test_the_command_prints_a_table_and_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "act=swish", "init=default", "depth=50"])
    program.main()
    shown = capsys.readouterr().out
    assert "√χ₁ = 0.2889" in shown
    assert "gradients vanish, 4.3e-27 of the last hidden layer's reach the first of 50" in shown


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["act=maxout"], "Maxout takes several inputs per unit"),
        (["depth=0"], "the theory is of networks with hidden layers"),
        (["norm=batch"], "use norm=none"),
    ],
)
def test_the_command_says_what_theory_is_not_about(
    overrides: list[str], message: str, settings_for: SettingsFor
) -> None:
    with pytest.raises(ValueError, match=message):
        program.predict(settings_for(*overrides))


@pytest.mark.parametrize(
    ("overrides", "verdict"),
    [
        (["act=tanh", "init=critical", "depth=50"], "edge of chaos"),
        (["act=sigmoid", "init=critical", "depth=3"], "standard deviation of 6.75"),
        (["act=step"], "no gradient passes"),
        (["act=relu", "init=lecun"], "Pre-activations vanish with depth: q* = 0."),
        (["act=relu", "init=gain", "init.gain=3", "depth=20"], "explode"),
    ],
)
def test_verdicts(overrides: list[str], verdict: str, settings_for: SettingsFor) -> None:
    settings = settings_for(*overrides)
    found, end, _ = program.predict(settings)
    assert verdict in " ".join(program.verdict(settings, found, end))


@pytest.mark.parametrize("given", ["act=relu,tanh", "act=[relu,tanh]", "depth=range(1,4)", "init=glob(*)"])
def test_several_networks_are_refused_without_a_command_that_theory_has_not(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", given])
    with pytest.raises(SystemExit):
        program.main()
    assert capsys.readouterr().err == f"error: {given}: must be one value, theory is of one network; give one\n"
