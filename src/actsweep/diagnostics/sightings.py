"""What each use of a layer shows in a trace: pre- and post-activations and slopes, units apart from examples."""

import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from actsweep.diagnostics.elementwise import is_affine, keeps_apart, random_like, slope, steepest
from actsweep.diagnostics.following import (
    NORMALISATIONS,
    CannotRepeatError,
    Place,
    Stretch,
    between,
    candidates,
    last,
    modules,
)
from actsweep.diagnostics.trace import CONVOLUTIONS, Call, Trace, Value, reason

MOST_VALUES = 100  # values at most in which an activation, or the next layer, is looked for

_known: dict[tuple[str, Hashable], Any] = {}


@dataclass(frozen=True)
class Sighting:
    """One use of a layer as Layer has it: (1, N, H). `activation` names what follows; `lacks` says why it has no slope,
    or, where it has no `pre`, why nothing could be seen.

    `weight`: what the layer multiplied by, which may be computed from parameters.
    """

    weight: Tensor
    pre: Tensor | None
    post: Tensor | None = None
    slope: Tensor | None = None
    max_slope: Tensor | None = None
    activation: str = ""
    lacks: str = ""


def output(call: Call) -> Place:
    """Where a layer's units are in its output: the channels of a convolution, else the last dimension."""
    value = next(iter(call.made.values()))  # another may be the weight: an embedding with `max_norm` changes it
    axis = value.tensor.ndim - CONVOLUTIONS.get(call.name, 0) - 1
    return Place(value, (axis,), torch.arange(value.tensor.shape[axis]))


def sightings(trace: Trace, call: Call) -> list[Sighting]:
    """What a use of a layer shows, of each activation behind it, or why nothing: tensors may be of any kind."""
    assert call.weight is not None
    try:
        return _seen(trace, output(call), call.weight.tensor.detach())
    except Exception as error:
        return [Sighting(call.weight.origins()[0].detach(), None, lacks=reason(error))]


def _seen(trace: Trace, place: Place, weight: Tensor) -> list[Sighting]:
    if place.value.tensor.is_nested:
        return [Sighting(weight, None, lacks="a nested tensor")]
    if place.value.tensor.numel() == 0:
        return [Sighting(weight, None, lacks="no examples came to it")]
    with suppress(CannotRepeatError):
        if found := activations_behind(trace, place):
            return [_with_activation(weight, *each) for each in found]
    if (now := place.value.now) is None:
        return [Sighting(weight, None, lacks="overwritten unseen")]
    # As in a scripted function; else it is used, if only by the loss.
    return [Sighting(weight, place.by_unit(now), lacks="" if place.value.uses else "what becomes of it isn't seen")]


def activations_behind(trace: Trace, place: Place) -> list[tuple[Place, Stretch]]:
    """The first activation that a layer's output, or what has become of it, goes through, and where it enters; those of
    several branches, as in `cat([relu(h), relu(-h)])`, where none depends on another."""
    ahead: list[tuple[Place, Call | None, bool]] = [(place, None, True)]
    seen: dict[Value, bool] = {}
    found: list[tuple[Place, Stretch]] = []
    behind: set[Value] = set()
    while ahead and len(seen) < MOST_VALUES:
        before, use, is_all = ahead.pop()
        here = before if use is None else passed(before, use)
        if here is None or here.value in seen or (here.value, is_all) in trace.barren or not _has_numbers(here.value):
            continue
        seen[here.value] = is_all
        for stretch in candidates(trace, here.value):
            if stretch.end in behind or not (_is_inside(stretch) and is_activation(trace, stretch)):
                continue
            is_only = is_all and stretch.is_all
            if is_only or _leads_on(here, stretch):
                found.append((here, _widened(trace, stretch) if stretch.is_module else _prolonged(trace, stretch)))
                if is_only:
                    return found
                behind |= _computed_in(stretch)
        uses = here.value.uses
        further = [use for use in reversed(uses) if use.weight is None and behind.isdisjoint(use.made.values())]
        ahead += [(here, use, is_all and len(uses) == 1) for use in further]
    if not ahead and not found:
        trace.barren.update(seen.items())
    return found


