"""Activation functions that torch.nn lacks, and the one place that turns a description into a module.

Flow: config → **network**. A description is plain data, `{"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1}`,
so that it can stand in a YAML file and in a checkpoint alike.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

OWN_AND_TORCH = ("torch.nn.", "src.activations.")


class Step(nn.Module):
    """1 where x ≥ 0, else 0; its gradient is zero everywhere.

    >>> Step()(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([0., 1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        # sign, unlike a comparison, stays in the autograd graph: earlier layers get zeros, not None.
        return (torch.sign(torch.sign(x) + 0.5) + 1) / 2


class Maxout(nn.Module):
    """The largest of `pieces` linear functions for each unit, learnt with the weights (Goodfellow et al. 2013).

    (…, pieces · H) → (…, H)

    >>> Maxout(2)(torch.tensor([1.0, 4.0, -3.0, -2.0]))
    tensor([ 4., -2.])
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"pieces={pieces}: must be at least 1")
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.pieces)).max(dim=-1).values


def find_class(path: str) -> type[nn.Module]:
    """The nn.Module class at a dotted path. Raises ValueError where there is none.

    >>> find_class("torch.nn.Tanh")
    <class 'torch.nn.modules.activation.Tanh'>
    """
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None) if module_name else None
    except ImportError as error:
        raise ValueError(f"{path}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{path} is not a torch.nn.Module class that can be imported")
    return found


def build(description: Mapping[str, Any]) -> nn.Module:
    """A fresh activation module from its description. Raises ValueError if it can't be built."""
    arguments = {key: value for key, value in description.items() if key != "_target_"}
    activation = find_class(description["_target_"])
    try:
        return activation(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{description['_target_']}: {error}") from error


def check(description: Mapping[str, Any]) -> None:
    """Raise ValueError unless the description builds a function that keeps shape and type and is finite.

    One with `pieces` takes that many inputs per unit.
    """
    activation = build(description)
    pieces = getattr(activation, "pieces", 1)
    x = torch.linspace(-3, 3, 8 * pieces).view(2, 4 * pieces)
    try:
        y = activation(x)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{description['_target_']} can't be applied to a tensor: {error}") from error
    if not isinstance(y, Tensor) or y.shape != (2, 4) or y.dtype != x.dtype:
        raise ValueError(f"{description['_target_']} is no activation: it must keep the shape and type of its input")
    if not y.isfinite().all():
        raise ValueError(f"{description['_target_']} gives values that are not finite on [-3, 3]")


def refuse_foreign(description: Mapping[str, Any], allowed: tuple[str, ...] = ()) -> None:
    """Raise ValueError if a description read from a file would import anything but torch.nn, this module or `allowed`.

    A checkpoint is data: a path in it must not decide what code is imported.
    """
    target = description.get("_target_")
    if not isinstance(target, str) or not (target.startswith(OWN_AND_TORCH) or target in allowed):
        raise ValueError(
            f"the file names the activation {target!r}, which is neither torch.nn's nor this project's; "
            f"if you trust it, add --allow {target}"
        )
