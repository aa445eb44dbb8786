"""Says what the callbacks see of a module, and what they don't: once, a line for each kind of layer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsweep.diagnostics.layers import weights_of
from actsweep.diagnostics.sightings import Sighting

_tables: WeakKeyDictionary[nn.Module, list[dict[str, str]]] = WeakKeyDictionary()
_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def watched(module: nn.Module) -> list[dict[str, str]]:
    """What is watched of each layer: its name and kind, whether it has a gradient, and the activation that follows it.

    What follows is known after the first step that was watched.
    """
    weights = weights_of(module)
    if rows := _tables.get(module):
        return [row | {"gradient": _gradient(weights.get(row["layer"]))} for row in rows]
    return _rows(module, weights, {}, "known after the first step")


def say(module: nn.Module, seen: Mapping[str, Sequence[Sighting]], compiled: bool) -> None:
    """Say the table of a module's first watched step, and what a later one shows for the first time."""
    unseen = "not watched: compiled" if compiled else "not watched"
    rows = _rows(module, weights_of(module), seen, unseen)
    if not rows:
        refuse(module, "it has no weights of two or more dimensions")
    known = {row["layer"]: row["activation"] for row in _tables.get(module, ())}
    rows = [row if _is_seen(row) else row | {"activation": known.get(row["layer"], row["activation"])} for row in rows]
    new = [row for row in rows if _is_seen(row) and not _is_seen({"activation": known.get(row["layer"], unseen)})]
    new = new if module in _tables else rows
    _tables[module] = rows
    for kind in dict.fromkeys(row["kind"] for row in new):
        of_kind = [row for row in new if row["kind"] == kind]
        gradients, activations = (_counted([row[column] for row in of_kind]) for column in ("gradient", "activation"))
        rank_zero_info(f"{len(of_kind)} {kind}: gradient: {gradients}; activation: {activations}")


def _is_seen(row: Mapping[str, str]) -> bool:
    return not row["activation"].startswith("not watched")


def refuse(module: nn.Module, reason: str) -> None:
    """Say once that nothing of a module is watched."""
    if module not in _tables:
        _tables[module] = []
        rank_zero_info(f"{type(module).__name__}: nothing is watched: {reason}")


def tell(module: nn.Module, line: str) -> None:
    """Say something of a module once."""
    if line not in _told.setdefault(module, set()):
        _told[module].add(line)
        rank_zero_info(line)


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{word} ({count})" for word, count in Counter(words).items())


def _rows(
    module: nn.Module, weights: Mapping[str, Tensor], seen: Mapping[str, Sequence[Sighting]], unseen: str
) -> list[dict[str, str]]:
    parts = dict(module.named_modules())
    owners = {id(each): type(part).__name__ for part in parts.values() for each in part.parameters(recurse=False)}
    rows = []
    for name in dict.fromkeys((*weights, *seen)):
        weight = weights.get(name)
        kind = type(parts[name]).__name__ if name in parts else owners.get(id(weight), "function")
        activation = _activation(seen.get(name), unseen)
        rows.append({"layer": name, "kind": kind, "gradient": _gradient(weight), "activation": activation})
    return rows


def _gradient(weight: Tensor | None) -> str:
    if weight is None:
        return "of its parameters"
    if not is_lazy(weight) and not weight.numel():
        return "empty"
    return "yes" if weight.requires_grad else "frozen"


def _activation(uses: Sequence[Sighting] | None, unseen: str) -> str:
    if not uses:
        return unseen
    names = dict.fromkeys(
        ", ".join(filter(None, (use.activation, f"not watched: {use.lacks}"))) if use.lacks else use.activation
        for use in uses
    )
    return " and ".join(name for name in names if name) or "none"
