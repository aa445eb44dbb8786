"""An atlas' pictures as SVG that the page's colours apply to: small curves, intervals, scatter plots.

Flow: report → **atlas**. Pure functions from numbers to markup; names are escaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

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


def curve(values: Sequence[float]) -> Markup:
    """φ from −4 to 4, between its lowest and highest value, at most from −4 to 4 and at least 1 apart; axes at 0."""
    known = np.nan_to_num(np.array(values), nan=0, posinf=1e6, neginf=-1e6)
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


def scatter(points: Iterable[Point], title: str, x_title: str, y_title: str) -> Markup:
    """y against x, x on a logarithmic axis; infinite x stands at the right, beyond the axis."""
    points = list(points)
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

    marks = [_tick(across(10.0**k), bottom, _power(k)) for k in range(low, high + 1)]
    if any(math.isinf(point.x) for point in points):
        marks.append(_tick(across(math.inf), bottom, "∞"))
    marks += [_line(y, up(y)) for y in range(0, 101, 20)]
    dots = [_dot(point, across(point.x), up(point.y)) for point in sorted(points, key=lambda each: each.named)]
    names = _names((point.act, across(point.x), up(point.y)) for point in points if point.named)
    words = Markup(
        '<text x="{}" y="{}" text-anchor="middle">{}</text><text x="0" y="15">{}</text>'
    ).format((left + right) // 2, bottom + 36, x_title, y_title)  # fmt: skip
    return Markup('<svg class="scatter" viewBox="0 0 600 350" role="img" aria-label="{}">{}</svg>').format(
        title, Markup("").join([*marks, words, *dots, names])
    )


def _power(k: int) -> Markup:
    return Markup(f'10<tspan dy="-5" font-size="9">{k}</tspan>'.replace("-", "−").replace('dy="−', 'dy="-'))


def _tick(x: float, bottom: float, text: str) -> Markup:
    return Markup('<path d="M{:.4g} {}v5"/><text x="{:.4g}" y="{}" text-anchor="middle">{}</text>').format(
        x, bottom, x, bottom + 18, text
    )


def _line(value: float, y: float) -> Markup:
    left, _, right, _ = BOX
    return Markup('<path d="M{} {:.4g}H{}"/><text x="{}" y="{:.4g}" text-anchor="end">{}</text>').format(
        left, y, right, left - 6, y + 4, value
    )


def _dot(point: Point, x: float, y: float) -> Markup:
    kind = " ".join(word for word, holds in (("named", point.named), ("hollow", point.hollow)) if holds)
    circle = Markup('<circle class="{}" data-act="{}" cx="{:.4g}" cy="{:.4g}" r="{}"><title>{}</title></circle>')
    return circle.format(kind, point.act, x, y, 5 if point.named else 3.2, point.title)


def _names(points: Iterable[tuple[str, float, float]]) -> Markup:
    """Beside the points, none over another: what would cover a name goes below it."""
    words, taken = Markup(""), list[tuple[float, float]]()
    for name, x, y in sorted(points, key=lambda point: point[2]):
        place = y - 5
        for _, other in sorted((each for each in taken if abs(each[0] - x) < 75), key=lambda each: each[1]):
            place = other + 16 if abs(other - place) < 16 else place
        taken.append((x, place))
        at = f'x="{x + 9:.4g}"' if x < 450 else f'x="{x - 9:.4g}" text-anchor="end"'
        words += Markup(f'<text {at} y="{place:.4g}">{{}}</text>').format(name)
    return words


def interval(value: float, low: float, high: float, axis: tuple[float, float]) -> Markup:
    """A value and its interval on an axis that other rows share."""
    at = [4 + (BAR - 8) * (each - axis[0]) / (axis[1] - axis[0] or 1) for each in (value, low, high)]
    return Markup(
        '<svg class="interval" viewBox="0 0 {} 20" aria-hidden="true"><path d="M{:.4g} 10H{:.4g}"/>'
        '<circle cx="{:.4g}" cy="10" r="4"/></svg>'
    ).format(BAR, *at[1:], at[0])
