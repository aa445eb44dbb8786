"""The atlas as one page that needs nothing else: atlas.html, from the tables that the study leaves (docs/atlas.csv).

A row a function, with its curve; atlas.js searches and filters.
"""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from actsweep.report.atlas import pictures, standing
from actsweep.report.atlas.answers import fashion_of, theory_of
from actsweep.report.atlas.standing import INITS, NOT_COMPARED, Cell, Standings, accuracy, beside, cell, percent
from actsweep.report.page import render, script, template
from actsweep.report.wording import number
from actsweep.statistics.atlas import as_, filled
from actsweep.statistics.findings.seen import span
from actsweep.statistics.setting import ACTS

HERE = Path(__file__).parent
PAGE = "atlas.html"
TEXTS = ("act", "same_as", "protocol", "jumps", "kinks", "curve", "rates", "accuracies", "diverged")
MEASURED = ("chi", "depth_scale", "lr", "trained", "dead", "saturated", "gradient_ratio", "accuracies")
UNKNOWN = "not known"
EMPTY = {"monotone": UNKNOWN, "parity": UNKNOWN} | dict.fromkeys(("jumps", "kinks", "curve", "same_as"), "")
FILTERS = {
    "package": "From",
    "monotone": "Monotone",
    "parity": "Parity",
    "bounded": "Bounded",
    "learnt": "Learnt",
    "edge": "Edge of chaos",
    "smooth": "Smooth",
    "double": "Equal to another",
    "verdict": "Beside ReLU",
}


def _number(value: float, scale: float = 1, digits: int = 3, below: str = "") -> Cell:
    scaled = scale * float(value)
    return cell(number(scaled, digits), scaled, below)


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if pd.notna(low) else ""


def _initialised(table: pd.DataFrame) -> pd.DataFrame:
    """A row a function: what was measured at torch's initialisation, nothing of those that were not yet."""
    found = table[table["init"] == "default"]
    others = table[~table["act"].isin(found["act"])].assign(**dict.fromkeys(MEASURED, math.nan))
    found = pd.concat([found, others]) if len(others) else found
    return found.assign(**{name: filled(found[name], empty) for name, empty in EMPTY.items()})


def _standing(found: Standings | None, row: pd.Series | None) -> dict[str, Cell]:
    """The columns of one initialisation."""
    if found is None or row is None or row["act"] not in found.values:
        return dict.fromkeys(("accuracy, %", "vs ReLU", "rank", "trained, %"), cell("–", None))
    act = row["act"]
    first = found.same_as.get(act, act)
    rank, letters = found.ranks[first], found.letters.get(first, "")
    between = "" if math.isnan(rank.low) else span((round(rank.low), round(rank.high)))
    return {
        "accuracy, %": accuracy(found, act),
        "vs ReLU": beside(found, act),
        "rank": cell(number(rank.value, 4), rank.value, f"{between} {letters}".strip()),
        "trained, %": _number(row["trained"], 100),
    }


def _features(row: pd.Series, found: Standings | None, edge: pd.Series | None) -> dict[str, str]:
    """Filter → what it knows the function by."""
    bounded = "yes" if math.isfinite(row["low"]) and math.isfinite(row["high"]) else "no"
    smooth = "jumps" if row["jumps"] else "kinks" if row["kinks"] else "yes"
    seen = pd.notna(row["low"])  # nothing can be said of a function that takes a number for each unit
    return {name: row[name] for name in ("package", "monotone", "parity")} | {
        "bounded": bounded if seen else UNKNOWN,
        "learnt": "learnt" if row["learnt"] else "fixed",
        "edge": UNKNOWN if edge is None else {"measured": "yes", "no edge": "no"}.get(edge["status"], UNKNOWN),
        "smooth": smooth if seen else UNKNOWN,
        "double": "yes" if row["same_as"] else "no",
        "verdict": found.verdict(row["act"]) if found else NOT_COMPARED,
    }


def _row(
    first: pd.Series, edge: pd.Series | None, standings: dict[str, Standings], own: Sequence[str]
) -> dict[str, Any]:
    act, default, form = first["act"], standings.get("default"), f"monotone: {first['monotone']}, {first['parity']}"
    more = [f"{name} at {first[name]}" for name in ("jumps", "kinks") if first[name]]
    more += [f"{first['learnt']} learnt"] if first["learnt"] else []
    cells = _standing(default, first)
    cells |= {f"edge: {name}": cell for name, cell in _standing(standings.get("critical"), edge).items()}
    cells |= {
        "depth scale, layers": _number(first["depth_scale"], below=f"χ₁ = {number(first['chi'])}"),
        "dead, %": _number(first["dead"], 100),
        "saturated, %": _number(first["saturated"], 100),
        "gradient, first ÷ last": _number(first["gradient_ratio"], digits=2),
        "step size": _number(first["lr"]),
        "cost ÷ ReLU’s": _number(first["cost"], digits=2),
        "range": cell(_range(first["low"], first["high"]), first["low"]),
        "slope": cell(_range(first["slope_low"], first["slope_high"]), first["slope_high"]),
        "form": cell(form, form, "; ".join(more)),
    }
    return {
        "act": act,
        "below": f"= {first['same_as']}" if first["same_as"] else "",
        "own": act in own,
        "features": _features(first, default, edge),
        "curve": pictures.curve(first["curve"].split()) if first["curve"] else "",
        "cells": cells,
    }


