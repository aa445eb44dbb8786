"""Which activations are functions of one number is found by applying them; only those have a curve."""

import math
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.diagnostics.curve import curve
from actsweep.diagnostics.elementwise import is_elementwise
from actsweep.diagnostics.per_example import per_example_gradients
from actsweep.errors import UserError
from actsweep.network import activations, trying
from actsweep.network.build import build_network
from actsweep.theory.integrals import describe
from tests.conftest import SMALL
from tests.network import own_activations

Make = Callable[..., Settings]


OWN = "tests.network.own_activations"


class Locked(nn.Module):
    """Holds what can't be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return x.tanh()


class Softened(nn.Module):
    """Has a parametrised part, which can be copied and not pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        nn.utils.parametrize.register_parametrization(self, "scale", nn.Softplus())

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.scale * x)


class Averaging(nn.Module):
    """Subtracts a running mean, which it keeps with or without its graph."""

    def __init__(self, detached: bool = True) -> None:
        super().__init__()
        self.detached, self.mean = detached, nn.Buffer(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            now = x.mean().detach() if self.detached else x.mean()
            self.mean = 0.9 * self.mean + 0.1 * now
        return torch.tanh(x - self.mean)


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


def test_what_cannot_be_copied_has_no_curve_and_no_theory_and_what_cannot_be_pickled_has_both() -> None:
    assert curve(Locked(), -1, 1, 3) is None
    with pytest.raises(UserError, match=r"Locked can't be copied: cannot pickle '_thread\.lock' object"):
        describe(Locked())
    found = curve(Softened(), -1, 1, 3)
    assert found is not None
    assert found["value"] == pytest.approx([-math.tanh(math.log(2)), 0, math.tanh(math.log(2))])
    assert describe(Softened())(np.ones(1)) == pytest.approx([math.tanh(math.log(2))])


def test_a_hook_that_cannot_be_copied_costs_neither_curve_nor_theory() -> None:
    activation, lock = nn.Sequential(nn.Tanh()), threading.Lock()
    activation[0].register_forward_hook(partial(lambda lock, *_: None, lock))  # as a profiler's
    activation[0].register_forward_pre_hook(partial(lambda lock, *_: None, lock), with_kwargs=True)
    found = curve(activation, -1, 1, 3)
    assert found is not None
    assert found["value"] == pytest.approx([-math.tanh(1), 0, math.tanh(1)])
    assert describe(activation)(np.ones(1)) == pytest.approx([math.tanh(1)])


@pytest.mark.parametrize("act", [f"{__name__}.Locked", f"{__name__}.Softened", f"{__name__}.Averaging", f"{OWN}.hard"])
def test_every_diagnostic_leaves_a_run_with_an_unusual_activation_alone(
    settings_for: Make, tmp_path: Path, act: str
) -> None:
    every = "diagnostics=[gradients,units,curve,theory,correlations,jacobian,steps,per_example]"
    settings = settings_for(*SMALL, f"act={act}", every, "trainer.max_epochs=1")
    assert one_run.train(settings, tmp_path)["status"] == "completed"


def test_a_buffer_that_depends_on_an_earlier_batch_is_refused_before_the_second_step_would_fail() -> None:
    act = {"_target_": f"{__name__}.Averaging"}
    trying.check(act)
    with pytest.raises(UserError, match="keeps a buffer that depends, by its graph, on the batch"):
        trying.check(act | {"detached": False})


def test_single_examples_have_no_gradient_of_their_own_beside_batch_norm(settings_for: Make, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "norm=batch", "diagnostics=[per_example]", "trainer.max_epochs=1")
    assert one_run.train(settings, tmp_path)["status"] == "completed"
    assert not (tmp_path / "examples.csv").exists()
