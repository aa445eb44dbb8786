"""How the page's figures draw settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from actsweep.report.drawing import MARKERS, facets
from actsweep.statistics.setting import Setting

Styles = Mapping[str, dict[str, Any]]  # by a setting's label
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SHAPES = ("circle", "square", "triangle-up", "triangle-down", "diamond", "cross", "x", "star")
SYMBOLS = dict(zip(MARKERS, SHAPES, strict=True))


def styles(settings: Sequence[Setting]) -> dict[str, dict[str, Any]]:
    """Label → where and as what the page's figures draw a setting, in the words of plotly.js."""
    drawn: dict[str, dict[str, Any]] = {}
    for panel, lines in facets(settings).items():
        for line in lines:
            names = {"act": line.setting.act, "panel": panel, "name": line.name or line.setting.label}
            look = {"dash": DASHES[line.look["linestyle"]], "symbol": SYMBOLS[line.look["marker"]]}
            drawn[line.setting.label] = names | {"colour": line.look["color"]} | look
    return {
        each.label: {"label": each.label, "position": i, "broken": each.broken} | drawn[each.label]
        for i, each in enumerate(settings)
    }
