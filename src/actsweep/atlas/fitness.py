"""Whether an activation is a function of one number, which the atlas can measure; if not, which kind of thing it is.

Flow: config → network → **fitness** → measure. It is tried.
"""

import inspect
from contextlib import suppress
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actsweep.config.descriptions import Description, find, reason
from actsweep.diagnostics.elementwise import takes_each_alone
from actsweep.errors import UserError, exits_are_errors
from actsweep.network import activations, trying
from actsweep.statistics import atlas
from actsweep.training.stack.activating import CUTS, FROZEN, state, unsupported

EXTRA = "torch_activation"
UNITS = 64


class Unfit(NamedTuple):
    """Why the atlas has no numbers of an activation: the kind of thing that it is, and the reason in words."""

    kind: str  # abstract, needs arguments, raises, changes the shape, keeps state, random, not elementwise, not finite
    reason: str


def unfit(act: Description) -> Unfit | None:
    """What keeps an activation from being measured; None if nothing does. The random generator is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return _unbuilt(act) or _unsteady(act) or _unchecked(act)


def refuse(name: str, act: Description) -> None:
    """Raise UserError for an activation of the person's own that can't be measured, or a package that is not there.
    What the study lists is named in the table instead."""
    if str(act["_target_"]).startswith(f"{EXTRA}.") and find_spec(EXTRA) is None:
        raise UserError(f"{act['_target_']}: its package is not installed: pip install 'actsweep[atlas]'")
    if name in atlas.listed():
        return
    if found := unfit(act):
        raise UserError(f"act={name}: {found.reason} ({found.kind}): the atlas is of functions of one number")
    if (why := unsupported(dict(act))) and why.endswith((CUTS, FROZEN)):
        raise UserError(f"act={name}: {why}: the stacks of an atlas can't train that")


def _unbuilt(act: Description) -> Unfit | None:
    try:
        activations.build(act)
    except UserError as error:
        return Unfit(_kind_of_unbuilt(act), str(error))
    return None


def _kind_of_unbuilt(act: Description) -> str:
    with suppress(UserError, TypeError, ValueError):  # of what can't be imported, or called, or has no signature
        target = find(str(act["_target_"]))
        if inspect.isabstract(target):
            return "abstract"
        for each in inspect.signature(target).parameters.values():
            is_positional = each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            if is_positional and each.default is each.empty and each.name not in act:
                return "needs arguments"
    return "raises"


def _unsteady(act: Description) -> Unfit | None:
    """Of what can be built: whether it can be applied, keeps the shape, says the same twice, takes each alone."""
    module, x = activations.build(act), torch.linspace(-3, 3, 16 * UNITS).view(16, UNITS)
    before = _state(module)
    try:
        with exits_are_errors():
            y, again = module(x.clone()), module(x.clone())
    except Exception as error:  # a forward may raise anything
        return Unfit("raises", reason(error))
    if not isinstance(y, Tensor) or y.shape != x.shape:
        given = tuple(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
        return Unfit("changes the shape", f"turns {tuple(x.shape)} into {given}")
    if _state(module) != before:
        return Unfit("keeps state", "is another function after it was applied")
    if not torch.equal(y.nan_to_num(), again.nan_to_num()):
        return Unfit("random", "gives other numbers each time")
    if not takes_each_alone(lambda z: module(z.clone()), x):
        return Unfit("not elementwise", "mixes units")
    return None


def _state(module: nn.Module) -> bytes:
    with suppress(Exception):  # what is of no importable class can't be pickled, and isn't looked into
        return state(module)
    return b""


def _unchecked(act: Description) -> Unfit | None:
    try:
        trying.check(act, (UNITS,))
    except UserError as error:
        kind = "not finite" if "is not finite" in str(error) else "raises"
        return Unfit(kind, str(error).rpartition(" units: ")[2])
    return None
