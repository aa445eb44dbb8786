"""Which activations are functions of one number is found by applying them; only those have a curve."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from actsweep.config.schema import Settings
from actsweep.diagnostics.curve import curve
from actsweep.diagnostics.elementwise import is_elementwise
from actsweep.diagnostics.per_example import per_example_gradients
from actsweep.network import activations
from actsweep.network.build import build_network
from tests import own_activations
from tests.conftest import SMALL

Make = Callable[..., Settings]


OWN = "tests.own_activations"


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (nn.ReLU(), True),
        (nn.PReLU(6), True),
        (nn.RReLU(), True),
        (nn.Dropout(), True),
        (activations.build({"_target_": "torch.nn.functional.rrelu", "training": True}), True),
        (nn.Softmax(-1), False),
        (own_activations.GroupSort(2), False),
        (nn.BatchNorm1d(6), False),
        (nn.LayerNorm(6), False),
        (own_activations.CReLU(), False),
        (nn.PReLU(5), False),
        (own_activations.TwoFaced(), True),
    ],
)
def test_elementwise_functions_are_told_by_applying_them(activation: Any, expected: bool) -> None:
    before = torch.random.get_rng_state()
    assert is_elementwise(activation, torch.zeros(1, 6)) is expected
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_batch_norm_inside_is_a_function_of_one_number_in_evaluation_only() -> None:
    norm = nn.BatchNorm1d(6)
    assert [is_elementwise(norm.train(mode), torch.zeros(1, 6)) for mode in (True, False, True)] == [False, True, False]


def test_a_function_of_a_whole_layer_has_no_curve() -> None:
    assert curve(own_activations.GroupSort(), -1, 1, 5, units=8) is None
    assert curve(nn.Softmax(-1), -1, 1, 5, units=8) is None
    assert curve(nn.ReLU(inplace=True), -1, 1, 3, units=8) == {
        "x": [-1.0, 0.0, 1.0],
        "value": [0.0, 0.0, 1.0],
        "slope": [0.0, 0.0, 1.0],
    }


@pytest.mark.parametrize("act", ["Straight.apply", "Clamped", "hard"])
def test_gradients_of_single_examples_of_what_torch_cannot_batch(settings_for: Make, act: str) -> None:
    module = build_network(settings_for(*SMALL, f"act={OWN}.{act}", "trainer.precision=64"), 64, 10)
    inputs, labels = torch.rand(5, 64, dtype=torch.float64), torch.arange(5)
    found = per_example_gradients(module, inputs, labels)["layers.4.weight"]
    module.loss((inputs, labels)).backward()
    torch.testing.assert_close(found.mean(0), module.network.layers[4].weight.grad)
