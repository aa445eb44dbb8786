"""Whether one module can compute the activations of all layers of many networks, and how it does.

It is tried: on two networks, on few units alone, in evaluation.
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
from actsweep.training.stack.choosing import RANGES, choosing, same

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
