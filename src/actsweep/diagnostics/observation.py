"""The layers of any network, and what a look inside shows of them: weights, gradients, activations and slopes.

A layer's weights are a parameter of two or more dimensions. `observe` takes one forward and one backward pass over a
fixed batch; hooks exist only during it, and nothing that training depends on (gradients, buffers, random numbers, logs)
is changed by it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsweep.diagnostics.elementwise import GRID, is_elementwise, slope, steepest
from actsweep.diagnostics.sightings import Sighting, output, sightings, together
from actsweep.diagnostics.trace import Call, Trace
from actsweep.network.mlp import Tap

WRAPPED, COMPILED = "_orig_mod", "_torchdynamo_inline"  # in torch.compile's module; what its function has
MODULES_OWN = set(vars(nn.Module()))


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
    named = ((name.replace(f"{WRAPPED}.", ""), each) for name, each in module.named_parameters())
    return {name.removesuffix(".weight"): each for name, each in named if is_weights(each)}


def is_weights(parameter: Tensor) -> bool:
    return is_lazy(parameter) or parameter.ndim >= 2


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile runs a part of it: that can't be followed, and to try would compile it again."""
    parts = list(module.modules())
    owners = [*parts, *{owner: None for part in parts for owner in type(part).__mro__}]
    return any(
        type(part).__name__ == "OptimizedModule" or getattr(part, "_compiled_call_impl", None) is not None
        for part in parts
    ) or any(isinstance(each, FunctionType) and hasattr(each, COMPILED) for of in owners for each in vars(of).values())


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
    seen = [
        sightings(trace, call) for call in reversed(calls)
    ]  # an earlier layer's search ends where a later one's did
    for call, uses in zip(calls, reversed(seen), strict=True):
        found[name_of(call)] += uses
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


def double(values: Tensor) -> Tensor:
    """In double precision: on the CPU where the device has none, as Apple's."""
    return (values.cpu() if values.is_mps else values).double()


def as_units(x: Tensor) -> Tensor:
    """(N, H) → (1, N, H); (N, H, …) → (1, N·…, H)."""
    return x.movedim(1, -1).reshape(1, -1, x.shape[1])


@contextmanager
def recorded(taps: Sequence[Tap]) -> Iterator[dict[str, tuple[Tensor, Tensor | None]]]:
    """While the context is open, each forward pass leaves every layer's (pre, post) in the dict that it yields."""
    seen: dict[str, tuple[Tensor, Tensor | None]] = {}
    inputs: dict[str, Tensor] = {}

    def before(name: str, module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = arguments[0]
        if torch.is_grad_enabled() and not x.requires_grad:  # all before it is frozen, and it has a slope
            x = x.detach().requires_grad_()
        inputs[name] = x
        return x.clone(), *arguments[1:]  # an in-place activation would overwrite what it was given

    def after(name: str, module: nn.Module, arguments: Any, output: Tensor) -> None:
        seen[name] = (inputs.pop(name), output) if name in inputs else (output, None)

    with ExitStack() as hooks:
        for name, linear, activation in taps:
            watched = linear if activation is None else activation
            if activation is not None:
                hooks.callback(activation.register_forward_pre_hook(partial(before, name)).remove)
            hooks.callback(watched.register_forward_hook(partial(after, name)).remove)
        yield seen


def _noted(part: nn.Module) -> dict[str, tuple[Any, Any]]:
    """The module's own attributes, such as counters, apart from what every module has; of lists and the like, what is
    in them."""
    own = {name: value for name, value in vars(part).items() if name not in MODULES_OWN}
    return {name: (value, copy(value) if isinstance(value, list | dict | set) else None) for name, value in own.items()}


def _restore(part: nn.Module, noted: dict[str, tuple[Any, Any]]) -> None:
    for name in _noted(part).keys() - noted.keys():
        del vars(part)[name]
    for name, (value, content) in noted.items():
        if content is not None:
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(content)
        vars(part)[name] = value


def is_expanded(buffer: Tensor) -> bool:
    """Whether one number in memory stands at several places, so that nothing is written in place."""
    sizes = zip(buffer.shape, buffer.stride(), strict=True) if buffer.layout == torch.strided else ()
    return any(step == 0 and size > 1 for size, step in sizes)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restore the module's buffers (running statistics), what its parts have noted in attributes, and the random
    generators afterwards; silence its logging."""
    buffers = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
        if not is_expanded(buffer)
    ]
    noted = [(part, _noted(part)) for part in module.modules() if part is not module]
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    own, logs = vars(module), [name for name in ("log", "log_dict") if hasattr(type(module), name)]
    before = {name: own[name] for name in logs if name in own}
    own.update({name: lambda *_, **__: None for name in logs})
    try:
        with torch.random.fork_rng(devices=list(devices)), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for name in logs:
            del own[name]
        own.update(before)
        with torch.no_grad():
            for part, name, buffer, value in buffers:
                setattr(part, name, buffer.copy_(value))
        for part, attributes in noted:
            _restore(part, attributes)


def observe(module: nn.Module, loss: Callable[[], Tensor]) -> list[Layer]:
    """Every layer during one evaluation of `loss`, a function that runs the module and returns a scalar."""
    weights = weights_of(module)
    with undisturbed(module):
        if taps := find_taps(module):
            with recorded(taps) as passed:
                value = loss()
            seen = {tap.name: [_use(tap, *passed[tap.name])] for tap in taps if tap.name in passed}
        elif is_compiled(module):
            value, seen = loss(), {}
        else:
            with Trace(list(weights.values())) as trace:
                value = loss()
            seen = seen_in(trace, Namer(module, weights))
        return assembled(weights, _gradients(value, weights), seen)


def _gradients(value: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By name, of those weights that aren't frozen."""
    learnt = {name: weight for name, weight in weights.items() if weight.requires_grad}
    if not learnt:
        return {}
    found = torch.autograd.grad(value, list(learnt.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(learnt, found, strict=True))


def _use(tap: Tap, pre: Tensor, post: Tensor | None) -> Sighting:
    use = Sighting(tap.linear.weight, as_units(pre.detach()))
    if post is None or (activation := tap.activation) is None:
        return use
    use = replace(use, post=as_units(post.detach()))
    if not is_elementwise(activation, pre):
        return use
    most = steepest(lambda x: activation(x.clone()), 1, pre.detach()[:GRID])
    return replace(use, slope=as_units(slope(pre, post)), max_slope=most)
