"""The mean-field theory of a wide random network: variances, gradients, correlations, layer by layer and in the limit.

z = W φ(z_below) + b, with σ_w² = fan_in·Var(w) and σ_b² = Var(b). In wide layers z is normal with variance q, which
obeys q ↦ σ_w² E[φ(√q z)²] + σ_b² (Poole et al. 2016). Going back through a layer multiplies ‖∂L/∂z‖² by χ = σ_w²
E[φ′(√q z)²] (Schoenholz et al. 2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped]
from torch import nn

from actsweep.errors import UserError
from actsweep.theory.integrals import Floats, Function, describe, mean, mean_of_pair, panels, rule, total

SMALLEST, LARGEST = 1e-14, 1e14  # variances q beyond count as 0 and ∞
ROUNDING = 1e-13  # of half a logarithm's change: what grows by as much in each layer comes to rest nowhere
OF_FLOAT32 = 1e-76, 1e76  # variances of the numbers that it holds
NEARLY = 1e-6  # by which χ at q = 0 may be off: it is that at SMALLEST, where z is about 1e-7; and by which q grows or
# shrinks in a layer, whatever it is, where the gain was rounded: 1 % after 10,000


def bounded(q: float, smallest: float = SMALLEST, largest: float = LARGEST) -> float:
    return min(max(q, smallest), largest)


@dataclass(frozen=True)
class MeanField:
    """An activation at (σ_w², σ_b²). Raises ValueError for variances that are negative or not finite."""

    act: Function
    weight_variance: float
    bias_variance: float

    def __post_init__(self) -> None:
        for name, value in (("weight", self.weight_variance), ("bias", self.bias_variance)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} variance {value}: must be a number ≥ 0")

    def next_q(self, q: float) -> float:
        """The next layer's variance."""
        return self.weight_variance * second_moment(self.act, q) + self.bias_variance

    def chi(self, q: float) -> float:
        """χ at variance q: what one layer back multiplies the squared gradient by."""
        return self.weight_variance * slope_moment(self.act, q)

    def q_slope(self, q: float) -> float:
        """dq_next/dq = σ_w² E[φ(√q z)² (z² − 1)] / 2q: needs no derivative of φ, so jumps are no trouble."""
        q = bounded(q)
        root = math.sqrt(q)
        average = mean(lambda x: self.act(x) ** 2 * ((x / root) ** 2 - 1), q, self.act.breaks)
        return self.weight_variance / (2 * q) * average

    def fixed_point(self, start: float = 1.0) -> float:
        """q*, where q goes from `start`: 0 where it vanishes, ∞ where it diverges, `start` where every q stays."""

        def growth(log_q: float) -> float:
            return math.log(max(self.next_q(math.exp(log_q)), 1e-300)) - log_q

        here = math.log(bounded(start))
        direction = growth(here)
        if abs(direction) < 1e-12:
            return start
        step, since, fastest = math.copysign(0.5, direction), here, abs(direction)
        while math.log(SMALLEST) < here + step < math.log(LARGEST):  # beyond, moments are those of the end
            then = growth(here + step) * step
            if then < -ROUNDING:
                return math.exp(brentq(growth, since, here + step, xtol=1e-14, rtol=1e-14))
            here += step
            since, fastest = here if then > ROUNDING else since, max(fastest, abs(then / step))
        if fastest < NEARLY:
            return start
        return math.inf if direction > 0 else 0.0

    def correlation(self, c: float, q: float) -> float:
        """The next layer's correlation of two inputs of variance q whose correlation is c."""
        covariance = self.weight_variance * mean_of_pair(self.act, bounded(q), c, self.act.breaks) + self.bias_variance
        return covariance / self.next_q(q)

    def chi_of_pair(self, c: float, q: float) -> float:
        """σ_w² E[φ′(u) φ′(v)]: at c* the slope of the correlation map, times next_q(q) / q = 1."""
        return self.weight_variance * mean_of_pair(self.act.slope, bounded(q), c, self.act.breaks)

    def map_slope(self, c: float, q: float) -> float:
        """d c_next / dc at c < 1, by differences: of functions that jump as well, whose φ′ lacks the jumps."""
        step = 1e-3 * (1 - c)
        return (self.correlation(c + step, q) - self.correlation(c - step, q)) / (2 * step)

    def fixed_correlation(self, q: float) -> float:
        """c*, where correlations go: 1 in the ordered phase, less in the chaotic one."""
        grid = 1 - np.geomspace(1, 1e-6, 13)
        growing = [place for place, c in enumerate(grid) if self.correlation(float(c), q) - c >= 0]
        if not growing:
            return 0.0
        if (last := growing[-1]) == len(grid) - 1:  # still growing next to 1
            return 1.0
        return float(brentq(lambda c: self.correlation(c, q) - c, grid[last], grid[last + 1], xtol=1e-9))


