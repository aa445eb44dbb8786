"""Two questions that the atlas answers beside its table. Does theory say who trains? At torch's initialisation: the
predicted depth scale, which is infinite at the edge of chaos, beside the share of seeds that trained. Do those that
lead on digits lead on FashionMNIST? The twelve were chosen on digits, so that no winner's curse is in this.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.atlas import pictures
from actsweep.report.atlas.standing import REFERENCE, Standings, accuracies, accuracy, beside, cell, percent
from actsweep.report.wording import counted, fixed, number
from actsweep.statistics import ranking
from actsweep.statistics.inference import Estimate
from actsweep.statistics.setting import ACTS

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
CURVE = np.linspace(-4, 4, 49)  # where the table has φ
FEW = 4  # functions that say nothing of an order


def not_centred(row: pd.Series) -> bool:
    """Whether more than half of mean φ(z)² is (mean φ(z))², z ~ N(0, q*): what all inputs have in common."""
    if pd.isna(row["q"]) or pd.isna(row["curve"]):
        return False
    values = np.interp(NODES * np.sqrt(row["q"]), CURVE, np.array(row["curve"].split(), dtype=float))
    square = WEIGHTS @ values**2
    return bool((WEIGHTS @ values) ** 2 > 0.5 * square * WEIGHTS.sum())


REASONS: dict[str, Callable[[pd.Series], bool]] = {  # what theory does not know, or takes to be otherwise
    "learnt: its shape changes": lambda row: row["learnt"] > 0,
    "not centred: most of its signal is the same for all inputs": not_centred,
    "its values jump": lambda row: pd.notna(row["jumps"]),
    "its slope is unbounded": lambda row: bool(np.isinf([row["slope_low"], row["slope_high"]]).any()),
    "chaotic: χ₁ > 1": lambda row: row["chi"] > 1,
    "seeds diverged": lambda row: pd.notna(row["diverged"]),
}


def predicted(table: pd.DataFrame) -> pd.DataFrame:
    """The different functions at torch's initialisation that theory says something of."""
    known = (table["init"] == "default") & table["accuracies"].notna() & table["depth_scale"].notna()
    return table[known & table["same_as"].isna()]


def correlation(table: pd.DataFrame) -> Estimate:
    """Spearman's ρ between depth scale and share trained, over functions."""
    rows = predicted(table)
    return ranking.spearman(rows["depth_scale"].tolist(), rows["trained"].tolist())


def cut(scales: list[float], trains: list[bool]) -> float | None:
    """The depth scale from which on functions train, for the highest mean of both shares that are then right."""
    x, y = np.array(scales), np.array(trains)
    if y.all() or not y.any():
        return None
    places = np.unique(x)
    right = [(np.mean(x[y] >= place) + np.mean(x[~y] < place)) / 2 for place in places]
    return float(places[np.argmax(right)])


def theory_of(table: pd.DataFrame) -> dict[str, Any] | None:
    """What the page says; None where theory says nothing."""
    rows = predicted(table)
    trains = rows["trained"] >= 0.5
    place = cut(rows["depth_scale"].tolist(), trains.tolist())
    if place is None:
        return None
    apart = rows[(rows["depth_scale"] >= place) != trains].sort_values("depth_scale")
    found, unsaid = correlation(table), int(table[table["init"] == "default"]["depth_scale"].isna().sum())
    return {
        "sentences": [
            f"Spearman’s ρ between predicted depth scale and share of seeds trained: {fixed(found.value)} "
            f"[{fixed(found.low)}, {fixed(found.high)}], n = {found.n} functions"
            + (f"; of {unsaid} theory says nothing." if unsaid else "."),
            f"“It trains where the depth scale is at least {number(place)} layers”, a limit chosen on these functions, "
            f"is true of {len(rows) - len(apart)} of {len(rows)}; {len(apart)} part from it.",
        ],
        "rows": [
            {**row, "reasons": [reason for reason, holds in REASONS.items() if holds(row)]}
            for _, row in apart.iterrows()
        ],
    }


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
