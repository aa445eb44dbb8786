"""Says what the callbacks see of a module, and what they don't: once, a line for each kind of layer."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from actsweep.diagnostics.layers import weights_of
from actsweep.diagnostics.sightings import Sighting

log = logging.getLogger(__name__)
_tables: WeakKeyDictionary[nn.Module, list[dict[str, str]]] = WeakKeyDictionary()

NONE = "none"
UNSEEN = "not watched"


def watched(module: nn.Module) -> list[dict[str, str]]:
    """What is watched of each layer: its name and kind, whether it has a gradient, and the activation that follows it.

    What follows is known after the first step that was watched.
    """
    return _tables.get(module) or _rows(module, weights_of(module), {}, "known after the first step")


def say(
    module: nn.Module, weights: Mapping[str, Tensor], seen: Mapping[str, Sequence[Sighting]], compiled: bool
) -> None:
    """Log the table of a module's first watched step."""
    if module in _tables:
        return
    rows = _tables[module] = _rows(module, weights, seen, f"{UNSEEN}: compiled" if compiled else UNSEEN)
    if not rows:
        log.warning("%s has no weights of two or more dimensions: nothing is watched", type(module).__name__)
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    for kind, of_kind in by_kind.items():
        level = logging.WARNING if any(_lacks(row) for row in of_kind) else logging.INFO
        found = [
            ", ".join(f"{name} ({n})" for name, n in _counts(of_kind, column)) for column in ("gradient", "activation")
        ]
        log.log(level, "%d %s: gradient: %s; activation: %s", len(of_kind), kind, *found)


def _counts(rows: Sequence[dict[str, str]], column: str) -> list[tuple[str, int]]:
    return list(Counter(row[column] for row in rows).items())


def _lacks(row: dict[str, str]) -> bool:
    return row["activation"].startswith(UNSEEN) or ":" in row["activation"] or row["gradient"] == "frozen"


def _rows(
    module: nn.Module, weights: Mapping[str, Tensor], seen: Mapping[str, Sequence[Sighting]], unseen: str
) -> list[dict[str, str]]:
    parts = dict(module.named_modules())
    owners = {id(each): type(part).__name__ for part in parts.values() for each in part.parameters(recurse=False)}
    rows = []
    for name in dict.fromkeys((*weights, *seen)):
        weight = weights.get(name)
        kind = type(parts[name]).__name__ if name in parts else owners.get(id(weight), "function")
        gradient = "of its parameters" if weight is None else "yes" if weight.requires_grad else "frozen"
        activation = _activation(seen.get(name), unseen)
        rows.append({"layer": name, "kind": kind, "gradient": gradient, "activation": activation})
    return rows


def _activation(uses: Sequence[Sighting] | None, unseen: str) -> str:
    if not uses:
        return unseen
    names = dict.fromkeys(f"{use.activation}: {use.lacks}" if use.lacks else use.activation for use in uses)
    return " and ".join(name for name in names if name) or NONE
