"""Cells of the atlas' tables: what is read, what is sorted by, what stands below in small letters.

Flow: statistics → **atlas** → its page.
"""

import math
from typing import Any

from actsweep.report.atlas.standing import Standings, interval
from actsweep.report.wording import fixed, number

Cell = dict[str, Any]


def cell(text: str, sort: float | str | None, below: str = "") -> Cell:
    if isinstance(sort, float) and not math.isfinite(sort):
        sort = None if math.isnan(sort) else "Infinity" if sort > 0 else "-Infinity"  # as scripts read it
    return {"text": text, "sort": sort, "below": below}


def accuracy(found: Standings, act: str) -> Cell:
    mean = found.accuracy[act]
    return cell(fixed(mean.value), mean.value, interval(mean))


def beside(found: Standings, act: str) -> Cell:
    """The mean difference from ReLU and its adjusted p-value; a dash for ReLU itself."""
    if (pair := found.compared.get(act)) is None:
        return cell("–", None)
    return cell(fixed(pair.difference.value), pair.difference.value, f"q = {number(found.rates[act], 2)}")
