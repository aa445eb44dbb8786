"""Look inside any network once: weights, gradients, pre- and post-activations and slopes of every layer.

One forward and one backward pass over a fixed batch; hooks exist only during it, and nothing that training depends on
(gradients, buffers, random numbers, logs) is changed by it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from actsweep.diagnostics.elementwise import GRID, is_elementwise, steepest
from actsweep.diagnostics.elementwise import slope as slope
from actsweep.diagnostics.layers import Layer as Layer
from actsweep.diagnostics.layers import Namer, as_matrix, assembled, find_taps, seen_in, weights_of
from actsweep.diagnostics.trace import Trace
from actsweep.network.mlp import Tap

MODULES_OWN = set(vars(nn.Module()))


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


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restore the module's buffers (running statistics), what its parts have noted in attributes, and the random
    generators afterwards; silence its logging."""
    buffers = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    noted = [(part, _noted(part)) for part in module.modules() if part is not module]
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    for name in (logs := ("log", "log_dict")):
        vars(module)[name] = lambda *_, **__: None
    try:
        with torch.random.fork_rng(devices=list(devices)), torch.enable_grad():
            yield
    finally:
        for name in logs:
            del vars(module)[name]
        with torch.no_grad():
            for part, name, buffer, value in buffers:
                setattr(part, name, buffer.copy_(value))
        for part, before in noted:
            _restore(part, before)


def observe(module: nn.Module, loss: Callable[[], Tensor]) -> list[Layer]:
    """Every layer during one evaluation of `loss`, a function that runs the module and returns a scalar."""
    taps = find_taps(module)
    with undisturbed(module):
        return _of_taps(taps, loss) if taps else _of_trace(module, loss)


def _of_trace(module: nn.Module, loss: Callable[[], Tensor]) -> list[Layer]:
    weights = weights_of(module)
    trace = Trace(list(weights.values()))
    with trace:
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


def _of_taps(taps: Sequence[Tap], loss: Callable[[], Tensor]) -> list[Layer]:
    with recorded(taps) as seen:
        value = loss()
    gradients = _gradients(value, {tap.name: tap.linear.weight for tap in taps})
    return [_layer(tap, gradients.get(tap.name), *seen[tap.name]) for tap in taps if tap.name in seen]


def _layer(tap: Tap, gradient: Tensor | None, pre: Tensor, post: Tensor | None) -> Layer:
    matrices = as_matrix(tap.linear.weight.detach()), None if gradient is None else as_matrix(gradient)
    layer = Layer(tap.name, *matrices, as_units(pre.detach()))
    if post is None or (activation := tap.activation) is None:
        return layer
    layer = replace(layer, post=as_units(post.detach()))
    if not is_elementwise(activation, pre):
        return layer
    most = steepest(lambda x: activation(x.clone()), 1, pre.detach()[:GRID])
    return replace(layer, slope=as_units(slope(pre, post)), max_slope=most)
