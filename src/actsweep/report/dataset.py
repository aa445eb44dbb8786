"""The raw examples a run was trained and tested on, for what shows them. Only `pictures_of` may do without torch."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from actsweep.errors import UserError

if TYPE_CHECKING:
    from actsweep.data.dataset import Dataset, Examples, Pictures


def _source(run: dict[str, Any]) -> tuple[ModuleType, Callable[..., "Dataset"], dict[str, Any]]:
    """The module of the run's data set, its function, and what to call it with.

    A run folder is data: it must not decide what is imported or called. All it may name is a function that a module in
    data/ defines and that says it returns a Dataset; and nothing is downloaded for it.
    """
    from actsweep.data.dataset import Dataset

    data = importlib.import_module("actsweep.data")
    arguments = dict(run["config"]["data"]["source"])
    target = str(arguments.pop("_target_", None))
    place, _, name = target.rpartition(".")
    ours = {f"{data.__name__}.{each.name}" for each in pkgutil.iter_modules(data.__path__)}
    module = importlib.import_module(place) if place in ours else None
    function: Any = getattr(module, name, None)
    is_own = inspect.isroutine(inspect.unwrap(function)) and function.__module__ == place
    if not module or not is_own or get_type_hints(function).get("return") is not Dataset:
        raise UserError(f"data.source={target}: only functions of modules in src/actsweep/data/ are called here")
    offline = {"download": False} if "download" in inspect.signature(function).parameters else {}
    return module, function, arguments | offline


def dataset_of(run: dict[str, Any]) -> "Dataset":
    """The run's data set. Raises UserError if it comes from elsewhere than data/, or if its files hold others now."""
    _, function, arguments = _source(run)
    from actsweep.data.checked import checked  # here, because importing torch takes a second

    dataset, trained_on = checked(function(**arguments)), run["config"].get("content") or ""
    if "root" in arguments and not dataset.digest.startswith(trained_on):
        where = f"data.source.root={arguments['root']}"
        raise UserError(f"{where} holds other data than the run had: {dataset.digest[:12]}, not {trained_on}")
    return dataset


def pictures_of(run: dict[str, Any]) -> "Pictures":
    """What the run's data set shows; without torch where its module can. Raises UserError as `dataset_of`."""
    from actsweep.data.dataset import Pictures

    module, function, arguments = _source(run)
    if function.__name__ == "load" and hasattr(module, "pictures"):
        found: Pictures = module.pictures(**arguments)
        return found
    dataset = dataset_of(run)
    return Pictures((dataset.test or dataset.pool).inputs.numpy(), dataset.classes, dataset.shape)


def training_examples(run: dict[str, Any]) -> "tuple[Dataset, Examples]":
    """The run's data set, and the part of it that was trained on."""
    from actsweep.data.dataset import split, standardised

    dataset, settings = dataset_of(run), run["config"]["data"]
    examples = split(dataset.pool, settings["val_size"], settings["split_seed"])[0]
    if settings.get("standardise"):
        dataset = replace(dataset, scale=standardised(examples, dataset))
    return dataset, examples
