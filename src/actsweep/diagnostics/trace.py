"""What somebody's code does with a module's weights and data: each call of torch's functions, as it happens.

Nothing runs a second time and nothing is changed: torch's public `TorchFunctionMode` shows functions, methods and
operators, and hooks for all modules in whose forward they are. A recorded call can be repeated on other inputs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from actsweep.diagnostics.randomness import States, states

CONVOLUTIONS = {f"conv{kind}{n}d": n for n in (1, 2, 3) for kind in ("", "_transpose")}
WEIGHT_AT = {
    "linear": 1, "embedding": 1, "embedding_bag": 1, "bilinear": 2, "matmul": 1, "mm": 1, "addmm": 2,
    **dict.fromkeys(CONVOLUTIONS, 1),
}  # fmt: skip
PRODUCTS = {"matmul", "mm", "addmm"}  # of two matrices, either of which may be data


@dataclass(eq=False)
class Value:
    """A tensor at one time: a call that works in place makes another. `before`: what was in it, where that is lost.

    `is_weight`: a weight, or made from weights alone.
    """

    tensor: Tensor
    by: "Call | None" = None
    is_weight: bool = False
    before: Tensor | None = None
    uses: list["Call"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.version, self.had_gradient = version_of(self.tensor), self.tensor.requires_grad

    @property
    def now(self) -> Tensor | None:
        """What it was at its time; None where that was overwritten unseen, as through a view."""
        if self.before is not None:
            return self.before
        if self.version is None:
            return self.tensor.clone()  # an ordinary one, of which a derivative can be asked for
        return self.tensor.detach() if self.tensor._version == self.version else None

    def origins(self) -> list[Tensor]:
        """The weights that it was made from, if it was made from weights."""
        found, ahead, met = [], [self], {self}
        while ahead:
            value = ahead.pop()
            further = (set(value.by.given.values()) if value.by else set()) - met
            met |= further
            ahead += further
            found += [] if value.by else [value.tensor]
        return found


@dataclass(eq=False)
class Call:
    """One call of a torch function. `given`: recorded values by the id of their tensor; `weight`: of a layer's call.

    `module`: in whose forward it was, and `taken`: which tensors that was given. `before`: what was in a first argument
    that is overwritten and isn't recorded.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    given: dict[int, Value]
    module: nn.Module | None
    taken: Sequence[Value | None]
    overwrites: bool
    weight: Value | None
    differentiated: bool
    generators: States
    number: int
    before: Tensor | None
    made: dict[int, Value] = field(default_factory=dict)  # by place in the result; −id of an argument changed in place
    reaches_layer: bool = False

    @property
    def name(self) -> str:
        return name_of(self.function)

    @property
    def alone(self) -> bool:
        """Whether the module was given a single tensor."""
        return len(self.taken) == 1


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "")


def version_of(tensor: Tensor) -> int | None:
    """How often it was changed in place; None of one made under `torch.inference_mode`, which isn't counted."""
    try:
        return tensor._version
    except RuntimeError:
        return None


def reason(error: Exception) -> str:
    """What is wrong, in a few words."""
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said if len(said) <= 80 else said[:79] + '…'}"


