"""An atlas' pictures as SVG that the page's colours apply to: small curves, intervals, scatter plots."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from actsweep.report.wording import number

WIDE, TALL = 72, 40  # of a small curve
BAR = 160  # width of an interval
BOX = (46, 26, 560, 306)  # left, top, right, bottom of a scatter plot's axes, in a view of 600 × 350


@dataclass(frozen=True)
class Point:
    """A function in a scatter plot; its title is what a pointer over it shows."""

    act: str
    x: float
    y: float
    title: str
    named: bool = False
    hollow: bool = False


def curve(values: Sequence[str]) -> Markup:
    """φ from −4 to 4, as a table has it, from lowest to highest, within ±4, at least 1 apart; axes at 0."""
    known = np.nan_to_num(np.array(values, dtype=float), nan=0, posinf=1e6, neginf=-1e6)
    low, high = min(float(known.min()), 0), max(float(known.max()), 0)
    low, high = max(min(low, high - 1), -4), min(max(high, low + 1), 4)
    height = TALL - 2 - (TALL - 4) * (known - low) / (high - low)
    x = np.linspace(0, WIDE, len(known))
    points = " ".join(f"{a:.4g},{b:.3g}" for a, b in zip(x, height.clip(-TALL, 2 * TALL), strict=True))
    zero = TALL - 2 + (TALL - 4) * low / (high - low)
    return Markup(
        f'<svg class="curve" viewBox="0 0 {WIDE} {TALL}" aria-hidden="true">'
        f'<path d="M0 {zero:.3g}H{WIDE}M{WIDE / 2:g} 0V{TALL}"/><polyline points="{points}"/></svg>'
    )


def scatter(points: Sequence[Point], title: str, x_title: str, y_title: str) -> dict[str, Any]:
    """y against x, x on a logarithmic axis, for the template to draw: where ticks, grey lines, dots and names stand.

    Infinite x stands at the right, beyond the axis.
    """
    finite = [point.x for point in points if 0 < point.x < math.inf] or [1.0]
    left, top, right, bottom = BOX
    low, high = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    high = max(high, low + 1)

    def across(x: float) -> float:
        if math.isinf(x):
            return right + 18
        return left + (right - left) * (math.log10(x) - low) / (high - low) if x > 0 else left

    def up(y: float) -> float:
        return bottom - (bottom - top) * y / 100

    places = [(point, across(point.x), up(point.y)) for point in points]
    return {
        "titles": (title, x_title, y_title),
        "box": BOX,
        "powers": [(number(k), across(10.0**k)) for k in range(low, high + 1)],
        "beyond": across(math.inf) if any(math.isinf(point.x) for point in points) else None,
        "lines": [(y, up(y)) for y in range(0, 101, 20)],
        "dots": sorted(places, key=lambda place: place[0].named),
        "names": list(_names([(point.act, x, y) for point, x, y in places if point.named])),
    }


def _names(points: Sequence[tuple[str, float, float]]) -> Iterator[tuple[str, float, float]]:
    """Beside the points, none over another: what would cover a name goes below it."""
    taken: list[tuple[float, float]] = []
    for name, x, y in sorted(points, key=lambda point: point[2]):
        place = y - 5
        for _, other in sorted((each for each in taken if abs(each[0] - x) < 75), key=lambda each: each[1]):
            place = other + 16 if abs(other - place) < 16 else place
        taken.append((x, place))
        yield name, x, place


def interval(value: float, low: float, high: float, axis: tuple[float, float]) -> Markup:
    """A value and its interval on an axis that other rows share."""
    at = [4 + (BAR - 8) * (each - axis[0]) / (axis[1] - axis[0] or 1) for each in (value, low, high)]
    return Markup(
        '<svg class="interval" viewBox="0 0 {} 20" aria-hidden="true"><path d="M{:.4g} 10H{:.4g}"/>'
        '<circle cx="{:.4g}" cy="10" r="4"/></svg>'
    ).format(BAR, *at[1:], at[0])
