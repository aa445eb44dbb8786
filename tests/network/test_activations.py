import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from actsweep.network import activations, trying
from actsweep.places import REPOSITORY
from tests.conftest import names_in


def described(name: str) -> dict[str, Any]:
    description: dict[str, Any] = yaml.safe_load((REPOSITORY / "conf" / "act" / f"{name}.yaml").read_text())
    return description


def value_and_slope(name: str, points: list[float], dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    x = torch.tensor(points, dtype=dtype, requires_grad=True)
    y = activations.build(described(name)).to(dtype)(x)
    y.sum().backward()
    assert x.grad is not None
    return y.detach().numpy(), x.grad.numpy()


SIGMOID = (lambda x: 1 / (1 + math.exp(-x)), lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2)
CLOSED_FORMS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "sigmoid": SIGMOID,
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "leakyrelu": (lambda x: x if x > 0 else 0.1 * x, lambda x: 1.0 if x > 0 else 0.1),
    "elu": (lambda x: x if x > 0 else math.exp(x) - 1, lambda x: 1.0 if x > 0 else math.exp(x)),
    "swish": (lambda x: x * SIGMOID[0](x), lambda x: SIGMOID[0](x) + x * SIGMOID[1](x)),
    "silu": (lambda x: x * SIGMOID[0](x), lambda x: SIGMOID[0](x) + x * SIGMOID[1](x)),
    "linear": (lambda x: x, lambda x: 1.0),
    "step": (lambda x: float(x >= 0), lambda x: 0.0),
    "softplus": (lambda x: math.log1p(math.exp(x)), SIGMOID[0]),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "gelu": (
        lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
        lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), lambda x: float(0 < x < 6)),
    "clippedrelu": (lambda x: min(max(x, 0.0), 2.0), lambda x: float(0 < x < 2)),
    "prelu": (lambda x: x if x > 0 else 0.25 * x, lambda x: 1.0 if x > 0 else 0.25),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_value_and_slope_are_those_of_the_closed_form(name: str) -> None:
    points = [-8.0, -3.1, -1.0, -0.2, 0.3, 1.0, 1.9, 2.7, 7.5]
    value, slope = value_and_slope(name, points)
    np.testing.assert_allclose(value, [CLOSED_FORMS[name][0](x) for x in points], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, [CLOSED_FORMS[name][1](x) for x in points], rtol=1e-12, atol=1e-12)


ELEMENTWISE = [name for name in names_in("act") if not hasattr(activations.build(described(name)), "pieces")]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_and_slopes_stay_finite_and_right_far_out(name: str) -> None:
    value, slope = value_and_slope(name, [-1e4, -90.0, 90.0, 1e4], torch.float32)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    # Every activation here is bounded by its linear parts: nothing grows faster than |x|, no slope exceeds 1.1.
    assert (np.abs(value) <= 1.06 * np.array([1.8e4, 170, 1e4 + 1, 1e4 + 1])).all()
    assert (np.abs(slope) <= 1.1).all()


def test_step_is_one_at_zero_and_lets_zeros_flow_back() -> None:
    value, slope = value_and_slope("step", [0.0, -0.0, -1e-30, 1e-30])
    assert value.tolist() == [1, 1, 0, 1]
    assert slope.tolist() == [0, 0, 0, 0]


def test_every_build_is_a_fresh_instance() -> None:
    assert activations.build(described("prelu")) is not activations.build(described("prelu"))


def test_any_importable_module_is_an_activation() -> None:
    assert isinstance(activations.build({"_target_": "torch.nn.Hardshrink", "lambd": 0.3}), nn.Hardshrink)


@pytest.mark.parametrize("path", ["torch.nn.NoSuch", "no.such.Module", "torch.nn.functional", "os.system", "relu"])
def test_what_is_neither_a_class_nor_a_function_of_tensors_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=path.split(".", maxsplit=1)[0]):
        trying.check({"_target_": path})


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"_target_": "torch.nn.Flatten", "start_dim": 0}, "keep the shape"),
        ({"_target_": "torch.nn.Linear"}, "missing"),
        ({"_target_": "torch.nn.ReLU", "slope": 1}, "unexpected keyword"),
        ({"_target_": "tests.network.test_activations.Broken"}, "not finite"),
    ],
)
def test_what_is_no_activation_is_refused(description: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trying.check(description)


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


def test_a_file_may_not_name_foreign_code() -> None:
    with pytest.raises(ValueError, match=r"--allow tests\.network\.test_activations\.Broken"):
        activations.refuse_foreign({"_target_": "tests.network.test_activations.Broken"})
    activations.refuse_foreign({"_target_": "torch.nn.Tanh"})
    activations.refuse_foreign(
        {"_target_": "tests.network.test_activations.Broken"}, ("tests.network.test_activations.Broken",)
    )
