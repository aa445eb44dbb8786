"""Activations that pick numbers by masks are computed on all numbers and chosen from: the same values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actsweep.training.stack.activating import Choosing, by_member, choosing, members_last, one_by_one, unsupported, way
from tests.training.stack.test_stack import DOUBLE, Make, assert_equal_to_alone, several

OWN = "tests.training.stack.test_choosing"


class Branches(nn.Module):
    """Three branches, one of them undefined elsewhere; nothing is learnt."""

    def forward(self, x: Tensor) -> Tensor:
        result = torch.empty_like(x)
        result[x > 1] = x[x > 1].log() + 1
        middle = (x >= -1) & (x <= 1)
        result[middle] = x[middle]
        result[x < -1] = -1
        return result


class Guarded(nn.Module):
    """Learns both sides, one of them a logarithm; looks first whether there is anything to do."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.tensor([slope])) for slope in (0.7, 0.2))

    def forward(self, x: Tensor) -> Tensor:
        result, positive, negative = torch.zeros_like(x), x > 0, x < 0
        if positive.any():
            result[positive] = self.up * x[positive].log1p()
        if negative.any():
            result[negative] = self.down * x[negative].expm1()
        return result


class Bent(nn.Module):
    """Branches on what it learns; its other side is not finite at 1, which stands for what is not picked."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor([1.5]))

    def forward(self, x: Tensor) -> Tensor:
        result = x.clone()
        below = (1 - x[x < 0].clamp(min=-0.999)).pow(-self.power) - 1
        result[x < 0] = below if self.power > 0 else x[x < 0]
        return result


def left_alone(change: Callable[[Tensor], Tensor]) -> type[nn.Module]:
    class Alone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            result = x.clone()
            result[x < 0] = change(x[x < 0])
            return result

    return Alone


@pytest.mark.parametrize("kind", [Branches, Guarded, Bent, left_alone(lambda picked: 1 / (1 - picked))])
@pytest.mark.parametrize("shift", [0.0, 9.0, -9.0])  # numbers on both sides, and on one
def test_values_and_gradients_are_those_of_the_numbers_picked(kind: type[nn.Module], shift: float) -> None:
    activation = kind().double()
    own = list(activation.parameters())
    x = torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + shift
    x = x.requires_grad_()
    mode = choosing(activation)
    assert mode
    picked = activation(x)
    with mode:
        chosen = activation(x)
    torch.testing.assert_close(chosen, picked, rtol=1e-14, atol=0)
    before, now = (torch.autograd.grad(y.sin().sum(), [x, *own], materialize_grads=True) for y in (picked, chosen))
    torch.testing.assert_close(now, before, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        left_alone(lambda picked: picked - picked.mean())(),  # looks at all that was picked
        left_alone(lambda picked: picked.flip(0))(),
        left_alone(lambda picked: picked[: len(picked) // 2 * 2].view(2, -1).flip(0).flatten())(),
        left_alone(lambda picked: torch.full((len(picked),), float(len(picked))))(),
    ],
    ids=["no mask", "mean", "order", "shape", "number"],
)
def test_what_is_no_function_of_each_number_is_left_as_it_is(activation: nn.Module) -> None:
    before = {name: each.clone() for name, each in activation.state_dict().items()}
    assert choosing(activation) is None
    assert all(torch.equal(each, before[name]) for name, each in activation.state_dict().items())


def test_a_member_that_is_not_finite_leaves_the_others_as_they_are() -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    broken = x.clone()
    broken[1, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0, -1.0])
    learnt = {name: torch.stack([each.detach()] * 3) for name, each in Guarded().named_parameters()}
    powers = {"power": torch.full((3, 1), 1.5)}
    ways: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
        (Branches(), Branches()),
        (Guarded(), lambda given: by_member(Guarded(), learnt, given)),
        (Bent(), lambda given: members_last(Bent(), powers, given)),
    ]
    for activation, apply in ways:
        mode = choosing(activation)
        assert mode
        with mode:
            whole, found = apply(x), apply(broken)
        assert torch.equal(found[0], whole[0])
        assert torch.equal(found[2], whole[2])
        assert not found[1].isfinite().all()


def test_memory_that_holds_anything_is_no_part_of_what_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
        assert torch.empty_like(x).isnan().all()
        picked = Branches()(x)
        with Choosing(False):
            assert torch.equal(Branches()(x), picked)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("name", ["Branches", "Guarded", "Bent"])
def test_such_networks_are_stacked_and_equal_those_trained_alone(name: str, settings_for: Make) -> None:
    act: dict[str, Any] = {"_target_": f"{OWN}.{name}"}
    assert unsupported(act) is None
    if name == "Guarded":
        assert way(Guarded(), ["up", "down"]) is one_by_one  # with the masks as they are
    (settings,) = several(settings_for, DOUBLE, acts=["relu"], seeds=(0,))
    own = {"act": settings.act.model_copy(update={"target": act["_target_"]})}
    both = [settings.model_copy(update=own | {"seed": seed}) for seed in (0, 1)]
    assert_equal_to_alone(both, 40, 1e-10)
