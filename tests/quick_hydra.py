"""Hydra, with what it has read and composed kept: for a command it parses some thirty files and composes twice or more.

A configuration takes it a tenth of a second. Commands of tests often differ in their folder alone, or in values alone:
then the choices of groups, and the files that these name, are the same.
"""

import io
import pickle
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

APART = re.compile(r"hydra\.(run|sweep)\.dir=/[\w/.-]+|hydra\.mode=(RUN|MULTIRUN)")  # changes nothing else
MAY_CHANGE = re.compile(r"hydra\.searchpath|\?\?\?")
load, compose, merge = (
    OmegaConf.load, ConfigLoaderImpl.load_configuration, ConfigLoaderImpl._compose_config_from_defaults_list,
)  # fmt: skip
read, copied = ConfigRepository.load_config, DictConfig.__deepcopy__
choices_of = defaults_list._create_interpolation_map
kept: dict[Any, bytes] = {}
lists: dict[Any, defaults_list.DefaultsList] = {}


@cache
def parsed(text: str) -> bytes:
    return pickle.dumps(load(io.StringIO(text)))


def load_once(file: Any) -> Any:
    return pickle.loads(parsed(file.read())) if hasattr(file, "read") else load(file)


def places_of(source: Any) -> tuple[tuple[str, str], ...]:
    return tuple((each.provider, each.path) for each in source)


def a_persons(places: tuple[tuple[str, str], ...]) -> bool:
    """Whether files are among them that may change from one command to the next."""
    return any("command-line" in provider or "searchpath" in provider for provider, _ in places)


def read_once(self: ConfigRepository, config_path: str) -> Any:
    """A file's content, and the list of what it is put over."""
    places = places_of(self.sources)
    if a_persons(places):
        return read(self, config_path)
    key = places, config_path
    if key not in kept:
        kept[key] = pickle.dumps(read(self, config_path))
    return pickle.loads(kept[key])


def copy(self: DictConfig, memo: dict[int, Any]) -> DictConfig:
    """Through a pickle, which takes a quarter of the time; the parent is the same one, as in OmegaConf's own copies."""
    parent, self.__dict__["_parent"] = self.__dict__["_parent"], None
    try:
        found: DictConfig = pickle.loads(pickle.dumps(self))
    except (pickle.PicklingError, TypeError, AttributeError):  # an object that can't be pickled is in it
        found = copied(self, memo)
    finally:
        self.__dict__["_parent"] = parent
    found.__dict__["_parent"] = parent
    return found


def list_once(
    repo: Any, config_name: str | None, overrides_list: list[Override], prepend_hydra: bool, skip_missing: bool
) -> defaults_list.DefaultsList:
    """Which files are read, and in which order: a matter of the overrides that name groups alone."""
    places = places_of(repo.get_sources())
    values = [
        each for each in overrides_list if not each.is_sweep_override() and not repo.group_exists(each.key_or_group)
    ]
    choices = [each for each in overrides_list if each not in values]
    if a_persons(places) or any(isinstance(each.value(), dict) for each in choices):
        return defaults_list.create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
    key = places, config_name, tuple(each.input_line for each in choices), prepend_hydra, skip_missing
    if key not in lists:
        lists[key] = defaults_list.create_defaults_list(repo, config_name, choices, prepend_hydra, skip_missing)
    return replace(lists[key], config_overrides=values)


def choices_where_asked(overrides: Any, found: list[InputDefault], self_added: bool) -> DictConfig | None:
    """What has been chosen, which Hydra looks at where an entry of a list of defaults asks for it: few do."""
    return choices_of(overrides, found, self_added) if any(each.is_interpolation() for each in found) else None


def kept_merge(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any, places: Any) -> DictConfig:
    key = places, repr(defaults)
    if key not in kept:
        kept[key] = pickle.dumps(merge(self, defaults, repo))
    config: DictConfig = pickle.loads(kept[key])
    return config


def merge_once(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> DictConfig:
    """Their content, one over the other: Hydra's own and config.yaml are the same for most choices of the rest."""
    places = places_of(repo.get_sources())
    if a_persons(places):
        return merge(self, defaults, repo)
    key = places, "whole", repr(defaults)
    if key not in kept:
        kept[key] = pickle.dumps(_over_the_first(self, defaults, repo, places))
    config: DictConfig = pickle.loads(kept[key])
    return config


def _over_the_first(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any, places: Any) -> DictConfig:
    first = next((place for place, each in enumerate(defaults) if each.config_path == "config"), -1) + 1
    config = kept_merge(self, defaults[:first], repo, places)
    rest = [self._load_single_config(each, repo).config for each in defaults[first:]]
    if any(each._get_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS") for each in rest):
        return merge(self, defaults, repo)
    try:
        with flag_override(config, "no_deepcopy_set_nodes", True):
            config.merge_with(*rest)
    except OmegaConfBaseException:
        return merge(self, defaults, repo)  # which says in which file
    return config


def compose_once(
    self: ConfigLoaderImpl,
    config_name: str | None,
    overrides: list[str],
    run_mode: RunMode,
    from_shell: bool = True,
    validate_sweep_overrides: bool = True,
) -> DictConfig:
    """What Hydra gives; `run_mode` says only whether it accepts sweeps, and groups without a choice, of which we have
    none."""
    places = places_of(self.get_search_path().get_path())
    if "command-line" in dict(places) or any(map(MAY_CHANGE.search, overrides)):
        return compose(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
    if validate_sweep_overrides and any("," in each or "(" in each for each in overrides):
        self.validate_sweep_overrides_legal(OverridesParser.create().parse_overrides(overrides), run_mode, from_shell)
    ours = [each for each in overrides if each.lstrip("+~").startswith(("hydra.", "hydra/"))]
    apart = dict(each.split("=") for each in ours if APART.fullmatch(each))
    same = [each for each in ours if not APART.fullmatch(each)], [each for each in overrides if each not in ours]
    key = places, config_name, *map(tuple, same), Path.cwd(), JobRuntime().get("name")
    if key not in kept:
        config = compose(self, config_name, [*same[0], *same[1]], RunMode.MULTIRUN, from_shell, False)
        kept[key] = pickle.dumps(config)
    config = pickle.loads(kept[key])
    for name, value in apart.items():
        OmegaConf.update(config, name, RunMode[value] if name == "hydra.mode" else value)
    config.hydra.overrides.hydra = ours
    return config


INSTEAD: tuple[tuple[Any, str, Any], ...] = (
    (OmegaConf, "load", load_once),
    (ConfigLoaderImpl, "load_configuration", compose_once),
    (ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once),
    (config_loader_impl, "create_defaults_list", list_once),
    (defaults_list, "_create_interpolation_map", choices_where_asked),
    (ConfigRepository, "load_config", read_once),
    (DictConfig, "__deepcopy__", copy),
)
HYDRAS = tuple((owner, name, vars(owner)[name]) for owner, name, _ in INSTEAD)


def put(parts: tuple[tuple[Any, str, Any], ...], patch: pytest.MonkeyPatch) -> None:
    for owner, name, value in parts:
        patch.setattr(owner, name, value)
