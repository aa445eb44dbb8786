"""The raw inputs a run was trained on, for figures that show them."""

import importlib
import re
from typing import Any

from src import config
from src.data.datamodule import DataModule, open_data


def _names_something_else(source: dict[str, Any]) -> bool:
    """Whether a data source, as a run folder gives it, names anything but a function of a module in src/data/.

    A run folder is data: it must not decide what is imported or called, not by an argument and not by what a module
    in src/data/ happens to import.
    """
    match = re.fullmatch(r"(src\.data\.\w+)\.(\w+)", str(source.get("_target_")))
    if match is None or "_target_" in str({key: value for key, value in source.items() if key != "_target_"}):
        return True
    try:
        function = getattr(importlib.import_module(match[1]), match[2], None)
    except ImportError:
        return True
    return getattr(function, "__module__", None) != match[1]


def training_data(run: dict[str, Any]) -> DataModule:
    """The run's data set, split. Raises ValueError if it comes from elsewhere than src/data/."""
    source = run["config"]["data"]["source"]
    if _names_something_else(source):
        raise ValueError(
            f"data.source={source.get('_target_')}: only functions of modules in src/data/ are called here"
        )
    return open_data(config.Data.model_validate(run["config"]["data"]), seed=0)
