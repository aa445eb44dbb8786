"""Whether an activation works on a network's own layers: it is tried, on fresh modules, before any run; and by what
a part of the person's own is known again.

Flow: config → network/activations → **trying**.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from actsweep.config.descriptions import Description, as_call, find, instantiate, reason, taken, targets
from actsweep.config.schema import Init, Settings
from actsweep.errors import UserError, exits_are_errors
from actsweep.imports import uncollected
from actsweep.network.activations import Convolution, build, cast, inputs_for
from actsweep.network.mlp import fill

LAYERS = (nn.Linear, nn.Bilinear, Convolution, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)
DTYPES = {"64": torch.float64, "64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16}
MOST_VALUES = 64
_passed: dict[tuple[Any, ...], list[Any]] = {}  # and what the description named then


def check(description: Description, sizes: Sequence[int] = (4,), precision: str | int = "32-true") -> None:
    """Raise UserError unless the description builds a function that works on layers of these sizes.

    Tried on fresh modules, in the precision's type, in training and evaluation, forward and backward; once for each
    description. The random generator is left as it was.
    """
    named = [find(each) for each in targets(description)]  # a notebook may have given the name to another function
    key = json.dumps(description, sort_keys=True, default=repr), tuple(sorted(set(sizes))), str(precision)
    if _passed.get(key) == named:
        return
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        pair = build(description), build(description)
        if isinstance(pair[0], LAYERS):
            raise UserError(f"{as_call(description)}: is a layer with weights of its own, not an activation function")
        first, second = ({id(each) for each in _own(one).values()} for one in pair)
        if first & second:
            raise UserError(f"{as_call(description)}: its layers would share parameters; make them in its __init__")
        for units in key[1]:
            try:
                with exits_are_errors():
                    fault = _fault_on(description, units, key[2]) or _fault_of_draws(description, units, key[2])
            except Exception as error:  # a forward may raise anything
                fault = reason(error)
            if fault:
                raise UserError(f"{as_call(description)} on a layer of {units} units: {fault}")
    _passed[key] = named


def own_values(settings: Settings) -> dict[str, tuple[float, ...]]:
    """What activation, initialisation and optimiser make of fixed numbers, where they are a person's own: by that they
    are known again. Nothing of one that fails."""
    makers: dict[str, tuple[Description, Callable[[], Tensor]]] = {
        "act": (settings.act.plain(), lambda: _activated(settings.act.plain(), settings.layer_sizes[0])),
        "init": (settings.init.plain(), lambda: _filled(settings.init)),
        "optim": (settings.optim.plain(), lambda: stepped(settings.optim.plain())),
    }
    found = {}
    for part, (description, make) in makers.items():
        if all(str(each).startswith(("torch.", "actsweep.")) for each in targets(description)):
            continue
        with suppress(Exception), exits_are_errors(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            y = make()
            found[part] = tuple(float(f"{each:.6g}") for each in y[:: -(-len(y) // MOST_VALUES)].tolist())
    return found


@torch.no_grad()
def _activated(description: Description, units: int) -> Tensor:
    """In training and in evaluation."""
    activation = cast(build(description), torch.float32)
    x = torch.linspace(-3, 3, 4 * inputs_for(activation, units), dtype=torch.float32).view(4, -1)
    return torch.cat([activation(x.clone()), activation.eval()(x.clone())]).flatten()


def _filled(init: Init) -> Tensor:
    """The weights and biases of a layer."""
    fill(linear := nn.Linear(8, 8, dtype=torch.float32), *init.functions())
    return torch.cat([each.detach().flatten() for each in linear.parameters()])


def stepped(optim: Description) -> Tensor:
    """Weights and biases after three steps of an optimiser. Raises UserError where it can't make them, or not as a run
    does."""
    arguments = taken({key: value for key, value in optim.items() if key != "l2"})  # which is the loss's
    make = partial(instantiate, arguments)  # as a run does
    weights = [nn.Parameter(torch.zeros(size, dtype=torch.float32)) for size in ((4, 4), (4,))]
    try:
        with uncollected():  # torch imports its compiler for the first optimiser
            optimizer = make([{"params": weights}])
        if callable(getattr(optimizer, "eval", None)):
            raise UserError("evaluates other weights than it trains, by its eval(), which no run calls")
        for _ in range(3):
            _step(optimizer, weights)
        found = torch.cat([each.detach().flatten() for each in weights])
        if fault := unreadable(optimizer) or _fault_of_resuming(optimizer, weights, make):
            raise UserError(fault)
    except Exception as error:  # its own, of many kinds
        raise UserError(f"optim: {str(error) or repr(error)}") from error
    return found


def _step(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> None:
    """As Lightning does it: the gradients are computed when the step asks for the loss."""
    before, asked = [each.detach().clone() for each in weights], []

    def loss() -> Any:
        asked.append(all(torch.equal(*pair) or pair[0].isnan().any() for pair in zip(weights, before, strict=True)))
        for each in weights:
            each.grad = torch.linspace(-1, 1, each.numel(), dtype=torch.float32).view_as(each)
        return weights[0].sum() + weights[1].sum()

    optimizer.step(closure=loss)
    if not (asked and asked[0]):
        what = "moves the weights before it calls" if asked else "doesn't call"
        raise UserError(f"its step {what} the closure, in which Lightning computes the gradients")


def _fault_of_resuming(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], make: Callable[..., torch.optim.Optimizer]
) -> str | None:
    copies = [nn.Parameter(each.detach().clone()) for each in weights]
    other = make([{"params": copies}])
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    with torch.random.fork_rng(devices=[]):
        for each, of in ((optimizer, weights), (other, copies)):
            torch.default_generator.manual_seed(0)
            _step(each, of)
    is_alike = all(torch.allclose(*pair, equal_nan=True) for pair in zip(weights, copies, strict=True))
    what = "it remembers what its state_dict doesn't hold, or draws numbers that torch's seed doesn't fix"
    return None if is_alike else f"a resumed run would go on otherwise: {what}"


def unreadable(part: Any) -> str | None:
    """Why a run with this optimiser or callback could neither be tested nor resume: checkpoints are read as data, and
    its state is none. None if it can, or if its state isn't known before training."""
    try:
        state = part.state_dict()
    except Exception:
        return None
    try:
        torch.save(state, content := io.BytesIO())
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception as error:  # as of what can't be pickled
        found = re.search(r"Unsupported \w+: GLOBAL (\S+)", str(error))
        what = f"it holds a {found[1]}" if found else reason(error)
        return f"its state_dict can't be read from a checkpoint: {what}; use Python's numbers or tensors"
    return None


