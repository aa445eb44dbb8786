"""Says what the callbacks see of a module, and what they don't: once, a line for each kind of layer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsweep.diagnostics.observation import WRAPPED, weights_of
from actsweep.diagnostics.sightings import Sighting

_follow: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()  # by layer, as last said
_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def watched(module: nn.Module) -> list[dict[str, str]]:
    """What is watched of each layer: its name and kind, whether it has a gradient, and the activation that follows it.

    What follows is known after the first step that was watched.
    """
    module = getattr(module, WRAPPED, module)
    weights = weights_of(module)
    parts = {f"{name}.".replace(f"{WRAPPED}.", "")[:-1]: part for name, part in module.named_modules()}
    owners = {id(each): type(part).__name__ for part in parts.values() for each in part.parameters(recurse=False)}
    rows = []
    for name, activation in _follow.get(module, dict.fromkeys(weights, "known after the first step")).items():
        weight = weights.get(name)
        kind = type(parts[name]).__name__ if name in parts else owners.get(id(weight), "function")
        rows.append({"layer": name, "kind": kind, "gradient": _gradient(weight), "activation": activation})
    return rows


def say(module: nn.Module, seen: Mapping[str, Sequence[Sighting]], compiled: bool) -> None:
    """Say the table of a module's first watched step, and what a later one shows for the first time."""
    unseen = "not watched: compiled" if compiled else "not watched"
    now = {name: _activation(seen.get(name), unseen) for name in dict.fromkeys((*weights_of(module), *seen))}
    if not now:
        tell(module, f"{type(module).__name__}: nothing is watched: it has no weights of two or more dimensions")
    known = _follow.get(module, {})
    _follow[module] = {name: words if _is_seen(words) else known.get(name, words) for name, words in now.items()}
    new = {name for name, words in now.items() if _is_seen(words) and not _is_seen(known.get(name, unseen))}
    rows = [row for row in watched(module) if row["layer"] in new or not known]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        gradients, activations = (_counted([row[column] for row in of_kind]) for column in ("gradient", "activation"))
        rank_zero_info(f"{len(of_kind)} {kind}: gradient: {gradients}; activation: {activations}")


def _is_seen(activation: str) -> bool:
    return not activation.startswith("not watched")


def tell(module: nn.Module, line: str) -> None:
    """Say something of a module once."""
    if line not in _told.setdefault(module, set()):
        _told[module].add(line)
        rank_zero_info(line)


def _counted(words: Sequence[str]) -> str:
    return ", ".join(f"{word} ({count})" for word, count in Counter(words).items())


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
