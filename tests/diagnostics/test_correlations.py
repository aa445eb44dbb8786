"""How alike layers make two inputs: the map against quadrature and closed forms, networks against the map."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.diagnostics.correlations import Correlations, of_pairs
from actsweep.network.build import build_network
from actsweep.theory.correlations import correlations
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import MeanField
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
C = np.array([-0.9, 0.0, 0.3, 0.9, 0.99, 1.0])
SAME = np.zeros(len(C), dtype=np.int64), np.zeros(len(C), dtype=np.int64)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.Tanh(), nn.Hardswish(), nn.ELU(), nn.Sigmoid()], ids=str)
@pytest.mark.parametrize("q", [0.1, 3.0])
def test_many_pairs_at_once_are_mapped_as_each_by_quadrature(act: nn.Module, q: float) -> None:
    theory = MeanField(Function(act), 1.5, 0.1)
    (found,) = correlations(theory.act, np.array([q]), SAME, C, [1.5], [0.1])
    assert found == pytest.approx([theory.correlation(float(c), q) for c in C], abs=2e-5)


def test_relus_map_is_the_arc_cosine_kernel_whatever_the_lengths() -> None:
    pairs = np.zeros(len(C), dtype=np.int64), np.ones(len(C), dtype=np.int64)
    (found,) = correlations(Function(nn.ReLU()), np.array([0.2, 5.0]), pairs, C, [1.3], [0.0])
    angle = np.arccos(C)  # Cho & Saul 2009
    assert found == pytest.approx((np.sin(angle) + (math.pi - angle) * C) / math.pi, abs=1e-5)


def test_inputs_of_unequal_lengths_are_mapped_as_simulated() -> None:
    generator, c = torch.Generator().manual_seed(0), 0.6
    u, v = torch.randn(2, 1_000_000, generator=generator).double().numpy()
    one, other = np.tanh(math.sqrt(0.3) * u), np.tanh(2.0 * (c * u + math.sqrt(1 - c * c) * v))
    expected = (1.7 * (one * other).mean() + 0.2) / math.sqrt(
        (1.7 * (one**2).mean() + 0.2) * (1.7 * (other**2).mean() + 0.2)
    )
    (found,) = correlations(
        Function(nn.Tanh()), np.array([0.3, 4.0]), (np.array([0]), np.array([1])), np.array([c]), [1.7], [0.2]
    )
    assert found == pytest.approx([expected], abs=2e-3)


@pytest.mark.parametrize(
    "asked",
    [
        ["act=tanh", "init=variance", "init.weight_variance=2.0", "init.bias_variance=0.05"],
        ["act=relu", "init=kaiming"],
        ["act=swish"],
    ],
    ids=lambda asked: asked[0],
)
def test_twelve_networks_of_width_1024_are_within_one_percent_of_the_map(
    asked: list[str], settings_for: SettingsFor
) -> None:
    """The mean over 12 networks and 128 pairs each, whose correlations lie evenly between 0 and 0.98."""
    width, pairs = 1024, 128
    settings = settings_for(*asked, "depth=3", f"width={width}")
    generator, c = torch.Generator().manual_seed(0), torch.linspace(0, 0.98, pairs)[:, None]
    one, other = torch.randn(2, pairs, width, generator=generator)
    inputs = torch.stack([one, c * one + (1 - c * c).sqrt() * other], dim=1).flatten(0, 1)
    batch = inputs, torch.zeros(2 * pairs, dtype=torch.int64)
    rows = []
    for seed in range(12):
        module = build_network(settings.model_copy(update={"seed": seed}), width, 10)
        rows.append(list(Correlations().compare(module, batch).values()))
    theory, error = (
        np.array([[row[name].item() for row in each] for each in rows]).mean(axis=0)
        for name in ("correlation_theory", "correlation_error")
    )
    assert theory.shape == (3,)  # the layers after the first; the last has ten units
    assert np.abs(error / theory)[:-1].max() < 0.01


def test_three_networks_pairs_are_each_ones() -> None:
    z = torch.randn(3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.cosine_similarity(z[:, [0, 2, 4]], z[:, [1, 3, 5]], dim=2)  # the seventh has no neighbour
    torch.testing.assert_close(of_pairs(z), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(of_pairs(1e-30 * z.float()), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "layers"),
    [
        ([], ["layer_02", "layer_03"]),
        (["act=prelu"], ["layer_02", "layer_03"]),
        (["depth=1"], ["layer_02"]),
        (["depth=0"], []),
        (["act=maxout"], []),
        (["act=torch.nn.PReLU", "+act.num_parameters=16"], []),
        (["norm=layer"], []),
        (["init=ones"], []),
    ],
    ids=str,
)
def test_theory_stands_where_it_says_something(asked: list[str], layers: list[str], settings_for: SettingsFor) -> None:
    settings = settings_for(*SMALL, *asked)
    data = datamodule.open_data(settings.data, 0)
    module = build_network(settings, data.dataset.input_size, 10)
    assert list(Correlations().compare(module, data.probe(32))) == layers
