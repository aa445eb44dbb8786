"""Whether one module can compute the activations of all layers of many networks, and how it does.

It is tried: on two networks, on each unit alone, in evaluation.
"""

import json
import pickle
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from actsweep.network import activations
from actsweep.training.stack.choosing import Choosing, chooses

MIXES = "is not a function of one unit at a time"


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
    own, before = dict(activation.named_parameters()), state(activation)
    if not all(one.requires_grad for one in own.values()):
        return "has parameters that are not learnt"
    x = torch.linspace(-3, 3, 24 * pieces, dtype=torch.float64).view(2, 3, 4 * pieces).requires_grad_()
    together, again = activation(x.clone()), activation(x.clone())
    if not torch.equal(together, again):
        return "draws random numbers"
    alone = activation(x.clone().view(-1, pieces)).view(2, 3, 4)
    if not torch.allclose(together, alone):
        return MIXES
    wanted = [x, *own.values()]
    used = torch.autograd.grad(together.sum(), wanted, allow_unused=True) if together.requires_grad else [None]
    if any(each is None for each in used):
        return "does not let a gradient pass to everything before it"
    if own:
        with followed(chooses(activation), learns=True):
            apart = by_member(activation, {name: torch.stack([one, one]) for name, one in own.items()}, x.clone())
        if not torch.allclose(apart, together):
            return MIXES
    if not torch.equal(activation.eval()(x.clone()), together):
        return "is another function in evaluation"
    if state(activation.train()) != before or any(True for _ in activation.buffers()):
        return "keeps state besides its parameters"
    return None


def state(activation: nn.Module) -> bytes:
    """All that it may note; what is in an object that is applied stands beside it."""
    return pickle.dumps((activation, getattr(getattr(activation, "function", None), "__dict__", None)))


def followed(is_choosing: bool, learns: bool) -> AbstractContextManager[object]:
    """In which an activation is applied to many members: one that picks numbers by masks chooses instead."""
    return Choosing(learns) if is_choosing else nullcontext()


def by_member(activation: nn.Module, learnt: dict[str, Tensor], x: Tensor) -> Tensor:
    """The activation of each of K members (K, N, H), with parameters of its own (K, …)."""
    return vmap(lambda own, each: functional_call(activation, own, (each,)))(learnt, x)


def one_by_one(activation: nn.Module, learnt: dict[str, Tensor], x: Tensor) -> Tensor:
    """The same, for one that branches on its numbers or picks some out, which vmap can't follow."""
    each = [functional_call(activation, {name: own[k] for name, own in learnt.items()}, (x[k],)) for k in range(len(x))]
    return torch.stack(each)


def takes_members(activation: nn.Module, learnt: Sequence[str]) -> bool:
    """Whether `by_member` can apply it."""
    own = {name: torch.stack([activation.get_parameter(name).detach()] * 2) for name in learnt}
    try:
        by_member(activation, own, torch.linspace(-3, 3, 16).view(2, 2, 4).to(next(iter(own.values()))))
    except RuntimeError:
        return False
    return True


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
