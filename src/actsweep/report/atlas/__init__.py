"""The atlas as one page that needs nothing else: atlas.html, from the tables that the study leaves.

Flow: statistics → report → **atlas**. A row a function, with its curve; atlas.js searches and filters.
"""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from actsweep.report.atlas import pictures
from actsweep.report.atlas.cells import Cell, accuracy, beside, cell
from actsweep.report.atlas.fashion import fashion_of
from actsweep.report.atlas.standing import INITS, NOT_COMPARED, Standings, comparable, percent, standings_of
from actsweep.report.atlas.theory import theory_of
from actsweep.report.captions import span
from actsweep.report.page import policy, script, template
from actsweep.report.wording import number
from actsweep.results.files import write_atomically
from actsweep.statistics.setting import ACTS

HERE = Path(__file__).parent
PAGE = "atlas.html"
LISTS = ("jumps", "kinks", "curve", "rates", "accuracies", "diverged")
MEASURED = ("chi", "depth_scale", "lr", "trained", "dead", "saturated", "gradient_ratio", "accuracies")
UNKNOWN = "not known"
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
    value = float(value)
    return cell("∞" if math.isinf(value) else number(scale * value, digits), scale * value, below)


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}".replace("inf", "∞") if pd.notna(low) else ""


def _initialised(table: pd.DataFrame) -> pd.DataFrame:
    """A row a function: what was measured at torch's initialisation, nothing of those that were not yet."""
    found = table[table["init"] == "default"]
    others = table[~table["act"].isin(found["act"])].copy()
    others[[*MEASURED]] = math.nan
    return pd.concat([found, others]) if len(others) else found


def _standing(found: Standings | None, row: pd.Series | None) -> dict[str, Cell]:
    """The columns of one initialisation."""
    if found is None or row is None or row["act"] not in found.values:
        return dict.fromkeys(("accuracy, %", "vs ReLU", "rank", "trained, %"), cell("–", None))
    act = row["act"]
    rank = found.ranks[found.same_as.get(act, act)]
    return {
        "accuracy, %": accuracy(found, act),
        "vs ReLU": beside(found, act),
        "rank": cell(number(rank.value, 4), rank.value, _rank(found, act)),
        "trained, %": _number(row["trained"], 100),
    }


def _rank(found: Standings, act: str) -> str:
    first = found.same_as.get(act, act)
    rank = found.ranks[first]
    between = "" if math.isnan(rank.low) else span((round(rank.low), round(rank.high)))
    return f"{between} {found.letters.get(first, '')}".strip()


def _known(found: Any, by: Any = 0.0) -> str:
    """What is found, unless nothing can be said of the function, as of one that takes a number for each unit."""
    return UNKNOWN if pd.isna(found) or pd.isna(by) else str(found)


def _features(row: pd.Series, found: Standings | None, edge: pd.Series | None) -> dict[str, str]:
    """Filter → what it knows the function by."""
    act = row["act"]
    return {
        "package": row["package"],
        "monotone": _known(row["monotone"]),
        "parity": _known(row["parity"]),
        "bounded": _known("yes" if math.isfinite(row["low"]) and math.isfinite(row["high"]) else "no", row["low"]),
        "learnt": "learnt" if row["learnt"] else "fixed",
        "edge": UNKNOWN if edge is None else {"measured": "yes", "no edge": "no"}.get(edge["status"], UNKNOWN),
        "smooth": _known(
            "jumps" if pd.notna(row["jumps"]) else "kinks" if pd.notna(row["kinks"]) else "yes", row["low"]
        ),
        "double": "yes" if pd.notna(row["same_as"]) else "no",
        "verdict": found.verdict(act) if found else NOT_COMPARED,
    }


def _row(
    first: pd.Series, edge: pd.Series | None, standings: dict[str, Standings], own: Sequence[str]
) -> dict[str, Any]:
    act, default = first["act"], standings.get("default")
    features = _features(first, default, edge)
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
        "form": cell(form := f"monotone: {_known(first['monotone'])}, {_known(first['parity'])}", form, _form(first)),
    }  # fmt: skip
    return {
        "act": act,
        "below": _same(first),
        "own": act in own,
        "features": features,
        "curve": pictures.curve([float(each) for each in first["curve"].split()]) if pd.notna(first["curve"]) else "",
        "cells": list(cells.values()),
        "headings": list(cells),
    }