@dataclass(frozen=True)
class Limit:
    """What happens in the limit of many layers. Scales are in layers; ∞ at criticality. NaN where z vanishes or
    diverges: variances, or correlations, come to rest nowhere."""

    q: float  # q*
    chi: float  # χ₁ = χ(q*)
    correlation: float  # c*
    q_scale: float  # ξ_q: layers in which q − q* shrinks by e
    correlation_scale: float  # ξ_c: layers in which c − c* shrinks by e
    gradient_scale: float  # 1/|ln χ₁|: layers in which the squared gradient changes by e

    @property
    def depth_scale(self) -> float:
        """What tells inputs apart and gradients both last so long: ξ_c; where φ jumps, gradients may end sooner."""
        return min(self.correlation_scale, self.gradient_scale if self.chi < 1 else math.inf)


def scale(factor: float) -> float:
    """Layers in which what is multiplied by `factor` shrinks by e: −1/ln factor; ∞ for a factor of 1 or more.

    >>> round(scale(0.5), 3), scale(1.0), scale(0.0)
    (1.443, inf, 0.0)
    """
    if factor <= 0:
        return 0.0
    return -1 / math.log(factor) if factor < 1 - 1e-9 else math.inf


def limit(theory: MeanField, start: float = 1.0) -> Limit:
    """The network's deep limit, from inputs that give the first layer variance `start`."""
    q = theory.fixed_point(start)
    chi = theory.chi(q)
    gradient = math.inf if abs(chi - 1) < 1e-9 else 1 / abs(math.log(chi)) if chi > 0 else 0.0
    q_scale = math.nan if math.isinf(q) else scale(abs(theory.q_slope(q)))
    if q == 0 and abs(chi - 1) < NEARLY:  # tanh's edge of chaos at σ_w² = 1, for one
        return Limit(q, chi, 1.0, math.inf, math.inf, math.inf)
    if not 0 < q < math.inf:
        return Limit(q, chi, math.nan, q_scale, math.nan, gradient)
    # The map of variances is the correlation map's c = 1: at χ₁ > 1 that fixed point loses its stability, and where φ
    # jumps the map's slope there is infinite.
    jumps = bool(theory.act.jumps.size)
    c = theory.fixed_correlation(q) if jumps or chi > 1 + 1e-9 else 1.0
    slope = chi if c == 1 else theory.map_slope(c, q) if jumps else theory.chi_of_pair(c, q)
    return Limit(q, chi, c, q_scale, scale(slope), gradient)


def second_moment(act: Function, q: float) -> float:
    """E[φ(√q z)²]."""
    return mean(lambda x: act(x) ** 2, bounded(q), act.breaks)


def slope_moment(act: Function, q: float) -> float:
    """E[φ′(√q z)²]. Raises UserError where that does not settle."""
    _check_slope(act)
    return mean(lambda x: act.slope(x) ** 2, bounded(q), act.breaks)


def _check_slope(act: Function) -> None:
    if not act.slope_settles:
        why = "its slope grows so fast towards a point that E[φ′(z)²] is infinite, or beyond numerical averages"
        raise UserError(f"{act.name} has no χ₁ and no edge of chaos: {why}")


