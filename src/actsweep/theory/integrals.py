"""Gaussian averages of any elementwise function, accurate although it may have kinks and jumps.

Gauss–Legendre panels over ±12 standard deviations, split wherever the function, its slope or its curvature jumps;
Gauss–Hermite alone gives 0.152 instead of 1/6 for ReLU's slope at σ_w² = 1/3.
"""

import math
import pickle
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actsweep.errors import UserError

Floats = NDArray[np.float64]
Real = Callable[[Floats], Floats]

REACH = 12.0  # standard deviations: beyond lies 4e-33 of the normal distribution
MUCH = 1e-6  # of an average, at ± REACH
PANEL = 0.5  # width of a panel, in standard deviations
ORDER = 16  # points per panel
LANDMARKS = np.array([0.0, *(sign * 2.0**n for n in range(-3, 7) for sign in (-1, 1))])  # where functions bend, in x
SEARCHED = 64.0  # jumps are looked for on ± this
CELLS = 4096
SMALLEST_JUMP = 1e-6
UNSETTLED, STEADY = 0.01, 0.95  # a mean grows by this share with the last doubling of points, as with the first
ROUNDED, STEEP = 1e3, 16  # what rounding makes of a value, in its last places; of a slope, in those of x


def copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in double precision and evaluation; without such hooks as can't be copied."""
    held = [each for part in module.modules() for name, each in vars(part).items() if name.endswith("_hooks")]
    try:
        found = deepcopy(module)
    except Exception:  # of what it, or a hook, holds: a lock, for instance
        found = deepcopy(module, {id(each): type(each)() for each in held})
    return found.to("cpu", torch.float64).eval()


