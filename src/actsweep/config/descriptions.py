"""What a description in plain data names, and how it is called: Hydra's `instantiate` without OmegaConf's containers.

`_args_` are positional arguments, `_partial_` leaves the call to whoever is given the result, `_recursive_: false`
hands descriptions on as they are. All arguments are plain Python data, whatever `_convert_` says.
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from actsweep.errors import UserError, exits_are_errors
from actsweep.places import PACKAGE

Description = Mapping[str, Any]
SPECIAL: dict[str, tuple[object, ...]] = {  # and the values they may have, () for any
    "_target_": (),
    "_args_": (),
    "_partial_": (True, False),
    "_recursive_": (True, False),
    "_convert_": ("none", "partial", "object", "all"),
}


def reason(error: Exception) -> str:
    """What somebody else's code has raised, in one line.

    >>> reason(IndexError("too far\\nby 3"))
    'IndexError: too far'
    """
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def find(path: str) -> Any:
    """What stands at a dotted path of modules and attributes. Raises UserError where there is nothing.

    >>> find("math.pi")
    3.141592653589793
    """
    parts = str(path).split(".")
    try:
        with exits_are_errors():
            found: Any = importlib.import_module(parts[0])
            for place, part in enumerate(parts[1:], start=2):
                is_module = isinstance(found, ModuleType) and not hasattr(found, part)
                found = importlib.import_module(".".join(parts[:place])) if is_module else getattr(found, part)
    except Exception as error:  # whatever a module does when it is imported
        raise UserError(f"{path} is nothing that can be imported: {reason(error)}") from error
    return found


@functools.cache
def parameters(path: str) -> list[str] | None:
    """What a class of this package takes, read from its source: to import it may take seconds. None: not known."""
    module, _, name = path.rpartition(".")
    file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
    own = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    if name not in own:
        return None
    for each in own[name].body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return [argument.arg for argument in (*each.args.args[1:], *each.args.kwonlyargs)]
    imported = {
        alias.name: each.module for each in tree.body if isinstance(each, ast.ImportFrom) for alias in each.names
    }
    bases = [each.id for each in own[name].bases if isinstance(each, ast.Name)]
    found = (parameters(f"{module if base in own else imported.get(base)}.{base}") for base in bases)
    return next((each for each in found if each is not None), None if bases else [])


def arguments(description: Description) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the named arguments, made."""
    for key, value in description.items():
        if str(key).startswith("_") and (key not in SPECIAL or (SPECIAL[key] and value not in SPECIAL[key])):
            raise UserError(f"{key}={value!r}: this key must be one of Hydra's, {', '.join(SPECIAL)}, with its values")
    positional = description.get("_args_", [])
    if not isinstance(positional, list | tuple):
        raise UserError(f"_args_={positional!r}: must be a list")
    named = {key: value for key, value in description.items() if key not in SPECIAL}
    if description.get("_recursive_") is False:
        return list(positional), named
    return [_with_parts(each) for each in positional], {key: _with_parts(value) for key, value in named.items()}


def _with_parts(value: Any) -> Any:
    """Plain data with every description in it replaced by what it describes."""
    if isinstance(value, Mapping):
        return instantiate(value) if "_target_" in value else {key: _with_parts(each) for key, each in value.items()}
    return [_with_parts(each) for each in value] if isinstance(value, list | tuple) else value


def instantiate(description: Description, *first: Any) -> Any:
    """What the target returns for the arguments, behind those of `first`; with `_partial_`, the call itself.

    >>> instantiate({"_target_": "fractions.Fraction", "_args_": [6, {"_target_": "math.gcd", "_args_": [8, 12]}]})
    Fraction(3, 2)
    """
    target = find(description["_target_"])
    positional, named = arguments(description)
    call = functools.partial(target, *first, *positional, **named)
    return call if description.get("_partial_") else call()


def taken(optim: Description) -> dict[str, Any]:
    """An optimiser's description without a weight decay of 0, which every one has, where it takes none.

    >>> taken({"_target_": "torch.optim.Rprop", "lr": 0.1, "weight_decay": 0.0})
    {'_target_': 'torch.optim.Rprop', 'lr': 0.1}
    """
    known = {"weight_decay"}
    if optim.get("weight_decay") == 0:
        with suppress(TypeError, ValueError):  # of what has no signature
            known = set(inspect.signature(find(optim["_target_"])).parameters)
    is_taken = not known.isdisjoint({"weight_decay", "kwargs"})
    return {key: value for key, value in optim.items() if is_taken or key != "weight_decay"}


def targets(value: Any) -> Iterator[Any]:
    """Everything in plain data that stands under `_target_`, however deep."""
    if isinstance(value, Mapping):
        yield from (each for key, each in value.items() if key == "_target_")
        value = list(value.values())
    for each in value if isinstance(value, list | tuple) else ():
        yield from targets(each)


def as_call(value: Any) -> str:
    """A description as one would write it.

    >>> as_call({"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1})
    'torch.nn.LeakyReLU(negative_slope=0.1)'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_call, value))}]"
    if not isinstance(value, Mapping) or "_target_" not in value:
        return repr(value)
    positional = value.get("_args_", ())
    given = [as_call(each) for each in positional] if isinstance(positional, list | tuple) else []
    given += [f"{key}={as_call(each)}" for key, each in value.items() if key not in SPECIAL]
    return f"{value['_target_']}({', '.join(given)})" if given else str(value["_target_"])


def flat(part: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested configuration → dotted key → value.

    >>> flat({"a": {"b": 1}, "c": {}})
    {'a.b': 1, 'c': {}}
    """
    found: dict[str, Any] = {}
    for key, value in part.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found
