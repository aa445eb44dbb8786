"""What may be named as an activation, what is refused before any work, and what a file may not name."""

import copy
import functools
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from actsweep.config import schema
from actsweep.config.descriptions import instantiate
from actsweep.errors import UserError
from actsweep.network import activations, trying
from actsweep.network.mlp import MLP
from actsweep.training.stack.activating import unsupported
from tests.conftest import names_in
from tests.network import own_activations
from tests.network.test_activations import described

OWN = "tests.network.own_activations"
TANH, RELU = {"_target_": "torch.nn.Tanh"}, {"_target_": "torch.nn.ReLU"}
KINDS = own_activations.Raising.KINDS
X = torch.linspace(-2, 2, 8).view(2, 4)


def own(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{OWN}.{name}", **arguments}


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({"_target_": "torch.sin"}, X.sin()),
        ({"_target_": "torch.nn.functional.softplus", "beta": 2.0}, nn.functional.softplus(X, beta=2)),
        ({"_target_": "torch.nn.functional.relu_"}, X.relu()),
        ({"_target_": "torch.Tensor.sigmoid"}, X.sigmoid()),
        ({"_target_": "torch.clamp", "_args_": [-1.0, 0.5]}, X.clamp(-1, 0.5)),
        ({"_target_": "torch.nn.functional.elu", "_partial_": True, "alpha": 2.0}, nn.functional.elu(X, alpha=2)),
        (own("bent", bend=0.25), nn.functional.leaky_relu(X, 0.25)),
        (own("Straight.apply"), torch.where(X >= 0, 1.0, -1.0)),
        (own("Straight"), torch.where(X >= 0, 1.0, -1.0)),
        (own("cubed"), X - X**3 / 27),
        (own("half"), (X / 2).tanh()),
        (own("Scaled", scale=3.0), (3 * X).tanh()),
        (own("prototype"), nn.functional.leaky_relu(X, 0.25)),
        ({"_target_": "torch.nn.Hardtanh", "_args_": [-1.0, 0.5]}, X.clamp(-1, 0.5)),
        ({"_target_": "torch.nn.Hardtanh", "_convert_": "all", "max_val": 0.5}, X.clamp(-1, 0.5)),
        (own("Wrapped", inner=TANH, scale=3.0), 3 * X.tanh()),
        (own("Wrapped", inner=own("Wrapped", inner=TANH), others=[TANH, RELU]), X.tanh().tanh().relu()),
        ({"_target_": "torch.nn.Sequential", "_args_": [TANH, {"_target_": "torch.nn.ReLU"}]}, X.tanh().relu()),
        (own("MadeBy", make=TANH | {"_partial_": True}, points=[1.0, 2.0], names={"shift": 1.0}), (X + 4).tanh()),
    ],
    ids=lambda value: value.get("_target_", "") if isinstance(value, dict) else "",
)
def test_what_a_description_names_is_what_is_computed(description: dict[str, Any], expected: torch.Tensor) -> None:
    trying.check(description, [4, 12], "64-true")
    module = activations.build(description)
    for each in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(each(X.clone()), expected, rtol=0, atol=1e-6)


def test_a_function_is_shown_by_its_name() -> None:
    assert type(activations.build(own("cubed"))).__name__ == "cubed"
    assert repr(activations.build({"_target_": "torch.sin"})) == "sin()"


@pytest.mark.parametrize("name", ["prototype", "half"])
def test_each_layer_has_a_copy_of_an_object(name: str) -> None:
    first, second = (activations.build(own(name)) for _ in range(2))
    first(X)
    assert own_activations.half.calls == 0
    assert not {id(each) for each in first.parameters()} & {id(each) for each in second.parameters()}
    assert getattr(first, "function", first) is not getattr(second, "function", second)


def test_nested_parts_are_fresh_in_every_layer() -> None:
    network = MLP(3, [4, 4], 2, own("Wrapped", inner={"_target_": "torch.nn.PReLU"}))
    assert [name for name, _ in network.named_parameters() if "inner" in name] == [
        "layers.1.inner.weight",
        "layers.3.inner.weight",
    ]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"_target_": "torch.nn.PReLU", "num_parameters": 16}, r"PReLU\(num_parameters=16\) on a layer of 8 units: R"),
        (own("GroupSort", group=16), r"GroupSort\(group=16\) on a layer of 8 units: AssertionError: 8 units"),
        (own("CReLU"), None),
        (own("Sharing"), "its layers would share parameters"),
        (own("hidden"), "learns numbers that are not among its parameters"),
        (own("Late"), "makes parameters while it is applied, too late"),
        ({"_target_": "torch.nn.LazyBatchNorm1d"}, "uninitialized parameter|makes parameters while it is applied"),
        (own("Pair"), "missing 1 required positional argument: 'y'"),
        (own("Giving", what="float64"), "gives torch.float64 for torch.float32"),
        (own("Giving", what="bool"), "gives torch.bool for"),
        (own("Giving", what="int"), "gives torch.int64 for"),
        (own("Giving", what="complex"), "gives torch.complex64 for"),
        (own("Giving", what="a tuple"), "gives a tuple, not a tensor"),
        (own("Giving", what="None"), "gives a NoneType, not a tensor"),
        (own("Giving", what="log"), "it is not finite: nan at -3"),
        (own("Giving", what="sign by division"), "it is not finite: nan at 0"),
        (own("Giving", what="root's slope"), "its slope is not finite: nan at -3"),
        ({"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 8}, "a layer with weights of its own"),
        (
            {"_target_": "torch.nn.MultiheadAttention", "embed_dim": 8, "num_heads": 2},
            "a layer with weights of its own",
        ),
        ({"_target_": "torch.nn.Linear"}, "missing 2 required positional arguments"),
        ({"_target_": "torch.nn.Tanh", "_mode_": 1}, "_mode_=1: this key must be one of Hydra's"),
        ({"_target_": "torch.nn.Tanh", "_convert_": "some"}, "_convert_='some': this key must be one of"),
        ({"_target_": "torch.nn.Tanh", "_args_": 3}, "_args_=3: must be a list"),
        (own("prototype", slope=1), "is a module already, which takes no arguments"),
        (own("Wrapped", inner={"_target_": "no.such"}), "no.such is nothing that can be imported: ModuleNotFoundError"),
        ({"_target_": "math.pi"}, "is neither a class nor a function"),
        ({"_target_": "math.sin"}, "on a layer of 8 units"),
        *((own("Raising", kind=kind), f"Raising.*{error.__name__}") for kind, error in enumerate(KINDS)),
        *((own("Raising", kind=kind, when="made"), "made wrongly") for kind in range(len(KINDS))),
    ],
)
def test_what_does_not_work_on_the_layers_is_refused_in_one_line(
    description: dict[str, Any], message: str | None
) -> None:
    if message is None:
        with pytest.raises(UserError, match=r"on a layer of 5 units: turns 5 numbers into 10, and no number of inputs"):
            trying.check(description, [5])
        return
    with pytest.raises(UserError, match=message) as caught:
        trying.check(description, [16, 8] if "num_parameters" in description or "group" in description else [8])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"])
