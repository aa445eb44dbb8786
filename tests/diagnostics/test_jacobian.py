"""Singular values of networks' Jacobians: against NumPy's, against theory, and of stacks as of lone networks."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.diagnostics.correlations import Correlations
from actsweep.diagnostics.jacobian import Jacobian, differentiated, singular_values
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.network.losses import LOSSES
from actsweep.results import run_folder
from actsweep.training.stack.network import Stack
from actsweep.training.stack.training import Training
from tests.conftest import SMALL
from tests.diagnostics.test_foreign_modules import rows_of
from tests.training.stack.test_stack import CPU, DOUBLE, networks, several

SettingsFor = Callable[..., Settings]
WIDTH, NETWORKS, EXAMPLES = 256, 40, 16


@pytest.mark.parametrize(
    "asked",
    [["act=maxout"], ["act=prelu"], ["act=tanh", "norm=layer"], ["act=step"], ["depth=0"], ["width=4"]],
    ids=str,
)
def test_the_first_layers_are_the_singular_values_of_the_whole_network(
    asked: list[str], settings_for: SettingsFor
) -> None:
    module = build_network(settings_for(*SMALL, DOUBLE, *asked), 8, 10)
    inputs = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = singular_values(differentiated(module, inputs)[0].jacobian)
    whole = torch.autograd.functional.jacobian(lambda x: module(x[None])[0], inputs[0])
    each = [torch.autograd.functional.jacobian(lambda x: module(x[None])[0], x) for x in inputs]
    assert whole.shape == (10, 8)
    values = np.array([np.linalg.svd(one.numpy(), compute_uv=False) for one in each])
    assert found[0].tolist() == pytest.approx([(values**2).sum() / 10 / 3])  # ten, two of which are 0
    assert found[1].tolist() == pytest.approx([values[:, 0].mean()], abs=1e-7)


def test_each_layers_is_the_product_of_weights_and_slopes_above_it() -> None:
    network = {"input_size": 5, "hidden_sizes": [4, 3], "output_size": 2, "act": {"_target_": "torch.nn.Tanh"}}
    module = Classifier(network, {"_target_": "torch.optim.SGD"}).double()
    x = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second, last = (tap.linear for tap in module.network.taps())
    z1 = first(x)
    z2 = second(torch.tanh(z1))
    above_last = last.weight
    above_second = above_last @ torch.diag(1 - torch.tanh(z2[0]) ** 2) @ second.weight
    above_first = above_second @ torch.diag(1 - torch.tanh(z1[0]) ** 2) @ first.weight
    for layer, expected in zip(differentiated(module, x), (above_first, above_second, above_last), strict=True):
        torch.testing.assert_close(layer.jacobian[0, 0], expected.detach(), rtol=1e-12, atol=1e-14)


def test_below_a_function_without_a_gradient_it_is_0() -> None:
    act = {"_target_": "tests.network.own_activations.hard"}
    network = {"input_size": 5, "hidden_sizes": [4, 3], "output_size": 2, "act": act}
    module = Classifier(network, {"_target_": "torch.optim.SGD"})
    first, second, last = (layer.jacobian for layer in differentiated(module, torch.rand(2, 5)))
    assert not first.any()
    assert not second.any()
    torch.testing.assert_close(last[0, 1], module.network.taps()[-1].linear.weight.detach())


@pytest.mark.parametrize("init", ["lecun", "orthogonal"])
@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_the_mean_square_is_theorys_within_two_percent(act: str, init: str, settings_for: SettingsFor) -> None:
    """Means over 40 networks of three layers of 256 units and 16 inputs each."""
    settings = settings_for(f"act={act}", f"init={init}", "depth=3", f"width={WIDTH}")
    errors = []
    for seed in range(NETWORKS):
        module = build_network(settings.model_copy(update={"seed": seed}), WIDTH, 10)
        inputs = torch.randn(EXAMPLES, WIDTH, generator=torch.Generator().manual_seed(seed))
        rows = Jacobian().compare(module, (inputs, torch.zeros(EXAMPLES)))
        errors.append([row["jacobian_mean_square_error"].item() for row in rows.values()])
    assert np.abs(np.mean(errors, axis=0)).max() < 0.02
    assert np.abs(errors)[:, -1].max() < 1e-6  # the output layer's own weights, which theory is given


def test_the_largest_tells_orthogonal_weights_from_gaussian_ones(settings_for: SettingsFor) -> None:
    def largest(init: str, width: int, seed: int) -> float:
        settings = settings_for("act=linear", f"init={init}", "depth=4", f"width={width}")
        module = build_network(settings.model_copy(update={"seed": seed}), width, width)
        return singular_values(differentiated(module, torch.zeros(1, width))[0].jacobian)[1].item()

    assert largest("orthogonal", 64, 0) == pytest.approx(1, rel=1e-5)
    # Of five Gaussian layers √(6⁶/5⁵) = 3.86 (Pennington et al. 2017); at so few units a little less.
    assert np.mean([largest("lecun", 128, seed) for seed in range(6)]) == pytest.approx(3.86, rel=0.1)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_stack_measures_what_its_networks_do_alone(norm: str, settings_for: SettingsFor) -> None:
    settings = several(settings_for, DOUBLE, f"norm={norm}", acts=["prelu", "relu", "tanh"])
    inputs, labels = datamodule.open_data(settings[0].data, 0).probe(20)
    stack = Stack(networks(settings))
    together = stack.differentiated(inputs)
    seen = stack.observe(inputs, labels, LOSSES["cross_entropy"].of_each)
    for row, each in enumerate(settings):
        (alone,) = networks([each])
        for layer, expected in zip(together, differentiated(alone, inputs), strict=True):
            assert layer.name == expected.name
            torch.testing.assert_close(layer.jacobian[row], expected.jacobian[0], rtol=1e-10, atol=1e-12)
        lone = Stack([alone]).observe(inputs, labels, LOSSES["cross_entropy"].of_each)
        for layer, expected in zip(seen, lone, strict=True):
            found = Correlations().measure(layer)["correlation"][row]
            torch.testing.assert_close(found, Correlations().measure(expected)["correlation"][0], rtol=1e-10, atol=0)


def test_a_stacks_tables_hold_both_diagnostics_as_lone_runs_do(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = several(settings_for, DOUBLE, "diagnostics=[correlations,jacobian]", acts=["relu", "tanh"], seeds=(0,))
    Training([(each, tmp_path / f"stack{row}") for row, each in enumerate(settings)], CPU).run()
    for row, each in enumerate(settings):
        one_run.train(each, tmp_path / f"alone{row}")
        found, expected = (
            {tuple(one[key] for key in ("epoch", "layer", "quantity")): float(one["value"]) for one in rows_of(path)}
            for path in (tmp_path / f"{kind}{row}" / run_folder.LAYERS for kind in ("stack", "alone"))
        )
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert {epoch for epoch, _, quantity in found if quantity == "jacobian_largest"} == {"0", "1", "2"}
        assert {epoch for epoch, _, quantity in found if quantity.endswith("_theory")} == {"0"}


def test_where_examples_depend_on_each_other_there_is_no_jacobian(settings_for: SettingsFor) -> None:
    settings = several(settings_for, "norm=batch", acts=["relu"])
    assert differentiated(networks(settings)[0], torch.zeros(4, 64)) == []
    assert Stack(networks(settings)).differentiated(torch.zeros(4, 64)) == []


def test_what_is_not_finite_is_said_and_costs_nothing() -> None:
    jacobian = torch.ones(2, 1, 2, 2)
    jacobian[1, 0, 0, 0] = math.inf
    squares, largest = singular_values(jacobian)
    assert (squares[0].item(), largest[0].item()) == (2, pytest.approx(2))
    assert (squares[1].item(), math.isnan(largest[1].item())) == (math.inf, True)


def test_a_module_without_taps_has_none() -> None:
    assert differentiated(nn.Linear(2, 2), torch.zeros(1, 2)) == []
