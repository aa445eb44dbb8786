"""Does theory say who trains? The predicted depth scale beside the share of seeds that trained, and who parts from it.

At torch's initialisation; the edge of chaos has no finite depth scale.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.wording import fixed, number
from actsweep.statistics.inference import Estimate
from actsweep.statistics.ranking import spearman

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
CURVE = np.linspace(-4, 4, 49)  # where the table has φ


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
    return spearman(rows["depth_scale"].tolist(), rows["trained"].tolist())


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
