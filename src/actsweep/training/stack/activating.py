"""Whether one module can compute the activations of all layers of many networks, and how it does.

It is tried: on two networks, on few units alone, in evaluation. Activations that work on the numbers a mask picks,
y[x < 0] = …, are computed on all numbers and chosen from: picking copies numbers one after another, and vmap can't
follow it. Products with the mask are vectorised, as `where` on a processor is not: 10 µs for 65,536 numbers on a Xeon
with AVX-512, `where` 300, x[mask] 640. The values are the same; that is tried.
"""

import copy
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from actsweep.network import activations

PICK, PUT, ANY = Tensor.__getitem__, Tensor.__setitem__, Tensor.any
EMPTY = {torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty}
RANGES = ((-3.0, 3.0), (0.1, 3.0), (-3.0, -0.1), (-30.0, 30.0))  # on both sides of 0, and on one
WITHIN = 1e-10
BELOW_ALL = 1e30  # once subtracted


def _is_mask(of: Any, index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool and index.shape == of.shape


class Choosing(TorchFunctionMode):
    """While it is open, x[mask] is all of x, and y[mask] = values takes the masked ones of as many values.

    What is not picked is 1 there, or `stands_in`: one of the picked numbers, for functions that are not finite at 1 or
    have parameters: the part of what is not picked in a gradient is 0 times the function's slopes. `looks`: whether a
    mask picks anything; what picks nothing has no numbers to stand in, and is left out.
    """

    def __init__(self, stands_in: bool, looks: bool = False) -> None:
        super().__init__()
        self.stands_in, self.looks, self.chose = stands_in, looks, False

    def __torch_function__(
        self, do: Callable[..., Any], types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if do is PICK and _is_mask(*given) and given[0].is_floating_point():
            self.chose = True
            x, mask = given[0], _ones(given[1], given[0])
            return x * mask + (1 - mask) * (_one_of(x, mask) if self.stands_in else 1.0)
        if do is PUT and _is_mask(*given[:2]):
            self.chose = True
            y, mask, values = given[0], _ones(given[1], given[0]), given[2]
            if self.looks and not mask.count_nonzero():
                return None
            return y.copy_(values * mask + y * (1 - mask))
        if do is ANY and len(given) == 1 and not named and given[0].dtype == torch.bool:
            return True  # what a mask guards does nothing where it picks nothing
        made = do(*given, **named or {})
        return made.zero_() if do in EMPTY else made  # 0 times what lies in the memory may be NaN


def _ones(mask: Tensor, like: Tensor) -> Tensor:
    """1.0 where the mask is true, else 0.0: by way of bytes, several times as fast."""
    return mask.to(torch.uint8).to(like.dtype)


def _one_of(x: Tensor, mask: Tensor) -> Tensor:
    """The largest of the picked numbers that are finite; 1 where there are none."""
    finite = x.detach().nan_to_num(-BELOW_ALL, -BELOW_ALL, -BELOW_ALL)
    largest = (finite + (mask - 1) * BELOW_ALL).amax()
    return largest.where(largest > -BELOW_ALL / 2, 1.0)


def choosing(activation: nn.Module) -> Choosing | None:
    """In which it gives the same values and gradients as without, if it picks numbers by masks; None: it stays as it
    is."""
    double = copy.deepcopy(activation).double()
    own = [each for each in double.parameters() if each.requires_grad]
    for mode in (Choosing(bool(own)), Choosing(True, looks=True)):
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                if all(_is_same(double, own, mode, low, high) for low, high in RANGES):
                    return mode
        except Exception:  # a forward may raise anything
            continue
    return None


def _is_same(activation: nn.Module, own: list[nn.Parameter], mode: Choosing, low: float, high: float) -> bool:
    x = torch.linspace(low, high, activations.inputs_for(activation, 48), dtype=torch.float64).view(1, 1, -1)
    x = x.requires_grad_()
    picked = activation(x.clone())
    with mode:
        chosen = activation(x.clone())
    return mode.chose and same(picked, chosen, [x, *own])


def same(y: Tensor, other: Tensor, by: Sequence[Tensor]) -> bool:
    """Whether both are equal, and their derivatives, up to rounding in float64."""
    if y.shape != other.shape or y.requires_grad != other.requires_grad:
        return False
    pairs = [(y, other), *(zip(_slopes(y, by), _slopes(other, by), strict=True) if y.requires_grad else ())]
    return all(torch.allclose(one, another, rtol=WITHIN, atol=WITHIN, equal_nan=True) for one, another in pairs)


def _slopes(y: Tensor, of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a sum in which each value has a weight of its own."""
    weights = torch.linspace(1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return torch.autograd.grad((y * weights).sum(), of, allow_unused=True, materialize_grads=True)


Learnt = Mapping[str, Tensor]  # parameters by name, (K, …)
Way = Callable[[nn.Module, Learnt, Tensor], Tensor]
MIXES, FROZEN = "is not a function of one unit at a time", "has parameters that are not learnt"
CUTS = "does not let a gradient pass to everything before it"


def unsupported(act: dict[str, Any]) -> str | None:
    """Why networks with this activation can't be stacked; None if they can."""
    reason = _reason(json.dumps(act, sort_keys=True))
    return f"{act['_target_']} {reason}" if reason else None


@lru_cache(maxsize=4096)
def _reason(act: str) -> str | None:
    """Why one module can't stand for the activations of all layers of many networks, tried on two of them."""
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            activation = activations.build(json.loads(act))
            inputs = activations.inputs_for(activation, 4)
            return _reason_of(activation.double(), inputs // 4) if inputs % 4 == 0 else MIXES
    except Exception:  # a forward may raise anything
        return MIXES


def _reason_of(activation: nn.Module, pieces: int) -> str | None:
    own = dict(activation.named_parameters())
    try:
        before = state(activation)
    except Exception:  # of what it holds: a lambda, for instance
        return "holds what can't be pickled, so that nobody sees whether it keeps state"
    if not all(one.requires_grad for one in own.values()):
        return FROZEN
    x = torch.linspace(-3, 3, 24 * pieces, dtype=torch.float64).view(2, 3, 4 * pieces).requires_grad_()
    together, again = activation(x.clone()), activation(x.clone())
    if not torch.equal(together, again):
        return "draws random numbers"
    if not all(_takes_units_alone(activation, pieces, low, high) for low, high in RANGES):
        return MIXES
    wanted = [x, *own.values()]
    used = torch.autograd.grad(together.sum(), wanted, allow_unused=True) if together.requires_grad else [None]
    if any(each is None for each in used):
        return CUTS
    if own:
        with choosing(activation) or nullcontext():
            both = {name: torch.stack([one, one]) for name, one in own.items()}
            apart = way(activation, list(own))(activation, both, x.clone())
        if not torch.allclose(apart, together):
            return MIXES
    if not torch.equal(activation.eval()(x.clone()), together):
        return "is another function in evaluation"
    if state(activation.train()) != before or any(True for _ in activation.buffers()):
        return "keeps state besides its parameters"
    return None


def _takes_units_alone(activation: nn.Module, pieces: int, low: float, high: float) -> bool:
    """Whether numbers in any order give what they give in fours: no network's may depend on another's, as by a mean."""
    order = torch.randperm(24 * pieces, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(low, high, 24 * pieces, dtype=torch.float64)[order].view(2, 3, 4 * pieces)
    alone = [activation(each.view(4, pieces)).flatten() for each in x.clone().view(6, 4 * pieces)]
    return torch.allclose(activation(x.clone()), torch.stack(alone).view(2, 3, 4), equal_nan=True)


def state(activation: nn.Module) -> bytes:
    """All that it may note; what is in an object that is applied stands beside it."""
    return pickle.dumps((activation, getattr(getattr(activation, "function", None), "__dict__", None)))


def by_member(activation: nn.Module, learnt: Learnt, x: Tensor) -> Tensor:
    """The activation of each of K members (K, N, H), with parameters of its own (K, …)."""
    apply = vmap(lambda own, each: functional_call(activation, own, (each,)))
    try:
        return apply(learnt, x)
    except RuntimeError:
        in_type_of_x = {name: each.to(x.dtype) for name, each in learnt.items()}  # as autocast has them, but in vmap
        if all(each is learnt[name] for name, each in in_type_of_x.items()):
            raise
        return apply(in_type_of_x, x)


def members_last(activation: nn.Module, learnt: Learnt, x: Tensor) -> Tensor:
    """The same, with (N, H, K) beside (…, K), for one that branches on its parameters, which vmap can't follow: one by
    one where members take different branches."""
    try:
        return _members_last(activation, learnt, x)
    except DisagreementError:
        return one_by_one(activation, learnt, x)


def _members_last(activation: nn.Module, learnt: Learnt, x: Tensor) -> Tensor:
    own = {name: each.movedim(0, -1) for name, each in learnt.items()}
    with Agreeing(len(x)):
        return functional_call(activation, own, (x.movedim(0, -1),)).movedim(-1, 0)


def one_by_one(activation: nn.Module, learnt: Learnt, x: Tensor) -> Tensor:
    """The same, slowly, for any."""
    each = [functional_call(activation, {name: own[k] for name, own in learnt.items()}, (x[k],)) for k in range(len(x))]
    return torch.stack(each)


class DisagreementError(Exception):
    """Members take different branches, or one depends on all their numbers."""


class Agreeing(TorchFunctionMode):
    """While it is open, a condition of K members, (…, K), is true or false if it is so for all of them."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def __torch_function__(
        self, do: Callable[..., Any], types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if do is not Tensor.__bool__:
            return do(*given, **named or {})
        condition = given[0]
        true = int(condition.count_nonzero())
        if condition.shape[-1:] != (self.members,) or true not in (0, condition.numel()):
            raise DisagreementError
        return bool(true)


def way(activation: nn.Module, learnt: Sequence[str]) -> Way:
    """The fastest of these that can apply it, tried on two members."""
    own = {name: torch.stack([activation.get_parameter(name).detach()] * 2) for name in learnt}
    try:
        by_member(activation, own, torch.linspace(-3, 3, 16).view(2, 2, 4).to(next(iter(own.values()))))
    except RuntimeError:
        return members_last if _can_be_last(activation, learnt) else one_by_one
    return by_member


def _can_be_last(activation: nn.Module, learnt: Sequence[str]) -> bool:
    double = copy.deepcopy(activation).double()
    given = {name: double.get_parameter(name).detach() for name in learnt}
    own = {name: torch.stack([each, 1.01 * each]).requires_grad_() for name, each in given.items()}
    try:
        with torch.enable_grad():
            return all(_equals_one_by_one(double, own, low, high) for low, high in RANGES)
    except Exception:  # a forward may raise anything
        return False


def _equals_one_by_one(activation: nn.Module, own: Learnt, low: float, high: float) -> bool:
    x = torch.linspace(low, high, 24, dtype=torch.float64).view(2, 3, 4).requires_grad_()
    together, apart = _members_last(activation, own, x.clone()), one_by_one(activation, own, x.clone())
    return same(together, apart, [x, *own.values()])


def works_in_place(activation: nn.Module) -> bool:
    """Whether it changes what it is given, so that it must be given a copy: a leaf refuses, its values show it."""
    x = torch.linspace(-3, 3, activations.inputs_for(activation, 13)).view(1, 1, -1)
    leaf = x.clone().requires_grad_()
    try:
        with torch.enable_grad():
            activation(leaf)
    except RuntimeError:
        return True
    return not torch.equal(leaf, x)