def _computed_in(stretch: Stretch) -> set[Value]:
    """What it makes, and all that is made from that."""
    found: set[Value] = set()
    ahead = [value for call in stretch.calls for value in call.made.values()]
    while ahead:
        if (value := ahead.pop()) not in found:
            found.add(value)
            ahead += [made for use in value.uses for made in use.made.values()]
    return found


def _has_numbers(value: Value) -> bool:
    return value.tensor.is_floating_point() and value.tensor.numel() > 0 and value.now is not None


def _is_inside(stretch: Stretch) -> bool:
    """Whether it belongs to the network, not to the loss: it leads to a layer, or is in a forward of one tensor."""
    last = stretch.calls[-1]
    return last.reaches_layer or (last.module is not None and last.alone)


def _leads_on(place: Place, stretch: Stretch) -> bool:
    """Whether one of several things that are done with a value is more than a statistic of it, such as the square in a
    norm or in a penalty: its units come to a layer, or it is what the forward in which it is gives."""
    module = stretch.calls[-1].module
    uses = stretch.end.uses
    if uses and module is not None and stretch.calls[-1].alone and all(use.module is not module for use in uses):
        return True
    ahead: list[tuple[Value, Place | None]] = [(stretch.end, replace(place, value=stretch.end))]
    seen: set[Value] = set()
    while ahead and len(seen) < MOST_VALUES:
        value, there = ahead.pop()
        seen.add(value)
        for use in value.uses:
            if any(each.is_weight and each.tensor.ndim >= 2 for each in use.given.values()):
                return True
            made = next(iter(use.made.values()))
            further = passed(there, use) if there else None
            shrinks = sum(each.tensor.numel() for each in use.made.values()) < value.tensor.numel()
            shape, alike = value.tensor.shape, made.tensor.shape in {each.tensor.shape for each in use.given.values()}
            # One number meets many, as a mean does; not as what is added up somewhere in a larger or smaller whole.
            fits = all(one in {1, many} for one, many in zip(shape[::-1], made.tensor.shape[::-1], strict=False))
            is_spread = alike and fits and made.tensor.shape != shape
            if made not in seen and (further or not shrinks) and not is_spread:
                ahead.append((made, further))
    return False


def known(what: str, stretch: Stretch, find: Callable[[], Any]) -> Any:
    """What holds of a stretch: found once, where it depends on nothing but what enters."""
    key = stretch.key()
    if key is None:
        return find()
    if (what, key) not in _known:
        _known[what, key] = find()
    return _known[what, key]


def is_activation(trace: Trace, stretch: Stretch) -> bool:
    """Whether it is elementwise and not affine; what can't be tried isn't, this time."""
    ends = stretch.start, stretch.end
    if ends not in trace.found:
        try:
            trace.found[ends] = bool(known("is an activation", stretch, lambda: _is_activation(stretch)))
        except Exception:  # the calls are anybody's
            trace.found[ends] = False
    return trace.found[ends]


def _is_activation(stretch: Stretch) -> bool:
    like = stretch.start.now
    if like is None or stretch.end.tensor.shape != like.shape or not stretch.end.tensor.is_floating_point():
        return False
    return keeps_apart(stretch, random_like(like)) and not is_affine(stretch, like)


def _widened(trace: Trace, stretch: Stretch) -> Stretch:
    """The module around it, where what that does besides is an activation too; a dropout, for one, isn't."""
    for outer in modules(trace, stretch.start):
        rest = between(stretch.end, outer.end) if outer.end is not stretch.end else None
        if rest and is_activation(trace, rest):
            stretch = outer
    return stretch


def _prolonged(trace: Trace, stretch: Stretch) -> Stretch:
    """With what follows at once and is one too, such as the square of a squared ReLU."""
    more = next(candidates(trace, stretch.end), None)
    is_one = more and more.is_all and _is_inside(more) and is_activation(trace, more)
    both = between(stretch.start, more.end) if more and is_one else None
    return both or stretch


