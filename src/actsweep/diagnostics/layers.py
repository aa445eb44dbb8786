"""The layers of any module: its weights, by name, what was seen of them, and which of them a call in a trace is of.

A layer's weights are a parameter of two or more dimensions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsweep.diagnostics.sightings import Sighting, output, sighting, together
from actsweep.diagnostics.trace import Call, Trace
from actsweep.network.mlp import Tap


@dataclass(frozen=True)
class Layer:
    """One layer of K networks, seen on N examples (a lone network is K = 1; a convolution's positions are examples).

    weight, gradient: (K, out, in). pre, post, slope: (K, N, H): what enters the activation, what leaves it, and its
    derivative there. The output layer has no activation: its pre are the logits, post and slope are None.
    max_slope: (K,), the activation's largest |derivative| on [−10, 10]. An activation that is no function of one number
    has no slope, and its post may have another H. Of somebody else's module there may also be no gradient (frozen
    weights) and no pre (recurrent layers, attention). jacobian: (K, N, C, in), of the network's C outputs with respect
    to what enters the layer, where that was asked for, and then nothing else was.
    """

    name: str
    weight: Tensor
    gradient: Tensor | None
    pre: Tensor | None
    post: Tensor | None = None
    slope: Tensor | None = None
    max_slope: Tensor | None = None
    jacobian: Tensor | None = None


def find_taps(module: nn.Module) -> list[Tap]:
    """What the method `taps()` of a module, or of a part of it, says of its layers; nothing where there is none that
    says it of all of them."""
    for candidate in module.modules():
        taps = _taps_of(candidate)
        parts = [part for tap in taps for part in (tap.linear, tap.activation) if part is not None]
        named = {id(each) for part in parts for each in part.parameters()}
        if taps and all(id(each) in named for each in module.parameters() if is_weights(each)):
            return taps
    return []


def _taps_of(module: nn.Module) -> list[Tap]:
    try:
        taps = list(method()) if callable(method := getattr(module, "taps", None)) else []
    except Exception:  # somebody's method of the same name
        return []
    return taps if all(isinstance(each, Tap) for each in taps) else []


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Each layer's weights by its name: that of the module whose `weight` they are, else the parameter's own."""
    if taps := find_taps(module):
        return {tap.name: tap.linear.weight for tap in taps}
    named = ((name.replace("_orig_mod.", ""), each) for name, each in module.named_parameters())
    return {name.removesuffix(".weight"): each for name, each in named if is_weights(each)}


def is_weights(parameter: Tensor) -> bool:
    return is_lazy(parameter) or parameter.ndim >= 2


class Namer:
    """Names the calls of a trace after modules and parameters: the same in every step."""

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self.paths = {} if find_taps(module) else {part: path for path, part in module.named_modules()}
        self.names = {id(each): name for name, each in weights.items()}
        self.counts: dict[str, list[int]] = defaultdict(list)

    def __call__(self, call: Call) -> str:
        """That of the weights; of the module in whose forward it is where they are its own, or made from several.

        Weights that are used for another number of units too, such as a tied decoder's, make another layer, NAME-2.
        """
        assert call.weight is not None
        origins = {id(each) for each in call.weight.origins()} & self.names.keys()
        name = min(self.names[each] for each in origins)
        if call.module is not None and (path := self.paths.get(call.module)):
            is_made = len(origins) > 1 or ".parametrizations." in name
            own = {id(each) for each in call.module.parameters(recurse=is_made) if is_weights(each)}
            name = path if own == origins and (is_made or name.rpartition(".")[0] != path) else name
        try:
            counts, units = self.counts[name], len(output(call).units)
        except Exception:  # its sighting says what it is
            return name
        if units not in counts:
            counts.append(units)
        return f"{name}-{counts.index(units) + 1}" if counts.index(units) else name


def seen_in(trace: Trace, name_of: Namer) -> dict[str, list[Sighting]]:
    """Each layer's uses in a trace."""
    found: dict[str, list[Sighting]] = defaultdict(list)
    calls = trace.layers()
    seen = [sighting(trace, call) for call in reversed(calls)]  # an earlier layer's search ends where a later one's did
    for call, use in zip(calls, reversed(seen), strict=True):
        found[name_of(call)].append(use)
    for weights, reason in trace.missed:
        for weight in weights:
            if name := name_of.names.get(id(weight)):
                found[name].append(Sighting(weight.detach(), None, lacks=reason))
    trace.forget()
    return found


def assembled(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], seen: Mapping[str, Sequence[Sighting]]
) -> list[Layer]:
    """What is known of each layer."""
    layers = []
    for name in dict.fromkeys((*weights, *seen)):
        weight = weights[name] if name in weights else seen[name][0].weight
        gradient = gradients.get(name)
        matrices = as_matrix(weight.detach()), None if gradient is None else as_matrix(gradient)
        uses = [each for each in seen.get(name, ()) if each.pre is not None]
        use = together(uses) if uses else Sighting(weight, None)
        layers.append(Layer(name, *matrices, use.pre, use.post, use.slope, use.max_slope))
    return layers


def as_matrix(weight: Tensor) -> Tensor:
    """(out, …) → (1, out, in)."""
    return (weight.to_dense() if weight.is_sparse else weight).flatten(1).unsqueeze(0)