def _same(row: pd.Series) -> str:
    return f"= {row['same_as']}" if pd.notna(row["same_as"]) else ""


def _form(row: pd.Series) -> str:
    places = [f"{name} at {row[name]}" for name in ("jumps", "kinks") if pd.notna(row[name])]
    return "; ".join([*places, *([f"{row['learnt']} learnt"] if row["learnt"] else [])])


def _points(table: pd.DataFrame, found: Standings, own: Sequence[str]) -> list[pictures.Point]:
    """Accuracy at an initialisation against the depth scale at torch's."""
    first = table[table["init"] == "default"].set_index("act")
    points = []
    for act in found.different:
        scale = first["depth_scale"].get(act, math.nan)
        if not math.isnan(scale):
            title = f"{act}: depth scale {number(scale)} layers, accuracy {percent(found.accuracy[act])}"
            named, learnt = act in ACTS or act in own, bool(first["learnt"][act])
            points.append(pictures.Point(act, scale, found.accuracy[act].value, title, named, learnt))
    return points


def _scatter(table: pd.DataFrame, found: Standings, own: Sequence[str]) -> Markup:
    title = f"Test accuracy at {INITS[found.init]} against predicted depth scale at torch’s initialisation"
    x, y = "depth scale at torch’s initialisation, layers", f"test accuracy at {INITS[found.init]}, %"
    return pictures.scatter(_points(table, found, own), title, x, y)


def _context(
    table: pd.DataFrame, excluded: pd.DataFrame, own: Sequence[str], fashion: pd.DataFrame | None
) -> dict[str, Any]:
    compared = comparable(table)
    standings = {found.init: found for found in standings_of(compared)}
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
        "headings": rows[0]["headings"] if rows else [],
        "filters": {name: (title, sorted({row["features"][name] for row in rows})) for name, title in FILTERS.items()},
        "verdicts": {INITS[init]: found.sentences() for init, found in standings.items()},
        "standings": standings,
        "excluded": excluded.fillna("").to_dict("records"),
        "kinds": excluded["kind"].value_counts().to_dict(),
        "edgeless": table[table["status"] == "no edge"].astype(object).fillna("").to_dict("records"),
        "failed": table[table["status"] == "failed"].astype(object).fillna("").to_dict("records"),
        "scatters": [_scatter(compared, found, own) for found in standings.values()],
        "theory": theory_of(compared),
        "fashion": None if fashion is None or fashion.empty else fashion_of(fashion, standings),
        "own": [
            *(_placed(act, found) for act in own for found in standings.values() if act in found.ranks),
            *(f"{act} was measured by another protocol than most here: it is compared with none." for act in others),
            *(f"What was measured at init={init} stands in atlas.csv alone." for init in unshown),
        ],
    }


def _placed(act: str, found: Standings) -> str:
    rank = found.ranks[act]
    return (
        f"{act} stands {number(rank.value, 4)} [{number(rank.low)}, {number(rank.high)}] of {len(found.different)} at "
        f"{INITS[found.init]}: {percent(found.accuracy[act])}; beside ReLU: {found.verdict(act)}."
    )


def _read(table: pd.DataFrame) -> pd.DataFrame:
    """As from a file: text that is a number a number, empty cells missing, lists text."""
    return pd.read_csv(StringIO(table.to_csv(index=False)), dtype=dict.fromkeys((*LISTS, "protocol"), str))


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
    ours = script("controls.js") + script("atlas.js", HERE)
    scripts = {"theme": script("theme.js"), "page": ours}
    html = template("atlas.html.j2", HERE).render(
        _context(_read(table), excluded, own, fashion)
        | {"scripts": scripts, "style": script("style.css") + script("atlas.css", HERE)}
        | {"policy": policy(list(scripts.values()))}
    )
    path = folder / PAGE
    write_atomically(path, html)
    return path