def passed(place: Place, call: Call) -> Place | None:
    """Where the units are behind a call that keeps them apart; None if it mixes them."""
    (made, *others) = call.made.values()
    like = place.value.now
    if others or like is None or not _has_numbers(made):
        return None
    there, is_alike = replace(place, value=made), made.tensor.shape == like.shape
    if call.name in NORMALISATIONS:
        return there
    # Added to or multiplied by what doesn't depend on it here, such as a residual connection's.
    if (
        call.name.rstrip("_") in {"add", "sub", "mul"}
        and sum(each is place.value.tensor for each in call.arguments) == 1
    ):
        return there if is_alike else None
    step = Stretch(place.value, made, [call], call.name)
    try:
        if is_alike and keeps_apart(step, random_like(like)):
            return there if is_affine(step, like) else None
        return _located(step, place, like)
    except Exception:  # the calls are anybody's
        return None


def _located(step: Stretch, place: Place, like: Tensor) -> Place | None:
    """Send each unit's number through in place of its values, and see along which dimensions it comes out: by itself,
    or as many times as becomes of 1, as in a sum over neighbours, beside what is from elsewhere, as in a concatenation.
    """
    shape = [size if axis in place.axes else 1 for axis, size in enumerate(like.shape)]
    units = place.units.to(like.device).view(shape).expand(like.shape)
    numbers, ones = units.clamp(min=0).float(), (units >= 0).float()
    out = step(numbers.clone()).detach()
    if found := _units_along(step.end, place, out, torch.ones_like(out)):
        return found
    nothing = step(torch.zeros_like(ones)).detach()
    return _units_along(step.end, place, out - nothing, step(ones).detach() - nothing)


def _units_along(end: Value, place: Place, out: Tensor, times: Tensor) -> Place | None:
    count = int(place.units.max()) + 1
    # Along one, or several that have been made of one, as by a view; examples are along the first.
    several = [axes for many in (2, 3) for axes in combinations(range(1, out.ndim), many)]
    for axes in (*((axis,) for axis in range(out.ndim)), *several):
        if math.prod(out.shape[axis] for axis in axes) < count:
            continue
        lines, each = (flat.reshape(-1, flat.shape[-1]) for flat in (last(out, axes), last(times, axes)))
        reached = (each != 0).any(dim=1)
        first = int(reached.byte().argmax())
        there = each[first] != 0
        units = (lines[first, there] / each[first, there]).round()
        sizes = units.long().clamp(0, count).bincount(minlength=count + 1)
        if not sizes[0] or sizes[count] or (sizes[:count] != sizes[0]).any():
            continue
        lines, each = lines[reached], each[reached]
        if ((each != 0) != there).any():
            continue
        lines = lines[:, there] / each[:, there]
        if torch.allclose(lines, units.expand_as(lines)):
            return Place(end, axes, torch.full(there.shape, -1).masked_scatter(there.cpu(), units.long().cpu()))
    return None


def _with_activation(weight: Tensor, place: Place, stretch: Stretch) -> Sighting:
    pre, post = place.value.now, stretch.end.now
    if pre is None or post is None:
        raise CannotRepeatError("a value was overwritten")
    seen = Sighting(weight, place.by_unit(pre), place.by_unit(post), activation=stretch.name)
    if stretch.has_own_derivative():
        return replace(seen, lacks="a custom autograd function has no slope that could be asked for")
    x = pre.clone().requires_grad_()
    with torch.enable_grad():
        again = stretch(x)
    if not torch.allclose(again.detach(), post, rtol=1e-3, atol=1e-5, equal_nan=True):
        return replace(seen, lacks="it gives something else when repeated")
    most = known("steepest", stretch, lambda: steepest(stretch, place.axes[-1], pre)).to(pre)
    return replace(seen, slope=place.by_unit(slope(x, again)), max_slope=most)


def together(uses: Sequence[Sighting]) -> Sighting:
    """All uses of one layer as one: their examples behind each other. Those without the activation are left out."""
    with_slope, with_post = ([each for each in uses if getattr(each, name) is not None] for name in ("slope", "post"))
    chosen = with_slope or with_post or uses
    if len(chosen) == 1:
        return chosen[0]
    names = [name for name in ("pre", "post", "slope") if getattr(chosen[0], name) is not None]
    values: dict[str, Any] = {name: torch.cat([getattr(each, name) for each in chosen], dim=1) for name in names}
    if with_slope:
        values["max_slope"] = torch.stack([each.max_slope for each in with_slope if each.max_slope is not None]).amax(0)
    return replace(chosen[0], **values)
