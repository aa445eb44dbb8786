"""Activation functions that torch.nn lacks, and the one place that turns a description into a module.

A description is plain data, `{"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1}`, so that it can stand in a YAML
file and in a checkpoint alike. It names

- a class with `__call__`, usually a torch.nn.Module: made from the other keys, afresh for each layer;
- or a function, `torch.sin`, or another callable: called with the layer's tensor first and then the other keys. Of an
  object, also a module, each layer has a copy of its own.

Values may be descriptions themselves, also in lists (actsweep.config.descriptions).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from copy import deepcopy
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import get_overridable_functions

from actsweep.config.descriptions import Description, arguments, as_call, find, instantiate, reason, targets
from actsweep.errors import UserError, exits_are_errors

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
LAYERS = (nn.Linear, nn.Bilinear, Convolution, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)
DTYPES = {"64": torch.float64, "64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16}
CASTS = {torch.float64: nn.Module.double, torch.bfloat16: nn.Module.bfloat16, torch.float16: nn.Module.half}
_trusted: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)  # None: everything
_passed: set[tuple[Any, ...]] = set()


class Step(nn.Module):
    """1 where x ≥ 0, else 0; its gradient is zero everywhere.

    >>> Step()(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([0., 1., 1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        # sign, unlike a comparison, stays in the autograd graph: earlier layers get zeros, not None.
        return (torch.sign(torch.sign(x) + 0.5) + 1) / 2


class Maxout(nn.Module):
    """The largest of `pieces` linear functions for each unit, learnt with the weights (Goodfellow et al. 2013).

    (…, pieces · H) → (…, H): the linear layer before it makes `pieces` numbers for each unit. That an activation takes
    more, or fewer, numbers than it gives needs no declaration: `inputs_for` finds it out.

    >>> Maxout(2)(torch.tensor([1.0, 4.0, -3.0, -2.0]))
    tensor([ 4., -2.])
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 1:
            raise ValueError(f"pieces={pieces}: must be at least 1")
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.pieces)).max(dim=-1).values


class Applied(nn.Module):
    """A callable that is no module, as one: called with the tensor, then these arguments."""

    def __init__(
        self, function: Any, positional: Sequence[Any], named: Mapping[str, Any], description: Description
    ) -> None:
        super().__init__()
        self.function, self.positional, self.named, self.description = function, positional, named, description

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.positional, **self.named)

    def __reduce__(self) -> tuple[Any, ...]:
        return build, (self.description,)  # neither a lambda nor a class made at run time can be pickled


def build(description: Description) -> nn.Module:
    """A fresh activation module from its description. Raises UserError if it can't be built."""
    if (allowed := _trusted.get()) is not None:
        refuse_foreign(description, allowed)
    try:
        with exits_are_errors():
            return _built(description)
    except Exception as error:  # a constructor may raise anything
        why = str(error) if isinstance(error, UserError) else reason(error)
        is_of_it = why.startswith(str(description["_target_"]))  # that it can't be imported
        raise UserError(why if is_of_it else f"{as_call(description)}: {why}") from error


def build_alike(description: Description) -> nn.Module:
    """The same module at every call, whatever it draws when it is made: for what is said of a function, not trained."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build(description)


def _built(description: Description) -> nn.Module:
    path = str(description["_target_"])
    target = find(path)
    if not callable(target):
        raise UserError("is neither a class nor a function")
    if isinstance(target, type) and issubclass(target, torch.autograd.Function):
        target = target.apply
    positional, named = arguments(description)
    if isinstance(target, type) or description.get("_partial_"):
        function, positional, named = instantiate(description), [], {}
    else:
        # An object's state is the layer's own; a function stays what it is, and a scripted one can't be copied.
        function = target if isinstance(target, torch.jit.ScriptFunction) else deepcopy(target)
    if isinstance(function, nn.Module):
        if positional or named:
            raise UserError("is a module already, which takes no arguments")
        return function
    if not callable(function):
        raise UserError("gives something that can't be called")
    kind: type[Applied] = type(path.rpartition(".")[2], (Applied,), {})  # so that messages show its name
    return kind(function, positional, named, description)


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module, with real parameters and buffers of this type, as all of a network's are: an activation of one's own
    may bring NumPy's float64."""
    return CASTS.get(dtype, nn.Module.float)(module)


def _given(activation: nn.Module, inputs: int) -> int:
    """How many units it makes of so many inputs; 0 where it can't be applied to them."""
    try:
        with exits_are_errors():
            y = activation(torch.zeros(2, inputs))
        return int(y.shape[1]) if y.ndim == 2 and len(y) == 2 else 0
    except Exception:  # a forward may raise anything: `check` says what
        return 0


@torch.no_grad()
def inputs_for(activation: nn.Module, units: int) -> int:
    """How many numbers the activation takes to make so many units of them, found by trying; `units` if none fits.

    >>> [inputs_for(each, 6) for each in (nn.Tanh(), Maxout(3), nn.GLU())]
    [6, 18, 12]
    """
    given = _given(activation, units)
    if given == units:
        return units
    in_proportion = [units * units // given] if given and units * units % given == 0 else []
    pieces = getattr(activation, "pieces", 1)
    declared = [pieces * units] if isinstance(pieces, int) else []
    for inputs in (*in_proportion, *declared, 2 * units, 3 * units, 4 * units):
        if _given(activation, inputs) == units:
            return inputs
    return units


def check(description: Description, sizes: Sequence[int] = (4,), precision: str | int = "32-true") -> None:
    """Raise UserError unless the description builds a function that works on layers of these sizes.

    Tried on fresh modules, in the precision's type, in training and evaluation, forward and backward; once for each
    description. The random generator is left as it was.
    """
    key = json.dumps(description, sort_keys=True, default=repr), tuple(sorted(set(sizes))), str(precision)
    if key in _passed:
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
    _passed.add(key)


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
    """What an activation draws that no seed fixes, or no checkpoint holds; None if nothing."""
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


def _is_known(path: str) -> bool:
    """Whether a dotted path leads to an activation of torch's or this project's; no other code is imported to know."""
    if not path.startswith(("torch.", f"{__name__}.")) or any(part.startswith("_") for part in path.split(".")):
        return False
    found, name = find(path), path.rpartition(".")[2]
    if isinstance(found, type):
        return issubclass(found, nn.Module) and found.__module__.startswith(("torch.nn.", __name__))
    if path == f"torch.nn.functional.{name}":
        is_its_own = isinstance(found, FunctionType) and found.__module__ == "torch.nn.functional"
        return is_its_own or isinstance(found, BuiltinFunctionType)
    if path == f"torch.{name}" and name.endswith("_"):  # in place
        return isinstance(found, BuiltinFunctionType) and _is_known(path.removesuffix("_"))
    return any(found is each for those in get_overridable_functions().values() for each in those)


def foreign(description: Description, allowed: tuple[str, ...] = ()) -> list[Any]:
    """What a description would call besides torch's activations and operations on tensors, this module's, and
    `allowed`, however deep inside."""
    named = [description.get("_target_"), *targets(description)]
    return [each for each in named if not isinstance(each, str) or not (each in allowed or _is_known(each))]


def refuse_foreign(description: Description, allowed: tuple[str, ...] = ()) -> None:
    """Raise UserError if a description read from a file would call anything foreign.

    A checkpoint is data: a path in it must not decide what code is imported.
    """
    if found := foreign(description, allowed):
        raise UserError(
            f"the file names the activation {found[0]!r}, which is neither torch.nn's nor this project's; "
            f"if you trust it, add --allow {found[0]}"
        )


@contextmanager
def from_a_file(allowed: tuple[str, ...] = ()) -> Iterator[None]:
    """While the context is open, descriptions count as read from a file: `build` refuses foreign ones."""
    token = _trusted.set(tuple(allowed))
    try:
        yield
    finally:
        _trusted.reset(token)