def _fault_on(description: Description, units: int, precision: str) -> str | None:
    """What is wrong with an activation on a layer of so many units; None if nothing."""
    dtype = DTYPES.get(precision, torch.float32)
    is_mixed = precision.endswith("mixed") and dtype is torch.bfloat16
    inputs = inputs_for(build(description), units)
    activation = cast(build(description), torch.float32 if is_mixed else dtype)
    points = torch.linspace(-3, 3, 13, dtype=dtype)  # 0 is one of them
    x = points[(torch.arange(13)[:, None] + torch.arange(inputs)) % 13].requires_grad_()  # each unit sees each
    own = _kinds(activation)
    with torch.autocast("cpu", dtype) if is_mixed else nullcontext():
        y = activation(x.clone())
        fault = _fault_of(x, y, units, is_mixed) or _fault_of_slope(x, y)
        if fault is None and any(each.requires_grad for each in activation.buffers()):
            fault = "keeps a buffer that depends, by its graph, on the batch it was computed from: detach it"
        if fault is None and _kinds(activation) != own:
            fault = "makes parameters while it is applied, too late to be learnt: make them in its __init__"
        detached = {name: each.detach().clone() for name, each in _own(activation).items()}
        if fault is None and functional_call(activation, detached, (x.detach().clone(),)).requires_grad:
            fault = "learns numbers that are not among its parameters: give it them in its __init__"
        return fault or _fault_of(x[:1], activation.eval()(x[:1].clone()), units, is_mixed)


def _fault_of_draws(description: Description, units: int, precision: str) -> str | None:
    """What an activation draws that no seed fixes, or no checkpoint holds, or counts so; None if nothing."""
    seeded, dtype = torch.default_generator.manual_seed, DTYPES.get(precision[:2], torch.float32)
    x = torch.linspace(-3, 3, 13 * inputs_for(build(description), units), dtype=dtype).view(13, -1)
    first, again, other = ((seeded(seed), cast(build(description), dtype))[1] for seed in (0, 0, 1))
    is_alike = all(map(torch.equal, _own(first).values(), _own(again).values()))
    other.load_state_dict(first.state_dict())
    y, same, last = ((seeded(2), each(x.clone()))[1] for each in (first, again, other))
    if not (is_alike and torch.allclose(y, same)):
        return "draws numbers that torch's seed doesn't fix, others in each run: draw them with torch"
    if not torch.allclose(y, last):
        return "draws numbers when it is made that no checkpoint holds: make them parameters or buffers"
    for _ in range(3):
        first(x.clone())
    other.load_state_dict(first.state_dict())
    after, resumed = ((seeded(2), [each(x.clone()), each.eval()(x.clone())])[1] for each in (first, other))
    if not all(map(torch.allclose, after, resumed)):
        return "changes, as it is applied, by numbers that no checkpoint holds: make them buffers"
    return None


def _fault_of(x: Tensor, y: Any, units: int, is_mixed: bool) -> str | None:
    if not isinstance(y, Tensor):
        return f"gives a {type(y).__name__}, not a tensor"
    if y.dtype != x.dtype and not (is_mixed and y.is_floating_point() and y.dtype != torch.float64):
        return f"gives {y.dtype} for {x.dtype}: it must keep the type of its input"
    if y.shape != (len(x), units):
        made_of = (
            f"{x.shape[1]} numbers into {y.shape[1]}" if y.ndim == 2 else f"{tuple(x.shape)} into {tuple(y.shape)}"
        )
        return (
            f"turns {made_of}, and no number of inputs that was tried into {units}: it must keep the shape, "
            "or give units in proportion to what it takes, as Maxout; use a width that it can give"
        )
    return _not_finite("it", x, y)


def _fault_of_slope(x: Tensor, y: Tensor) -> str | None:
    if not y.requires_grad:
        return None  # as a step's: only the output layer learns
    (slope,) = torch.autograd.grad(y.sum(), x, materialize_grads=True)
    return _not_finite("its slope", x, slope.where(x != 0, 0))  # a kink at 0 is no layer's everyday


def _not_finite(what: str, x: Tensor, y: Tensor) -> str | None:
    wrong = ~y.isfinite()
    if not wrong.any():
        return None
    where = f"at {x[wrong][0].item():g}" if x.shape == y.shape else "on [-3, 3]"
    return f"{what} is not finite: {y[wrong][0].item():g} {where}"


def _own(activation: nn.Module) -> dict[str, Tensor]:
    return dict((*activation.named_parameters(), *activation.named_buffers()))


def _kinds(activation: nn.Module) -> dict[str, type]:
    return {name: type(each) for name, each in _own(activation).items()}