def _scatter(table: pd.DataFrame, found: Standings, own: Sequence[str]) -> dict[str, Any]:
    """Accuracy at an initialisation against the depth scale at torch's."""
    first = table[table["init"] == "default"].set_index("act")
    points = []
    for act in found.different:
        scale = first["depth_scale"].get(act, math.nan)
        if not math.isnan(scale):
            title = f"{act}: depth scale {number(scale)} layers, accuracy {percent(found.accuracy[act])}"
            named, learnt = act in ACTS or act in own, bool(first["learnt"][act])
            points.append(pictures.Point(act, scale, found.accuracy[act].value, title, named, learnt))
    title = f"Test accuracy at {INITS[found.init]} against predicted depth scale at torch’s initialisation"
    x, y = "depth scale at torch’s initialisation, layers", f"test accuracy at {INITS[found.init]}, %"
    return pictures.scatter(points, title, x, y)


def _context(
    table: pd.DataFrame, excluded: pd.DataFrame, own: Sequence[str], fashion: pd.DataFrame | None
) -> dict[str, Any]:
    compared = standing.comparable(table)
    standings = {found.init: found for found in standing.standings_of(compared)}
    others = [act for act in own if act not in {*compared["act"]}]
    table = table[table["protocol"].isin(compared["protocol"]) | ~table["act"].isin(compared["act"])]  # each act once
    unshown = sorted({*table["init"]} - {*INITS})
    edges = {row["act"]: row for _, row in table[table["init"] == "critical"].iterrows()}
    rows = [_row(row, edges.get(row["act"]), standings, own) for _, row in _initialised(table).iterrows()]
    default = standings.get("default")
    order = {act: place for place, act in enumerate(default.different)} if default else {}
    rows.sort(key=lambda row: order.get(row["act"], len(order)))
    return {
        "name": "Atlas of activation functions",
        "rows": rows,
        "headings": list(rows[0]["cells"]) if rows else [],
        "filters": {name: (title, sorted({row["features"][name] for row in rows})) for name, title in FILTERS.items()},
        "verdicts": {INITS[init]: found.sentences() for init, found in standings.items()},
        "excluded": filled(excluded).to_dict("records"),
        "kinds": excluded["kind"].value_counts().to_dict(),
        "edgeless": filled(table[table["status"] == "no edge"]).to_dict("records"),
        "failed": filled(table[table["status"] == "failed"]).to_dict("records"),
        "scatters": [_scatter(compared, found, own) for found in standings.values()],
        "theory": theory_of(compared),
        "fashion": None if fashion is None or fashion.empty else fashion_of(fashion, standings),
        "own": [
            *(_placed(act, found) for act in own for found in standings.values() if act in found.values),
            *(f"{act} was measured by another protocol than most here: it is compared with none." for act in others),
            *(f"What was measured at init={init} stands in atlas.csv alone." for init in unshown),
        ],
    }


def _placed(act: str, found: Standings) -> str:
    rank = found.ranks[first := found.same_as.get(act, act)]
    return (
        f"{act} stands {number(rank.value, 4)} [{number(rank.low)}, {number(rank.high)}] of {len(found.different)} at "
        f"{INITS[found.init]}{as_(act, first)}: {percent(found.accuracy[act])}; beside ReLU: {found.verdict(act)}."
    )


def _read(table: pd.DataFrame) -> pd.DataFrame:
    """As from a file: text that is a number a number, empty cells missing, lists text, and names, whatever they are."""
    text, texts = StringIO(table.to_csv(index=False)), dict.fromkeys(TEXTS, str)
    return pd.read_csv(text, dtype=texts, keep_default_na=False, na_values=[""])


def write(
    table: pd.DataFrame,
    excluded: pd.DataFrame,
    folder: Path,
    own: Sequence[str] = (),
    fashion: pd.DataFrame | None = None,
) -> Path:
    """Write folder/atlas.html, atomically, and return its path.

    `table`: a row a function × initialisation, as in docs/atlas.csv; `excluded`: what can't be run, with `kind` and
    `reason`; `own`: the person's functions among the table's; `fashion`: `act` and `accuracies` on FashionMNIST.
    """
    scripts = {"page": script("controls.js") + script("atlas.js", HERE)}
    style = script("style.css") + script("atlas.css", HERE)
    context = _context(_read(table), excluded, own, fashion)
    return render(folder / PAGE, template("atlas.html.j2", HERE), context, scripts, style)