class Function:
    """An activation module as a function of real numbers, with its slope and the places where it isn't smooth.

    Raises UserError unless it can be copied, is elementwise, keeps the shape, gives the same finite numbers each time,
    in training too.
    """

    def __init__(self, module: nn.Module) -> None:
        self.name = type(module).__name__
        try:
            self.module = copied(module).requires_grad_(False)
        except Exception as error:
            raise UserError(f"{self.name} can't be copied: {error}") from error
        self._check()

    def __call__(self, x: Floats) -> Floats:
        with torch.no_grad():
            return self._apply(torch.as_tensor(x, dtype=torch.float64)).numpy()

    def slope(self, x: Floats, order: int = 1) -> Floats:
        """φ′(x) by automatic differentiation: a kink's is one of its two sides', a jump's is that beside it."""
        return self.derivatives(x, order)[order]

    def _apply(self, x: Tensor) -> Tensor:
        return self.module(x.clone().view(-1, 1)).view(x.shape)  # a clone, because it may work in place

    def derivatives(self, x: Floats, order: int) -> list[Floats]:
        """φ and its first derivatives; fewer where torch can't differentiate again."""
        with torch.enable_grad():
            points = torch.as_tensor(x, dtype=torch.float64).clone().requires_grad_()
            found = [self._apply(points)]
            for _ in range(order):
                if not found[-1].requires_grad:
                    found.append(torch.zeros_like(points))
                    continue
                try:
                    found += torch.autograd.grad(
                        found[-1].sum(), points, create_graph=order > 1, materialize_grads=True
                    )
                except RuntimeError:
                    break
        return [each.numpy(force=True) for each in found]  # torch may know that all of it is 0

    @cached_property
    def jumps(self) -> Floats:
        """Where φ jumps."""
        with np.errstate(all="ignore"):
            return jumps(self)

    @cached_property
    def breaks(self) -> Floats:
        """Where φ, φ′ or φ″ jumps, sorted, each once."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orders = range(1, len(self.derivatives(np.zeros(1), 2)))
            places = [jumps(partial(self.slope, order=order)) for order in orders]
        together = np.sort(np.concatenate([self.jumps, *places]))
        return together[np.diff(together, prepend=-np.inf) > 1e-9]

    @cached_property
    def slope_settles(self) -> bool:
        """Whether E[φ′(z)²] settles as points double: not where φ′ grows as 1/√x or faster towards a point, for then it
        is infinite, or ends closer to it than points come."""
        with np.errstate(all="ignore"):
            means = [mean(lambda x: self.slope(x) ** 2, 1.0, self.breaks, ORDER * 2**n) for n in range(4)]
            first, _, last = np.diff(means)
        return not (last > UNSETTLED * means[-1] and last > STEADY * first)

    def _check(self) -> None:
        x = np.linspace(-5, 4, 41)  # not symmetric: a mean over units must show
        generator = torch.random.get_rng_state()
        try:
            first, second = self(x), self(x)
            with torch.no_grad():
                row = self.module(torch.as_tensor(x).view(1, -1).clone())
                in_training = deepcopy(self.module).train()(torch.as_tensor(x).view(-1, 1).clone())
        except Exception as error:  # a forward may raise anything
            why = f"can't be applied to a column of numbers: {error}"
            if hasattr(self.module, "pieces"):  # as Maxout's
                why = "takes several inputs per unit: the theory is of elementwise functions"
            raise UserError(f"{self.name} {why}") from error
        finally:
            torch.random.set_rng_state(generator)
        if not np.isfinite(first).all():
            raise UserError(f"{self.name} gives {first[~np.isfinite(first)][0]} at {x[~np.isfinite(first)][0]:g}")
        if not np.array_equal(first, second):
            raise UserError(f"{self.name} draws random numbers: the theory is of functions of their input alone")
        if tuple(row.shape) != (1, x.size):
            raise UserError(f"{self.name} changes the shape {(1, x.size)} to {tuple(row.shape)}: it must keep it")
        if not np.allclose(row.numpy().ravel(), first, rtol=1e-9, atol=1e-12):
            raise UserError(f"{self.name} mixes units: the theory is of elementwise functions")
        if not np.array_equal(in_training.numpy().ravel(), first):  # as with dropout, or random slopes
            raise UserError(f"{self.name} is another function in training: the theory is of one function")


def jumps(function: Real) -> Floats:
    """Places in ± SEARCHED where a function of real numbers jumps, found by bisecting every cell of a fine grid.

    A smooth function's change over a cell halves with the cell, down to rounding; a jump's stays.
    """
    left = np.linspace(-SEARCHED, SEARCHED, CELLS, endpoint=False)
    right = left + 2 * SEARCHED / CELLS
    low, high = function(left), function(right)
    steep = np.zeros_like(left)
    for step in range(60):
        change = np.abs(high - low)
        if step <= 12:
            steep = change / (right - left)
        rounding = ROUNDED * np.finfo(float).eps * np.minimum(np.abs(low), np.abs(high))
        rounding += STEEP * steep * np.spacing(np.abs(left))
        rounding[~np.isfinite(rounding)] = 0  # beside a pole
        keep = change > np.maximum(SMALLEST_JUMP * (1e-3 if step < 12 else 1), rounding)
        left, right, low, high, steep = left[keep], right[keep], low[keep], high[keep], steep[keep]
        if not left.size:
            break
        middle = (left + right) / 2
        value = function(middle)
        in_left = np.abs(value - low) >= np.abs(high - value)
        left, right = np.where(in_left, left, middle), np.where(in_left, middle, right)
        low, high = np.where(in_left, low, value), np.where(in_left, value, high)
    return np.asarray((left + right) / 2)


def panels(q: float, breaks: Floats, width: float = PANEL) -> Floats:
    """Edges, in standard deviations of N(0, q), between which the function is smooth."""
    own = np.concatenate([breaks, LANDMARKS]) / np.sqrt(q)
    edges = np.concatenate([np.arange(-REACH, REACH + width / 2, width), own[np.abs(own) < REACH]])
    return np.unique(edges)


@lru_cache(maxsize=16)
def _legendre(order: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(order)


def rule(edges: Floats, order: int = ORDER) -> tuple[Floats, Floats]:
    """Nodes z and weights, the standard normal density included, from panel edges: (…, E) → (…, (E−1)·order)."""
    points, weights = _legendre(order)
    half = np.diff(edges)[..., None] / 2
    z = (edges[..., :-1, None] + half + half * points).reshape(*edges.shape[:-1], -1)
    w = (half * weights).reshape(z.shape)
    return z, w * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def mean(function: Real, q: float, breaks: Floats, order: int = ORDER, width: float = PANEL) -> float:
    """E[f(√q z)], z ~ N(0, 1); as `total` has it."""
    z, w = rule(panels(q, breaks, width), order)
    with np.errstate(over="ignore", invalid="ignore"):
        return total(w, function(np.sqrt(q) * z))


def total(weights: Floats, values: Floats) -> float:
    """Their product; ∞ where values grow so fast that much of it lies beyond ± REACH, as those of exp at large q do."""
    parts = np.abs(weights * values)
    beyond = max(parts[0], parts[-1]) > MUCH * max(parts.sum(), MUCH)  # but for what vanishes nearer than that
    return math.inf if beyond else float(weights @ values)


def mean_of_pair(function: Real, q: float, c: float, breaks: Floats) -> float:
    """E[f(u) f(v)] for two normal variables of variance q and correlation c."""
    if c >= 1:
        return mean(lambda x: function(x) ** 2, q, breaks)
    s, kinks = np.sqrt(1 - c * c), breaks / np.sqrt(q)
    around = np.array([0.0, *(sign * 2.0**n for n in range(-3, 4) for sign in (-1, 1))]) * s
    outer = np.concatenate([panels(q, breaks), *(k / c + around for k in kinks if c), *(k + around for k in kinks)])
    x, wx = rule(np.unique(outer[np.abs(outer) <= REACH]), 12)
    fixed = np.arange(-REACH, REACH + 0.5)
    moving = (np.append(kinks, LANDMARKS / np.sqrt(q)) - c * x[:, None]) / s  # where the second variable's bends lie
    edges = np.concatenate([np.broadcast_to(fixed, (x.size, fixed.size)), moving], axis=1)
    y, wy = rule(np.sort(np.clip(edges, -REACH, REACH), axis=1), 12)
    inner = (wy * function(np.sqrt(q) * (c * x[:, None] + s * y))).sum(axis=1)
    return float(wx @ (function(np.sqrt(q) * x) * inner))


def describe(module: Any) -> Function:
    """The module as a Function, made once for modules of equal state. Raises UserError where it can't be one."""
    if isinstance(module, Function):
        return module
    try:
        return _described(pickle.dumps(module))
    except UserError:
        raise
    except Exception:  # of a class without a name, for instance, or of a module with parametrised parts
        return Function(module)


@lru_cache(maxsize=64)
def _described(state: bytes) -> Function:
    return Function(pickle.loads(state))  # what was a module of this process a moment ago
