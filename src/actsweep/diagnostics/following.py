"""What follows a layer's output in a trace: its activation, found by trying, whatever it is made of.

An activation takes each number by itself and is not affine: a module, a function, or several operations that lead to
one result. Between it and the layer may stand what keeps units apart: normalisation, addition (residual connections),
dropout, pooling, changes of shape.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actsweep.diagnostics.randomness import draw_from, kept
from actsweep.diagnostics.trace import Call, Trace, Value, mapped, tensors_in

NORMALISATIONS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"}
FAR = 200  # calls at most in which a value is followed to where its uses meet again

Function = Callable[[Tensor], Tensor]


class CannotRepeatError(Exception):
    """A part of a trace can't be computed again as it was."""


def last(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """These axes as one, behind the others."""
    return values.movedim(axes, tuple(range(-len(axes), 0))).flatten(-len(axes))


@dataclass(frozen=True)
class Place:
    """A value behind a layer; the unit that each number along `axes`, flattened, belongs to, -1 of what comes from
    elsewhere."""

    value: Value
    axes: tuple[int, ...]
    units: Tensor

    def by_unit(self, values: Tensor) -> Tensor:
        """→ (1, N, H): units last, everything else is examples."""
        count, values, units = int(self.units.max()) + 1, last(values, self.axes), self.units
        if (units < 0).any():
            values, units = values[..., units >= 0], units[units >= 0]
        if torch.equal(units, torch.arange(count)):
            return values.reshape(1, -1, count)
        grouped = values[..., units.argsort(stable=True)].unflatten(-1, (count, -1))
        return grouped.movedim(-1, 0).reshape(1, -1, count)


@dataclass(frozen=True)
class Stretch:
    """The calls that lead from one value to another, as a function. `name`: the module's class or the function's."""

    start: Value
    end: Value
    calls: Sequence[Call]
    name: str
    is_module: bool = False

    @property
    def is_all(self) -> bool:
        """Whether nothing else is done with what enters."""
        return set(self.start.uses) <= set(self.calls)

    def __call__(self, x: Tensor) -> Tensor:
        """The same calls on another input, with the random numbers that they drew."""
        values = {self.start: x}
        half = self.start.tensor.dtype if x.dtype.itemsize > self.start.tensor.dtype.itemsize else None
        everything = not self.calls[-1].differentiated  # under no_grad: the function has a slope all the same
        with kept(x):
            for call in self.calls:
                draw_from(call.generators)
                with torch.set_grad_enabled(everything or call.differentiated):
                    _repeat(call, values, half)
        return values[self.end]

    def key(self) -> Hashable:
        """What it is, for the same anywhere else; None where it depends on values from outside."""
        order = {self.start: 0}
        parts: list[Hashable] = [self.start.tensor.dtype, self.start.tensor.shape[1:]]
        for call in self.calls:
            tensors = list(tensors_in((call.arguments, call.named)))
            if any(call.given.get(id(each)) not in order for each in tensors):
                return None
            places = [order[call.given[id(each)]] for each in tensors]
            others = mapped(
                (call.arguments, dict(call.named)), lambda each: each.new_empty(0) if isinstance(each, Tensor) else None
            )
            parts += [call.function, repr(others), tuple(places), call.differentiated]
            order |= {value: len(order) + place for place, value in enumerate(call.made.values())}
        return tuple(parts)

    def has_own_derivative(self) -> bool:
        """Whether a custom autograd function is among the calls: what it computes doesn't say what its slope is."""
        made = [value for call in self.calls if not call.differentiated for value in call.made.values()]
        return self.start.had_gradient and any(one.tensor.requires_grad and not one.had_gradient for one in made)


def _repeat(call: Call, values: dict[Value, Tensor], half: torch.dtype | None) -> None:
    """`half`: what numbers from outside are widened from, where those that enter are wider than they were."""
    swapped: dict[int, Tensor] = {}

    def swap(tensor: Any) -> Any:
        if isinstance(tensor, torch.Generator):
            return tensor.clone_state()
        value = call.given.get(id(tensor))
        known = None if value is None else values.get(value)
        here = call.before if call.before is not None and tensor is call.arguments[0] else tensor.detach()
        old = (here if value is None else value.now) if known is None else known
        if old is None:
            raise CannotRepeatError("a value was overwritten")
        old = old.float() if known is None and old.dtype == half else old
        # A constant may be a buffer that the call changes.
        swapped[id(tensor)] = old if known is not None and not call.overwrites else old.clone()
        return swapped[id(tensor)]

    result = call.function(*mapped(call.arguments, swap), **mapped(dict(call.named), swap))
    results = list(tensors_in(result))
    values |= {value: swapped[-place] if place < 0 else results[place] for place, value in call.made.items()}


def between(start: Value, end: Value, name: str = "", is_module: bool = False) -> Stretch | None:
    """The calls that lead from `start` to `end`; None where a layer or a normalisation is among them, or nothing is."""
    wanted: dict[int, Call] = {}
    ahead = [end]
    while ahead:
        call = ahead.pop().by
        if call is not None and call.number not in wanted and start.uses and call.number >= start.uses[0].number:
            wanted[call.number] = call
            ahead += [value for value in call.given.values() if value is not start]
    reached, calls = {start}, []
    for _, call in sorted(wanted.items()):
        if not reached.isdisjoint(call.given.values()):
            reached |= set(call.made.values())
            calls.append(call)
    if end not in reached or any(call.weight or call.name in NORMALISATIONS for call in calls):
        return None
    return Stretch(start, end, calls, name or calls[-1].name, is_module)


def meeting(trace: Trace, start: Value) -> Value | None:
    """The first value through which everything goes that is computed from `start`."""
    left = {start: len(start.uses)}
    first = start.uses[0].number if start.uses else len(trace.calls)
    for call in trace.calls[first : first + FAR]:
        used = left.keys() & set(call.given.values())
        if used and call.weight is not None:
            return None
        for value in used:
            left[value] -= 1
        if used:
            left |= {value: len(value.uses) for value in call.made.values()}
            last = next(iter(call.made.values()))
            if not any(count for value, count in left.items() if value is not last):
                return last
    return None


def modules(trace: Trace, start: Value) -> list[Stretch]:
    """The modules that took a value, inner ones first: those that all its uses are in, then the others. None in which
    there is a dropout: what that leaves out is no activation's doing."""
    passages = trace.passages.get(start, ())
    found = [between(start, given, type(module).__name__, is_module=True) for module, given in passages]
    there = [each for each in found if each and not any("dropout" in call.name for call in each.calls)]
    return [each for each in there if each.is_all] + [each for each in reversed(there) if not each.is_all]


def candidates(trace: Trace, start: Value) -> Iterator[Stretch]:
    """What may be the activation: modules, then where all uses meet, then each use by itself."""
    yield from modules(trace, start)
    ends = [meeting(trace, start), *(next(iter(use.made.values())) for use in start.uses if len(use.made) == 1)]
    for end in dict.fromkeys(ends):
        if end is not None and (found := between(start, end)):
            yield found