def test_every_activation_of_the_project_passes_in_every_precision(precision: str) -> None:
    for name in names_in("act"):
        trying.check(described(name), [1, 2, 7], precision)


def test_float64_is_refused_where_autocast_would_leave_it_so() -> None:
    with pytest.raises(UserError, match=r"gives torch\.float64 for torch\.bfloat16"):
        trying.check(own("Giving", what="float64"), [8], "bf16-mixed")


def test_the_check_leaves_random_numbers_parameters_and_counters_alone() -> None:
    torch.manual_seed(3)
    before, slope = torch.random.get_rng_state(), own_activations.shared_slope.clone()
    for name in ("RandomStart", "half", "Counting", "prototype", "hidden", "Sharing"):
        try:
            trying.check(own(name), [6])
        except UserError:
            continue
    trying.check({"_target_": "torch.nn.functional.rrelu", "training": True}, [6])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(own_activations.shared_slope, slope)
    assert own_activations.shared_slope.requires_grad
    assert own_activations.half.calls == 0


def test_what_was_tried_once_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trying.check(own("bent", bend=0.125), [6, 9, 6])
    monkeypatch.setattr(activations, "build", functools.partial(pytest.fail, "tried again"))
    trying.check(own("bent", bend=0.125), [9, 6])


@pytest.mark.parametrize(
    ("units", "description", "inputs"),
    [
        ([6, 9], {"_target_": "actsweep.network.activations.Maxout", "pieces": 3}, [18, 27]),
        ([7], {"_target_": "actsweep.network.activations.Maxout", "pieces": 7}, [49]),
        ([6, 9], {"_target_": "torch.nn.GLU"}, [12, 18]),
        ([6, 10], own("CReLU"), [3, 5]),
        ([16], own("GroupSort"), [16]),
        ([5], TANH, [5]),
    ],
)
def test_linear_parts_make_what_the_activation_takes(
    units: list[int], description: dict[str, Any], inputs: list[int]
) -> None:
    trying.check(description, units)
    network = MLP(4, units, 3, description)
    assert [tap.linear.weight.shape[0] for tap in network.taps()] == [*inputs, 3]
    assert [tap.linear.weight.shape[1] for tap in network.taps()] == [4, *units]
    assert network(torch.zeros(2, 4)).shape == (2, 3)


def test_what_an_activation_draws_shifts_no_weight() -> None:
    weights = []
    for description in (TANH, own("RandomStart")):
        torch.manual_seed(0)
        network = MLP(4, [6, 6], 3, description)
        weights.append(torch.cat([tap.linear.weight.flatten() for tap in network.taps()]))
        after = torch.rand(())
        weights.append(after[None])
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[1], weights[3])
    slopes = [p.item() for name, p in network.named_parameters() if name.endswith("slope")]
    assert slopes[0] != slopes[1]


def test_parts_are_made_as_hydra_makes_them() -> None:
    assert instantiate({"_target_": "builtins.dict", "a": [1, {"b": 2}], "_recursive_": False}) == {"a": [1, {"b": 2}]}
    assert instantiate({"_target_": "builtins.int", "_partial_": True, "_args_": ["12"]})() == 12
    assert isinstance(schema.Target.model_validate({"_target_": "torch.nn.Tanh"}).make(), nn.Tanh)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Frozen", "has parameters that are not learnt"),
        ("TwoFaced", "is another function in evaluation"),
        ("hard", "does not let a gradient pass to everything before it"),
        ("Remembering", "keeps state besides its parameters"),
        ("half", "keeps state besides its parameters"),
        ("GroupSort", "is not a function of one unit at a time"),
        ("CReLU", "is not a function of one unit at a time"),
    ],
)
def test_what_one_module_cannot_compute_for_all_runs_alone(name: str, reason: str) -> None:
    assert unsupported(own(name)) == f"{OWN}.{name} {reason}"
