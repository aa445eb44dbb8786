"""Activations that work on the numbers a mask picks, y[x < 0] = …, computed on all numbers and chosen from.

Flow: stack/activating → **choosing**. Picking copies numbers one after another, forward and backward, and vmap can't
follow it. Products with the mask are vectorised, as `where` on a processor is not: 10 µs for 65,536 numbers on a Xeon
with AVX-512, `where` 300, x[mask] 640. The values are the same; that is tried.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
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
    """1.0 where the mask is true, else 0.0: of bytes, which are converted five times as fast as booleans."""
    return mask.view(torch.uint8).to(like.dtype)


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
