"""How alike two inputs are in each layer of a wide random network: the correlation map, of many pairs at once.

For normal u, v of variances p, q and correlation c, Mehler's formula says E[φ(u) φ(v)] = Σ_k a_k(p) a_k(q) c^k, with
a_k(q) = E[φ(√q z) h_k(z)] and h_k the normalised Hermite polynomials: one integral a variance, however many pairs. The
map: Poole et al. 2016.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actsweep.theory.integrals import Floats, Function, panels, rule
from actsweep.theory.meanfield import bounded

ORDER = 128  # a jump leaves 1 % of E[φ²] to higher orders, a kink 1e-4; all of it counts as of the next one


def coefficients(act: Function, q: float) -> Floats:
    """a_0 … a_ORDER at variance q, and the root of what they leave of E[φ(√q z)²].

    >>> from torch import nn
    >>> coefficients(Function(nn.ReLU()), 1.0)[:3].round(6).tolist()  # 1/√2π, 1/2, 1/2√π
    [0.398942, 0.5, 0.282095]
    """
    z, w = rule(panels(q, act.breaks))
    value = act(math.sqrt(q) * z)
    found, before, here = [], np.zeros_like(z), np.ones_like(z)
    for k in range(ORDER + 1):
        found.append(float((w * value) @ here))
        before, here = here, (z * here - math.sqrt(k) * before) / math.sqrt(k + 1)
    left = float(w @ value**2) - float(np.square(found).sum())
    return np.array([*found, math.sqrt(max(left, 0.0))])


def correlations(
    act: Function,
    q: Floats,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    c: Floats,
    weight_variances: Sequence[float],
    bias_variances: Sequence[float],
) -> list[Floats]:
    """Of z of P pairs of inputs in each layer after the first, whose variances are given.

    In the first layer z has variances q (G,), each pair those at `pairs`, (P,) each, and the correlation c (P,). Where
    z vanishes, NaN.
    """
    found, powers = [], np.arange(ORDER + 2)
    for weight, bias in zip(weight_variances, bias_variances, strict=True):
        a = np.stack([coefficients(act, bounded(float(each))) for each in q])
        one, other = (a[each] for each in pairs)
        q = weight * np.square(a).sum(axis=1) + bias
        covariance = weight * (one * other * c[:, None] ** powers).sum(axis=1) + bias
        with np.errstate(invalid="ignore", divide="ignore"):
            c = np.clip(covariance / np.sqrt(q[pairs[0]] * q[pairs[1]]), -1, 1)
        found.append(c)
    return found
