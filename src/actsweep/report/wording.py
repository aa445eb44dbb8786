"""Numbers as people read them, and data as a page can hold them."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from actsweep.statistics.inference import Estimate, two_digits

if TYPE_CHECKING:
    from actsweep.statistics.findings import Fact

NOT_FINITE = "∞"  # in the page's data: measured, but NaN or infinite; null there: not measured
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def number(value: float | None, digits: int = 3) -> str:
    """At most so many significant digits; a dash where there is no number.

    >>> number(0.33879), number(1.4e-05), number(-2.0), number(None), number(math.inf)
    ('0.339', '1.4e−5', '−2', '–', '∞')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return NOT_FINITE if value > 0 else f"−{NOT_FINITE}"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else mantissa).replace("-", "−")


def fixed(value: float | None, decimals: int = 2) -> str:
    """So many decimals, a true minus sign, and a dash where there is no number."""
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def interval(of: "Estimate | Fact", text: Callable[[float], str] = fixed) -> str:
    """In brackets; nothing where n was too small for one."""
    return "" if math.isnan(of.low) else f"[{text(of.low)}, {text(of.high)}]"


def p_value(p: float) -> str:
    """
    >>> p_value(0.0312), p_value(0.0004)
    ('p = 0.031', 'p < 0.001')
    """
    if math.isnan(p):
        return "no p-value"
    return "p < 0.001" if p < 0.001 else f"p = {two_digits(p)}"


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(5400)
    ('42.4 s', '1 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str], most: int = 4) -> str:
    """
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2)
    ('a, b and c', 'a, b and 2 others')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {counted(len(names) - most, 'other')}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(value: float, digits: int = 4) -> float | int | str | None:
    """A number with so many significant digits, as JSON can hold it.

    >>> plain(0.123456), plain(3.0), plain(float("nan")), plain(float("inf"))
    (0.1235, 3, None, '∞')
    """
    if math.isnan(value):
        return None
    if math.isinf(value):
        return NOT_FINITE
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e6 else rounded


def plain_list(values: Iterable[float] | npt.NDArray[np.floating], digits: int = 4) -> list[float | int | str | None]:
    """`plain` of each."""
    return [plain(value, digits) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


def embedded(data: Any) -> Markup:
    """JSON that can stand inside a <script> element: nothing in it ends the element or starts another."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPED))


def thinned(count: int, most: int, logarithmic: bool = False) -> npt.NDArray[np.intp]:
    """At most so many of the positions 0 … count − 1, evenly spaced, the first and the last among them; where they are
    fewer, all.

    >>> thinned(10, 4).tolist(), thinned(3, 4).tolist(), thinned(100, 4, logarithmic=True).tolist()
    ([0, 3, 6, 9], [0, 1, 2], [0, 4, 21, 99])
    """
    if count <= most:
        return np.arange(count)
    places = np.geomspace(1, count, most) - 1 if logarithmic else np.linspace(0, count - 1, most)
    return np.unique(places.round().astype(np.intp))


def spoken(layer: str) -> str:
    """layer_03 → 3; other names as they are."""
    before, _, after = layer.rpartition("_")
    return str(int(after)) if before == "layer" and after.isdecimal() else layer
