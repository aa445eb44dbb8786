"""In which way units are of no use: always off, always linear, always saturated, or collapsed to a constant.

`units` counts the dead ones and how many died or revived; this says what the useless ones do. A unit may be in several
classes, but is saturated or collapsed only if it isn't off.
"""

from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity
from actsweep.diagnostics.observation import Layer, double
from actsweep.diagnostics.units import SATURATED_BELOW

COLLAPSED_BELOW = 1e-3  # standard deviation over examples, relative to the root mean square


def always_off(pre: Tensor, slopes: Tensor) -> Tensor:
    """Units with zero slope and z ≤ 0 on every example: two of (K, N, H) → (K, H)."""
    return ((slopes == 0) & (pre <= 0)).all(dim=1)


def always_linear(slopes: Tensor) -> Tensor:
    """Units with the same slope, other than zero, on every example: (K, N, H) → (K, H)."""
    return (slopes == slopes[:, :1]).all(dim=1) & (slopes[:, 0] != 0)


def always_saturated(slopes: Tensor, max_slope: Tensor) -> Tensor:
    """Units whose |slope| is at most 5 % of the largest on every example: (K, N, H), (K,) → (K, H)."""
    return (slopes.abs() <= SATURATED_BELOW * max_slope[:, None, None]).all(dim=1)


def collapsed(post: Tensor) -> Tensor:
    """Units whose output hardly depends on the input: (K, N, H) → (K, H)."""
    values = double(post)
    return values.std(dim=1, correction=0) <= COLLAPSED_BELOW * values.square().mean(dim=1).sqrt()


class Taxonomy(Diagnostic):
    """Fractions of each hidden layer's units in each class, on the probe.

    `layer_off` beside `born_dead` of theory/meanfield.py: an untrained ReLU layer of N units is off with probability
    2^−N at one input, less at all of them (Lu et al. 2019).
    """

    quantities = (
        Quantity("always_off", "1", "linear", "fraction of units with zero slope and z ≤ 0 on every image"),
        Quantity("always_linear", "1", "linear", "fraction of units with one slope ≠ 0 on every probe image"),
        Quantity("always_saturated", "1", "linear", "fraction of others with |slope| ≤ 5 % of its maximum always"),
        Quantity("collapsed", "1", "linear", "fraction of others whose output varies < 0.1 % of its size"),
        Quantity("layer_off", "1", "linear", "1 if all units of the layer are off: nothing passes"),
    )

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        if layer.pre is None or layer.post is None or layer.slope is None or layer.max_slope is None:
            return {}  # where there is a slope, pre and post are of one shape
        if not self.can_compare(layer.slope):
            return {}
        off = always_off(layer.pre, layer.slope)
        classes = {
            "always_off": off,
            "always_linear": always_linear(layer.slope),
            "always_saturated": always_saturated(layer.slope, layer.max_slope) & ~off,
            "collapsed": collapsed(layer.post) & ~off,
        }
        fractions = {name: double(units).mean(dim=1) for name, units in classes.items()}
        return fractions | {"layer_off": double(off.all(dim=1))}
