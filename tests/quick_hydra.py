"""Hydra, with what it has read and composed kept: for a command it parses some thirty files and composes twice or more.

A configuration takes it a tenth of a second, and commands of tests often differ in their folder alone.
"""

import io
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

APART = re.compile(r"hydra\.(run|sweep)\.dir=/[\w/.-]+|hydra\.mode=(RUN|MULTIRUN)")  # changes nothing else
MAY_CHANGE = re.compile(r"hydra\.searchpath|\?\?\?")
load, compose = OmegaConf.load, ConfigLoaderImpl.load_configuration
kept: dict[Any, bytes] = {}


@cache
def parsed(text: str) -> bytes:
    return pickle.dumps(load(io.StringIO(text)))


def load_once(file: Any) -> Any:
    return pickle.loads(parsed(file.read())) if hasattr(file, "read") else load(file)


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
    places = tuple((each.provider, each.path) for each in self.get_search_path().get_path())
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


def keep(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OmegaConf, "load", load_once)
    patch.setattr(ConfigLoaderImpl, "load_configuration", compose_once)
