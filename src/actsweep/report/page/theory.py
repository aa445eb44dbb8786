"""Do untrained networks do what mean-field theory predicts? A verdict, and a row per setting; theory.js draws layers.

From the quantities of actsweep.diagnostics.theory, as `layers_of` condensed them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actsweep.report.wording import counted, listed, number
from actsweep.statistics.setting import Setting

FACTORS = {
    "pre_activation_rms": "√(mean z²)",
    "delta_ratio": "gradient, layer ÷ next",
    "correlation": "correlation",
    "jacobian_mean_square": "Jacobian",
}
DEVIATING = ("pre_activation_rms", "delta_ratio")  # what theory_deviates is of


@dataclass(frozen=True)
class Compared:
    """One setting: |measured ÷ predicted − 1| by layer, of means over runs; where single runs deviate from theory.

    Correlations, whose scale is 1, may vanish: of them |measured − predicted|.
    """

    group: Setting
    errors: dict[str, list[float]]
    deviates: dict[str, int]  # layer → in how many runs
    looked: int  # layers of single runs of which that is known
    runs: int

    @property
    def apart(self) -> str:
        """Where it deviates, in words."""
        layers = f"layer{'s' * (len(self.deviates) != 1)} {listed(list(self.deviates), 3)}"
        return f"{self.group.label} ({layers}; {counted(self.runs, 'run')})"


def _means(untrained: dict[str, Any], name: str) -> dict[str, float]:
    """Layer → the untrained networks' mean, where it is a number."""
    found = untrained.get(name, {"layers": (), "mean": ()})
    pairs = zip(found["layers"], found["mean"], strict=True)
    return {layer: mean for layer, mean in pairs if isinstance(mean, int | float)}


def _errors(untrained: dict[str, Any], name: str) -> list[float]:
    measured, expected = (_means(untrained, full) for full in (name, f"{name}_theory"))
    both = [(measured[layer], expected[layer]) for layer in expected if layer in measured and expected[layer]]
    return [abs(one - other) / (1 if name == "correlation" else other) for one, other in both]


def compared(groups: Sequence[Setting], layers: dict[str, Any]) -> list[Compared]:
    """The settings that have predictions."""
    found = []
    for position, group in enumerate(groups):
        ends = {each["name"]: each["settings"].get(position, {"ends": {}})["ends"] for each in layers["quantities"]}
        untrained = {name: when["untrained"] for name, when in ends.items() if "untrained" in when}
        errors = {name: _errors(untrained, name) for name in FACTORS}
        if any(errors.values()):
            runs = next(untrained[f"{name}_theory"]["n"] for name in FACTORS if errors[name])
            flags = _means(untrained, "theory_deviates")
            deviates = {layer: round(share * runs) for layer, share in flags.items() if share}
            found.append(Compared(group, errors, deviates, len(flags) * runs, runs))
    return found


def sentences(found: Sequence[Compared]) -> list[str]:
    """The verdict in words."""
    looked = [each for each in found if each.looked]
    names = DEVIATING if looked else FACTORS
    every = np.array([error for each in found for name in names for error in each.errors[name]])
    size = (
        f"Of the means over seeds, half are within {number(100 * float(np.median(every)), 2)} % of theory, all within "
        f"{number(100 * float(every.max()), 2)} %."
    )
    if not looked:
        return [size]
    limit = "by more than 4 standard deviations of networks this wide"
    apart = [each.apart for each in looked if each.deviates]
    if not apart:
        networks = counted(sum(each.runs for each in looked), "untrained network")
        return [f"No layer of the {networks} deviates from mean-field theory {limit}. {size}"]
    deviate = sum(sum(each.deviates.values()) for each in looked)
    layers = sum(each.looked for each in looked)
    return [
        f"Theory and measurement deviate {limit} in {deviate:,} of {counted(layers, 'layer')} of all untrained "
        f"networks: {listed(apart)}. {size}",
        "Where they deviate, layers are too narrow for so much depth, or weights, inputs or gradients are not as "
        "independent as theory takes them to be: believe the measurement.",
    ]


def _cells(each: Compared, names: Sequence[str]) -> list[dict[str, Any]]:
    cells = [{"text": str(each.runs), "sort": each.runs}]
    for errors in (each.errors[name] for name in names):
        for value in (float(np.median(errors)), max(errors)) if errors else (None, None):
            percent = None if value is None else 100 * value
            cells.append({"text": number(percent, 2), "sort": percent})
    deviate, looked = sum(each.deviates.values()), each.looked
    cells.append({"text": f"{deviate}/{looked}", "sort": deviate / looked} if looked else {"text": "–", "sort": None})
    return cells


def theory_of(groups: Sequence[Setting], layers: dict[str, Any]) -> dict[str, Any] | None:
    """What the page says of theory, and a row per setting, of texts and numbers to sort by; nothing without any."""
    if not (found := compared(groups, layers)):
        return None
    measured = {position for each in layers["quantities"] if each["name"] in FACTORS for position in each["settings"]}
    known = {each.group.label for each in found}
    without = [groups[position].label for position in sorted(measured) if groups[position].label not in known]
    names = [name for name in FACTORS if any(each.errors[name] for each in found)]
    titles = [f"{FACTORS[name]}, {which} error, %" for name in names for which in ("median", "largest")]
    return {
        "sentences": [*sentences(found), *([f"Theory says nothing of {listed(without)}."] if without else [])],
        "headings": ["n", *titles, "deviates"],
        "rows": [{"label": each.group.label, "cells": _cells(each, names)} for each in found],
    }
