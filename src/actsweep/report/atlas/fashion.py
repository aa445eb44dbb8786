"""Do those that lead on digits lead on FashionMNIST? The best twelve and the six, in the tutorial's network.

The twelve were chosen on digits, so that no winner's curse is in this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.atlas import pictures
from actsweep.report.atlas.standing import REFERENCE, Standings, accuracies, accuracy, beside, cell, percent
from actsweep.report.wording import counted, fixed
from actsweep.statistics import ranking
from actsweep.statistics.setting import ACTS

FEW = 4  # functions that say nothing of an order


def fashion_of(table: pd.DataFrame, digits: Mapping[str, Standings]) -> dict[str, Any]:
    """What the page says and shows, best first. `table`: docs/atlas_fashion.csv; `digits`: the atlas, by
    initialisation."""
    values = dict(zip(table["act"], accuracies(table["accuracies"]), strict=True))
    found = Standings("default", values, {})
    means = {act: found.accuracy[act] for act in found.different}
    fence = _fence([mean.value for mean in means.values()])
    drawn = [mean for mean in means.values() if mean.value >= fence]
    axis = min(mean.low for mean in drawn), max(mean.high for mean in drawn)
    letters = ranking.letters(found.different, values)
    return {
        "sentences": [*_beside_relu(found), *_beside_digits(found, digits)],
        "rows": [
            {
                "act": act,
                "picture": pictures.interval(mean.value, mean.low, mean.high, axis) if mean.value >= fence else "",
                "cells": [accuracy(found, act), beside(found, act), cell(letters[act], letters[act])],
            }
            for act, mean in means.items()
        ],
        "n": means[found.different[0]].n,
    }


def _fence(values: Sequence[float]) -> float:
    """Below it a function lies too far from the others to share their axis (Tukey): one that did not train."""
    lower, upper = np.percentile(values, (25, 75))
    return float(lower - 1.5 * (upper - lower))


def _beside_relu(found: Standings) -> list[str]:
    others, six = ([act for act in found.different if (act in ACTS) == among] for among in (False, True))
    if REFERENCE not in six or not others:
        return []
    first, best = others[0], six[0]
    return [
        f"{counted(len(others), 'function')} that led on digits. {found.verdicts(others)}",
        f"The best of them here is {first}, {percent(found.accuracy[first])}; of the six, {best}, "
        f"{percent(found.accuracy[best])}.",
    ]


def _beside_digits(found: Standings, digits: Mapping[str, Standings]) -> list[str]:
    """Whether the order is the same: on digits each at its better initialisation, as the twelve were chosen."""
    by_init = [found.accuracy for found in digits.values()]
    known = {act: [means[act].value for means in by_init if act in means] for act in found.values}
    acts = [act for act, means in known.items() if means]
    if len(acts) <= FEW:
        return []
    rho = ranking.spearman([max(known[act]) for act in acts], [found.accuracy[act].value for act in acts])
    return [
        f"Spearman’s ρ between mean accuracy on digits and on FashionMNIST: {fixed(rho.value)} "
        f"[{fixed(rho.low)}, {fixed(rho.high)}], n = {counted(rho.n, 'function')}."
    ]