def mapped(item: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with each tensor changed, and each generator."""
    if isinstance(item, Tensor | torch.Generator):
        return change(item)
    if isinstance(item, dict):
        return {key: mapped(each, change) for key, each in item.items()}
    return type(item)(mapped(each, change) for each in item) if type(item) in (list, tuple) else item


def tensors_in(item: Any) -> Iterator[Tensor]:
    """The tensors in arguments, in results or in a batch."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, Mapping | list | tuple):
        for each in item.values() if isinstance(item, Mapping) else item:
            yield from tensors_in(each)


def overwrites(function: Callable[..., Any], named: Mapping[str, Any]) -> bool:
    """Whether a call works in place, by torch's conventions: it hands `inplace` on by name, however it was given."""
    name = name_of(function)
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or bool(named.get("inplace"))


class Trace(TorchFunctionMode):
    """Records while it is entered: everything that is computed from these weights and this batch.

    A call that can't be recorded goes on all the same; `missed` has the weights that it was given, and why.
    """

    def __init__(self, weights: list[Tensor], batch: Any = ()) -> None:
        super().__init__()
        self.values = {id(each): Value(each) for each in tensors_in(batch)}
        self.values |= {id(each): Value(each, is_weight=True) for each in weights}
        self.calls: list[Call] = []
        # By a value, the modules whose forward took it, inner ones first, and what each gave.
        self.passages: dict[Value, list[tuple[nn.Module, Value]]] = defaultdict(list)
        self.missed: list[tuple[list[Tensor], str]] = []
        self.found: dict[tuple[Value, Value], bool] = {}  # whether from one to the other there is an activation
        self.barren: set[tuple[Value, bool]] = set()  # what no activation follows; whether as all of a layer's output
        self._forwards: dict[int, list[tuple[nn.Module | None, list[Value | None], int]]] = defaultdict(list)
        self._hooks = ExitStack()

    def __enter__(self) -> "Trace":
        self._hooks.callback(register_module_forward_pre_hook(self._begin).remove)
        self._hooks.callback(register_module_forward_hook(self._end, always_call=True).remove)
        self._hooks.enter_context(unnoticed())
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hooks.close()

    def _begin(self, module: nn.Module, arguments: Any) -> None:
        taken = [self.values.get(id(each)) for each in tensors_in(arguments)]
        self._forwards[get_ident()].append((module, taken, len(self.calls)))  # hooks are called in all threads

    def _end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        forwards = self._forwards[get_ident()]
        if not forwards or forwards[-1][0] is not module:
            return  # another's hook broke off its beginning
        (_, taken, _), given = forwards.pop(), self.values.get(id(output))
        if len(taken) == 1 and taken[0] is not None and given is not None and given is not taken[0]:
            self.passages[taken[0]].append((module, given))

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if torch.compiler.is_compiling():
            return func(*args, **named)
        given = {id(each): self.values[id(each)] for each in tensors_in((args, named)) if id(each) in self.values}
        if not given:
            return func(*args, **named)
        in_place, before, kept, drawn = overwrites(func, named), None, (args, named), States()
        with self._going_on(given):
            drawn = states(each.tensor for each in given.values())
            before, kept = self._save(given, args) if in_place else None, mapped(kept, _kept)
        result = func(*args, **named)
        with self._going_on(given):
            if made := _made(func, args, result, given, in_place):
                module, taken, start = (self._forwards[get_ident()] or [(None, [], 0)])[-1]
                before_it = (each for each in given.values() if each.by is None or each.by.number < start)
                taken += [each for each in before_it if not each.is_weight and each not in taken]  # given by name
                call = Call(
                    func, kept[0], kept[1], given, module, taken, in_place, self._weight(func, args, named, given),
                    torch.is_grad_enabled(), drawn, len(self.calls), before,
                )  # fmt: skip
                self._add(call, made)
        return result

    @contextmanager
    def _going_on(self, given: Mapping[int, Value]) -> Iterator[None]:
        """Note what was missed where a call can't be recorded."""
        try:
            yield
        except Exception as error:  # tensors may be of any kind
            weights = [each for value in given.values() if value.is_weight for each in value.origins()]
            self.missed.append((weights, reason(error)))

    def _save(self, given: Mapping[int, Value], args: tuple[Any, ...]) -> Tensor | None:
        data = [value for value in given.values() if not value.is_weight]  # not what an optimiser does
        for value in data:
            if value.before is None and version_of(value.tensor) == value.version:
                value.before = value.tensor.detach().clone()
        is_new = data and args and isinstance(args[0], Tensor) and id(args[0]) not in given  # zeros, to be added to
        return args[0].detach().clone() if is_new else None

    def _add(self, call: Call, made: Mapping[int, Tensor]) -> None:
        is_weight = call.weight is None and all(value.is_weight for value in call.given.values())
        for place, each in made.items():
            changed = call.given.get(-place)
            is_root = changed is not None and changed.is_weight and changed.by is None  # by an optimiser, say
            call.made[place] = Value(each, is_weight=True) if is_root else Value(each, call, is_weight)
        for value in call.given.values():
            value.uses.append(call)
        self.values |= {id(value.tensor): value for value in call.made.values()}
        self.calls.append(call)

    def layers(self) -> list[Call]:
        """The calls in which a layer's weights meet data."""
        for call in reversed(self.calls):
            later = [use for value in call.made.values() for use in value.uses]
            call.reaches_layer = any(use.weight is not None or use.reaches_layer for use in later)
        return [call for call in self.calls if call.weight is not None]

    def forget(self) -> None:
        """Let go of all tensors at once: they know of each other, and would stay until a garbage collection."""
        for call in self.calls:
            for value in (*call.made.values(), *call.given.values()):
                value.by = None
                value.uses.clear()
            call.made.clear()
        for kept in (self.calls, self.values, self.passages, self.found, self.barren, self.missed):
            kept.clear()

    def _weight(
        self, function: Any, args: tuple[Any, ...], named: Mapping[str, Any], given: Mapping[int, Value]
    ) -> Value | None:
        """The weights in a call that is a layer's; what makes weights, such as a parametrization, is none."""
        name = name_of(function)
        place = WEIGHT_AT.get(name)
        if place is None or any(isinstance(module, ParametrizationList) for module, *_ in self._forwards[get_ident()]):
            return None
        found = given.get(id(args[place] if len(args) > place else named.get("weight")))
        if found is None or not found.is_weight:
            return None
        other = given.get(id(args[place - 1])) if name in PRODUCTS else None
        return None if other and other.is_weight else found


def _made(
    function: Any, args: tuple[Any, ...], result: Any, given: Mapping[int, Value], in_place: bool
) -> dict[int, Tensor]:
    """What a call has made, as Call has it."""
    results = list(tensors_in(result))
    made = {place: each for place, each in enumerate(results) if id(each) not in given}
    made |= {-key: value.tensor for key, value in given.items() if version_of(value.tensor) != value.version}
    made |= {-id(each): each for each in results if in_place and id(each) in given and version_of(each) is None}
    return made | {-id(args[0]): args[0]} if name_of(function) == "__setitem__" else made


def _kept(item: Any) -> Any:
    """What is learnt may be changed by the optimiser before the call is repeated, a generator by the call."""
    if isinstance(item, torch.Generator):
        return item.clone_state()
    is_learnt = isinstance(item, nn.Parameter) and not is_lazy(item)
    return item.detach().clone() if is_learnt and item.ndim < 2 else item


@contextmanager
def unnoticed() -> Iterator[None]:
    """Let evaluated transformers take their fast path, whose numbers are others: they don't where a mode is active, by
    what `has_torch_function` says."""
    asked = torch.overrides.has_torch_function
    own = lambda each: getattr(type(each), "__torch_function__", None)  # noqa: E731
    none = None, Tensor.__torch_function__, nn.Parameter.__torch_function__
    if not asked((None,)):  # no other mode is active
        vars(torch.overrides)["has_torch_function"] = lambda tensors: any(own(each) not in none for each in tensors)
    try:
        yield
    finally:
        vars(torch.overrides)["has_torch_function"] = asked
