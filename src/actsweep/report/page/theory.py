"""Do untrained networks do what mean-field theory predicts? A verdict, and a row per setting; theory.js draws layers.

Flow: report → **page**. From the quantities of actsweep.diagnostics.theory, as `layers_of` condensed them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actsweep.report.page.wording import counted, listed, number
from actsweep.statistics.setting import Setting

FACTORS = {"pre_activation_rms": "√(mean z²)", "delta_ratio": "gradient, layer ÷ next"}


@dataclass(frozen=True)
class Compared:
    """One setting: |measured ÷ predicted − 1| by layer, of means over runs; where single runs deviate from theory."""

    group: Setting
    errors: dict[str, list[float]]
    deviates: dict[str, int]  # layer → in how many runs
    layers: int
    runs: int


def _numbers(quantities: dict[str, Any], name: str, position: int) -> dict[str, float]:
    """Layer → the untrained networks' mean, where it is a number."""
    found = quantities.get(name, {}).get("settings", {}).get(position, {}).get("ends", {}).get("untrained")
    pairs = zip(found["layers"], found["mean"], strict=True) if found else ()
    return {layer: float(mean) for layer, mean in pairs if isinstance(mean, int | float)}


def compared(groups: Sequence[Setting], layers: dict[str, Any]) -> list[Compared]:
    """The settings that have predictions."""
    quantities = {each["name"]: each for each in layers["quantities"]}
    found = []
    for position, group in enumerate(groups):
        errors = {}
        for name in FACTORS:
            measured, expected = (_numbers(quantities, full, position) for full in (name, f"{name}_theory"))
            both = [(measured[layer], expected[layer]) for layer in expected if layer in measured and expected[layer]]
            errors[name] = [abs(one / other - 1) for one, other in both]
        flags = _numbers(quantities, "theory_deviates", position)
        if not errors["pre_activation_rms"] or not flags:
            continue
        runs = quantities["theory_deviates"]["settings"][position]["ends"]["untrained"]["n"]
        deviates = {layer: round(share * runs) for layer, share in flags.items() if share}
        found.append(Compared(group, errors, deviates, len(flags), runs))
    return found


def sentences(found: Sequence[Compared]) -> list[str]:
    """The verdict in words."""
    every = np.array([error for each in found for errors in each.errors.values() for error in errors])
    runs, apart = sum(each.runs for each in found), [each for each in found if each.deviates]
    size = (
        f"Of the means over seeds, half are within {number(100 * float(np.median(every)), 2)} % of theory, all within "
        f"{number(100 * float(every.max()), 2)} %."
    )
    limit = "by more than 4 standard deviations of networks this wide"
    if not apart:
        return [
            f"No layer of the {counted(runs, 'untrained network')} deviates from mean-field theory {limit}. {size}",
        ]
    named = [f"{each.group.label} ({_where(each)})" for each in apart]
    cells = sum(sum(each.deviates.values()) for each in apart), sum(each.layers * each.runs for each in found)
    return [
        f"Theory and measurement deviate {limit} in {cells[0]:,} of {counted(cells[1], 'layer')} of all untrained "
        f"networks: {listed(named)}. {size}",
        "Where they deviate, layers are too narrow for so much depth, or weights, inputs or gradients are not as "
        "independent as theory takes them to be: believe the measurement.",
    ]


def _where(each: Compared) -> str:
    layers = listed(list(each.deviates), 3)
    return f"layer{'' if len(each.deviates) == 1 else 's'} {layers}; {counted(each.runs, 'run')}"


def table(found: Sequence[Compared]) -> list[dict[str, Any]]:
    """A row per setting: its label, and cells of text and number to sort by."""
    return [{"label": each.group.label, "cells": _cells(each)} for each in found]


def _cells(each: Compared) -> list[dict[str, Any]]:
    cells = [{"text": str(each.runs), "sort": each.runs}]
    for errors in each.errors.values():
        for value in (float(np.median(errors)), max(errors)) if errors else (None, None):
            percent = None if value is None else 100 * value
            cells.append({"text": number(percent, 2), "sort": percent})
    share = sum(each.deviates.values()) / (each.layers * each.runs)
    cells.append({"text": f"{sum(each.deviates.values())}/{each.layers * each.runs}", "sort": share})
    return cells


HEADINGS = [
    "n",
    *(f"{name}, {which} error, %" for name in FACTORS.values() for which in ("median", "largest")),
    "deviates",
]


def theory_of(groups: Sequence[Setting], layers: dict[str, Any]) -> dict[str, Any] | None:
    """What the page says of theory; nothing if no run recorded its predictions."""
    found = compared(groups, layers)
    return {"sentences": sentences(found), "headings": HEADINGS, "rows": table(found)} if found else None