@dataclass(frozen=True)
class Layers:
    """Predictions for hidden layers 1 … L and the output layer L + 1.

    q (L + 1,): variance of each layer's z. chi (L,): ‖∂L/∂z_l‖² / ‖∂L/∂z_{l+1}‖² of each hidden layer. Noise: the
    relative standard deviations, in single networks, of √q and √χ, to leading order in 1/width, at one example. Means
    over many examples vary less: of χ, where these share no more than the direction of their gradient, by 2/width.
    """

    q: Floats
    chi: Floats
    rms_noise: Floats
    chi_noise: Floats

    @property
    def gradients(self) -> Floats:
        """‖∂L/∂z‖ of each layer relative to the last hidden layer's, (L,)."""
        with np.errstate(over="ignore"):  # ∞ is what no number holds
            return np.sqrt(np.cumprod(np.append(1.0, self.chi[:-1][::-1]))[::-1])

    @property
    def log_variances(self) -> Floats:
        """Of ln ‖∂L/∂z‖² of each layer relative to the output layer's, over single networks, at one example, (L,).

        The distribution is about normal, and its mean lies half of its variance below the logarithm of the mean. Of a
        critical ReLU network it is β = 5 Σ 1/width (Hanin & Nica 2020).
        """
        return np.cumsum(np.square(2 * self.chi_noise)[::-1])[::-1]


def layers(
    act: nn.Module | Function,
    input_square: float,
    weight_variances: Sequence[float],
    bias_variances: Sequence[float],
    widths: Sequence[int],
) -> Layers:
    """Predictions for inputs of mean square `input_square`; variances and units per layer, output included."""
    phi = describe(act)
    steps = [MeanField(phi, w, b) for w, b in zip(weight_variances, bias_variances, strict=True)]
    q = [steps[0].weight_variance * input_square + steps[0].bias_variance]
    spread = [2 / widths[0]]  # relative variance of q in one network, at one example
    drift = 0.0  # its part that is not of this layer's units: what they all have in common
    chi, chi_spread = [], []
    for above, width, width_above in zip(steps[1:], widths, widths[1:], strict=False):
        found = moments(phi, q[-1])
        passed = above.weight_variance * found.square
        q.append(passed + above.bias_variance)
        chi.append(above.weight_variance * found.slope_square)
        # (φ′ g)² of each unit, g being the gradient that its weights pass: E[φ′⁴]·E[g⁴] = 3 (1 + s), less 1
        chi_spread.append((3 * found.slope_spread + 2) / width + found.slope_growth**2 * drift)
        share = passed / q[-1] if q[-1] else 0.0
        drift = share**2 * (found.growth**2 * spread[-1] + found.square_spread / width)
        spread.append(drift + 2 / width_above)
    return Layers(np.array(q), np.array(chi), np.sqrt(spread) / 2, np.sqrt(chi_spread) / 2)


@dataclass(frozen=True)
class Moments:
    """Averages over z ~ N(0, q): of φ² and φ′², their relative variances, and their d ln E / d ln q."""

    square: float
    slope_square: float
    square_spread: float
    slope_spread: float
    growth: float
    slope_growth: float


def moments(act: Function, q: float) -> Moments:
    """All averages that a layer's prediction needs, from one evaluation. Raises UserError as `slope_moment` does."""
    _check_slope(act)
    q = bounded(q, *OF_FLOAT32)
    z, w = rule(panels(q, act.breaks))
    value, slope = act.derivatives(math.sqrt(q) * z, 1)
    with np.errstate(all="ignore"):  # of powers of large numbers
        square, slope_square = total(w, value**2), total(w, slope**2)
        spreads = _spread(total(w, value**4), square), _spread(total(w, slope**4), slope_square)
        growth = float(w @ (value**2 * (z**2 - 1))) / (2 * square) if square else 0.0
        slope_growth = float(w @ (slope**2 * (z**2 - 1))) / (2 * slope_square) if slope_square else 0.0
        return Moments(square, slope_square, *spreads, growth, slope_growth)


def _spread(fourth: float, square: float) -> float:
    """The relative variance of squares, from E[x⁴] and E[x²]; NaN where no number holds it."""
    try:
        return fourth / square**2 - 1 if square else 0.0
    except ArithmeticError:
        return math.nan


def born_dead(widths: Sequence[int]) -> Floats:
    """Probability that a ReLU network is dead at birth by each hidden layer: all units of a layer off, at one input.

    1 − Π(1 − 2^−N), exact for one input and weights and biases that are symmetric around 0; for all inputs it is
    the upper bound of Lu et al. 2019.

    >>> born_dead([1, 2]).tolist()
    [0.5, 0.625]
    """
    alive: Floats = np.cumsum(np.log1p(-np.exp2(-np.asarray(widths, dtype=np.float64))))  # logarithms: 1 − 1e-39 is 1
    return -np.expm1(alive)
