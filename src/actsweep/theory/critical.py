"""The edge of chaos: variances at which gradients neither vanish nor explode, and initialisers that draw with them.

They are `init=critical` and `init=variance`. At a chosen variance q of the pre-activations, σ_w² = 1/E[φ′(√q z)²] makes
χ₁ = 1, and σ_b² = q − σ_w² E[φ(√q z)²] makes q a fixed point (Hayou et al. 2019): the edge is a curve with parameter q.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq  # type: ignore[import-untyped]
from torch import Tensor, nn

from actsweep.errors import UserError
from actsweep.network import activations
from actsweep.network.mlp import fill
from actsweep.theory.integrals import Function, describe
from actsweep.theory.meanfield import MeanField, second_moment, slope_moment

LARGEST_Q = 100.0  # ten standard deviations: beyond, units that saturate are constants
HOLDS = 0.995  # dq'/dq at most, or 1 where variances only scale, as ReLU's: nearer 1, a stack of layers drifts away
ROUNDING = 1e-9


@dataclass(frozen=True)
class Critical:
    """A point on the edge of chaos: χ₁ = 1 at the fixed point q."""

    weight_variance: float
    bias_variance: float
    q: float


def on_the_edge(act: Function, q: float) -> Critical:
    """The only variances with χ₁ = 1 at the fixed point q. The bias variance may come out negative: there is none.
    Both are infinite where q reaches no slope."""
    slope = slope_moment(act, q)
    weight = 1 / slope if slope else math.inf
    return Critical(weight, q - weight * second_moment(act, q), q)


def critical(act: nn.Module | Function, q: float) -> Critical:
    """The edge of chaos at the smallest fixed point ≥ `q` that exists (σ_b² ≥ 0) and that a disturbed q returns to.

    For swish and GELU that lies just beyond the half-stable point of Roberts, Yaida & Hanin 2022. Raises UserError
    where there is none.
    """
    phi = describe(act)
    if slope_moment(phi, max(q, 1.0)) == slope_moment(phi, max(q, LARGEST_Q)) == 0:
        raise UserError(f"{phi.name} has no edge of chaos: its slope is 0, no gradient passes at any σ_w")

    def margin(log_q: float) -> float:
        point = on_the_edge(phi, math.exp(log_q))
        if math.isinf(point.weight_variance):
            return -1.0
        bias = point.bias_variance / point.q
        slope = MeanField(phi, point.weight_variance, 0.0).q_slope(point.q)
        return min(bias + ROUNDING, ROUNDING if abs(slope - 1) < ROUNDING else HOLDS - slope)

    grid = np.linspace(math.log(q), math.log(max(LARGEST_Q, q)), 49)
    place = next((place for place, log_q in enumerate(grid) if margin(log_q) >= 0), None)
    if place is None:
        raise UserError(
            f"{phi.name} has no useful edge of chaos: for every q* from {q:g} to {LARGEST_Q:g}, χ₁ = 1 needs a "
            "negative bias variance or q runs away; use init=gain or init=variance, with numbers of your own"
        )
    chosen = brentq(margin, grid[place - 1], grid[place], xtol=1e-13, rtol=1e-14) if place else grid[0]
    point = on_the_edge(phi, math.exp(chosen))
    return Critical(point.weight_variance, max(point.bias_variance, 0.0), point.q)


@lru_cache(maxsize=256)
def _solved(description: str, q: float) -> Critical:
    return critical(activations.build_alike(json.loads(description)), q)


def critical_of(act: Mapping[str, Any], q: float) -> Critical:
    """`critical` of an activation's description, solved once."""
    return _solved(json.dumps(dict(act), sort_keys=True, default=str), q)


def weight_variance(act: Mapping[str, Any], q: float) -> float:
    return critical_of(act, q).weight_variance


def bias_variance(act: Mapping[str, Any], q: float) -> float:
    return critical_of(act, q).bias_variance


def normal_weight_(weight: Tensor, variance: float) -> Tensor:
    """Fill with N(0, variance / fan_in)."""
    return nn.init.normal_(weight, std=math.sqrt(variance / weight[0].numel()))


def normal_bias_(bias: Tensor, variance: float) -> Tensor:
    """Fill with N(0, variance)."""
    return nn.init.normal_(bias, std=math.sqrt(variance))


DRAWN = 1_000_000  # weights that a measurement draws: 0.14 % of a variance


def variances(weight: Any, bias: Any, fan_in: int, fan_out: int) -> tuple[float, float]:
    """(σ_w², σ_b²) of a layer's initialisers, None being nn.Linear's own: exact where they say it, else of draws.

    Raises UserError where weights are not random numbers around 0: the theory says nothing of them.
    """
    of_weights = 1 / 3 if weight is None else _stated(weight, fan_in, fan_out)
    of_biases = 1 / (3 * fan_in) if bias is None else _stated(bias, 1, 1)
    if bias == "alike" and of_weights is not None:
        of_biases = of_weights / fan_in
    if of_weights is None or of_biases is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            measured = []
            for _ in range(-(-DRAWN // (fan_in * fan_out))):
                linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
                fill(linear, weight, bias)
                measured.append(of_layer(linear.weight, linear.bias))
        means = np.mean(measured, axis=0).tolist()
        of_weights = means[0] if of_weights is None else of_weights
        of_biases = means[1] if of_biases is None else of_biases
    return of_weights, of_biases


def of_layer(weight: Tensor, bias: Tensor | None) -> tuple[float, float]:
    """(σ_w², σ_b²) as one layer's parameters show them. Raises UserError where its weights are not spread around 0."""
    values = weight.detach().double()
    square = float((values**2).mean())
    if not math.isfinite(square) or float(values.mean()) ** 2 > 0.5 * square:
        raise UserError("the theory is of random weights around 0: this initialisation's are not")
    return weight.shape[1] * square, 0.0 if bias is None else float((bias.detach().double() ** 2).mean())


def _stated(initialiser: Any, fan_in: int, fan_out: int) -> float | None:
    """fan_in·Var, or for biases (fans 1) Var, where the initialiser is one that says it."""
    if not isinstance(initialiser, partial):
        return None
    function, given = initialiser.func, initialiser.keywords
    if function in (normal_weight_, normal_bias_):
        return given["variance"]
    if function is nn.init.zeros_ and fan_in == fan_out == 1:
        return 0.0
    if function is nn.init.normal_ and not given.get("mean"):
        return fan_in * given.get("std", 1.0) ** 2
    if function in (nn.init.xavier_normal_, nn.init.xavier_uniform_):
        return given.get("gain", 1.0) ** 2 * 2 * fan_in / (fan_in + fan_out)
    if function is nn.init.kaiming_normal_ and set(given) == {"nonlinearity"}:
        return 2.0 if given["nonlinearity"] == "relu" else 1.0 if given["nonlinearity"] == "linear" else None
    return None
