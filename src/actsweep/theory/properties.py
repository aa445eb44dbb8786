"""What an activation function is, without data: range, slopes, symmetry, kinks; found numerically, in float64.

Flow: network → **theory**. On ± 10 by a dense grid, beyond by the largest values of each thousandfold of |x|.
"""

from dataclasses import dataclass

import numpy as np

from actsweep.theory.integrals import Floats, Function, Real, jumps, mean

NEAR, FINE = 10.0, 4001  # the dense grid: ± this, so many points
TAILS = (1e2, 1e4, 1e6, 1e8)  # |x| where a tail's thirds begin and end
TURNING = 1e-9  # of a value: less is rounding
SAME_PLACE, MOST_PLACES = 1e-6, 8
PICTURE = np.linspace(-4, 4, 49)


@dataclass(frozen=True)
class Properties:
    """`low`, `high`, `slope_low`, `slope_high`: infinite where there is no end. `jumps`: where φ jumps; `kinks`: where
    its slope does and φ doesn't; both within ± 64, the eight nearest 0. `centre`: E[φ(z)], z ~ N(0, 1). `curve`: φ at
    PICTURE."""

    low: float
    high: float
    slope_low: float
    slope_high: float
    monotone: str  # increasing, decreasing, constant, no
    parity: str  # odd, even, neither
    jumps: Floats
    kinks: Floats
    centre: float
    curve: Floats


def properties(act: Function) -> Properties:
    """Of an elementwise function.

    >>> from torch import nn
    >>> found = properties(Function(nn.ReLU()))
    >>> found.low, found.high, found.slope_high, found.monotone, found.parity, found.kinks.round(6).tolist()
    (0.0, inf, 1.0, 'increasing', 'neither', [0.0])
    """
    with np.errstate(all="ignore"):
        at_jumps = _places(act.jumps)
        kinks = _places(jumps(act.slope))
        apart = np.abs(kinks[:, None] - at_jumps[None, :]).min(axis=1, initial=np.inf) > SAME_PLACE
        (low, high), (slope_low, slope_high) = _ends(act), _ends(act.slope)
        words, places = (_monotone(act), _parity(act)), (_nearest(at_jumps), _nearest(kinks[apart]))
        return Properties(low, high, slope_low, slope_high, *words, *places, mean(act, 1.0, act.breaks), act(PICTURE))


def _grid() -> Floats:
    small = np.geomspace(1e-9, 1e-3, 61)  # a slope may grow towards 0
    return np.unique(np.concatenate([np.linspace(-NEAR, NEAR, FINE), small, -small]))


def _ends(function: Real) -> tuple[float, float]:
    """Infimum and supremum: of a tail that still grows as much from each hundredfold of |x| to the next, ±∞."""
    near = function(_grid())
    low, high = float(np.nanmin(near)), float(np.nanmax(near))
    for side in (-1.0, 1.0):
        parts = [function(side * np.geomspace(a, b, 400)) for a, b in zip((NEAR, *TAILS), TAILS, strict=False)]
        tops = [np.fmax.reduce(part, initial=-np.inf) for part in parts]  # NaNs apart
        bottoms = [np.fmax.reduce(-part, initial=-np.inf) for part in parts]
        high = max(high, _limit([high, *tops]))
        low = min(low, -_limit([-low, *bottoms]))
    return low, high


def _limit(tops: list[float]) -> float:
    """Where the largest values of one stretch after another go: the largest of them, or ∞ where they go on growing."""
    growth = np.diff(tops[1:])
    scale = max(1.0, abs(tops[0]))
    grows = bool((growth > 1e-6 * scale).all()) and bool(growth[-1] >= 0.5 * growth[-2])
    return float("inf") if grows or np.isposinf(tops).any() else float(max(tops))


def _monotone(act: Function) -> str:
    values = act(_grid())
    values = values[np.isfinite(values)]
    steps, tolerance = np.diff(values), TURNING * (1e-3 + np.abs(values[1:]))
    rises, falls = bool((steps > tolerance).any()), bool((steps < -tolerance).any())
    if rises == falls:
        return "no" if rises else "constant"
    return "increasing" if rises else "decreasing"


def _parity(act: Function) -> str:
    x = np.linspace(0.013, NEAR, 997)
    right, left = act(x), act(-x)
    same = {"even": right, "odd": -right}
    return next((name for name, each in same.items() if np.allclose(left, each, 1e-9, 1e-12)), "neither")


def _places(found: Floats) -> Floats:
    """Each once, sorted; bisection may find a place from both sides."""
    found = np.sort(found[np.isfinite(found)].round(9)) + 0.0  # no −0
    return found[np.diff(found, prepend=-np.inf) > SAME_PLACE]


def _nearest(places: Floats) -> Floats:
    return np.sort(places[np.argsort(np.abs(places), kind="stable")[:MOST_PLACES]])
