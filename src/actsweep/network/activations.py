"""Activation functions that torch.nn lacks, and the one place that turns a description into a module.

A description is plain data, `{"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1}`, so that it can stand in a YAML
file and in a checkpoint alike. It names

- a class with `__call__`, usually a torch.nn.Module: made from the other keys, afresh for each layer;
- or a function, `torch.sin`, or another callable: called with the layer's tensor first and then the other keys. Of an
  object, also a module, each layer has a copy of its own.

Values may be descriptions themselves, also in lists (actsweep.config.descriptions).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import get_overridable_functions

from actsweep.config.descriptions import Description, arguments, as_call, find, instantiate, reason, targets
from actsweep.errors import UserError, exits_are_errors

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
CASTS = {torch.float64: nn.Module.double, torch.bfloat16: nn.Module.bfloat16, torch.float16: nn.Module.half}
_trusted: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)  # None: everything


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
