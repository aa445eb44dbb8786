"""What the figures compute: pure functions of numbers."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.statistics import inference

Values = Sequence[float] | npt.NDArray[np.float64]


def t_interval(values: Values, possible: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float] | None:
    """The mean's 95 % interval by Student's t, without what is not possible; None for fewer than two values.

    >>> low, high = t_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    >>> t_interval([0.0, 100.0], possible=(0, 100))
    (0, 100)
    """
    if len(values) < 2:
        return None
    estimate = inference.mean(list(values)).within(*possible)
    return estimate.low, estimate.high


def geometric_mean(values: Values) -> float:
    """exp of the mean logarithm; 0 if any value is 0.

    >>> round(geometric_mean([1.0, 100.0]), 9), geometric_mean([0.0, 1.0])
    (10.0, 0.0)
    """
    found = np.asarray(values, dtype=np.float64)
    return float(np.exp(np.mean(np.log(found)))) if (found > 0).all() else 0.0


def thin(frame: pd.DataFrame, most: int = 1000, logarithmic: bool = False) -> pd.DataFrame:
    """At most so many rows, evenly spaced (on a logarithmic axis, if asked), the first and the last among them."""
    if len(frame) <= most:
        return frame
    numbers = (np.geomspace if logarithmic else np.linspace)(1, len(frame), most)
    return frame.iloc[np.unique(numbers.round().astype(int)) - 1]
