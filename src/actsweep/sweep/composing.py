"""Hydra's configurations of a sweep's jobs, composed quickly and once: its check and its launcher need the same ones.

Flow: **config** → data. Composing one takes Hydra a quarter of a second, because it reads some thirty files anew. Jobs
that differ in plain values alone, such as seeds, are copies of one that Hydra composed, with other values.
"""

import pickle
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

PLAIN = re.compile(r"[a-z_][\w.]*=[\w.+-]+")  # nothing is added or deleted; no list, no interpolation, no quotes


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


class Composing:
    """A ConfigLoader, in place of the one it is given, that hands out what was made with `keep`."""

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self.kept: dict[tuple[str, ...], bytes] = {}
        self.models: dict[tuple[str, ...], bytes] = {}  # by overrides, values left out where they are plain

    def __reduce__(self) -> tuple[Any, ...]:
        return Composing, (self.loader,)  # other processes compose their own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        kept = self.kept.get(tuple(sweep_overrides))
        return _unpacked(kept) if kept else self.loader.load_sweep_config(master_config, list(sweep_overrides))

    def keep(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """A job's configuration, which is there when Hydra's check and its launcher ask for it: some 5 kB."""
        values = _plain_values(master_config, sweep_overrides)
        alike = tuple(_key(each) if each in values else each for each in sweep_overrides)
        if alike in self.models:
            config = _with_values(_unpacked(self.models[alike]), sweep_overrides, values)
        else:
            config = self.loader.load_sweep_config(master_config, list(sweep_overrides))
            self.models[alike] = _packed(config)
        self.kept[tuple(sweep_overrides)] = _packed(config)
        return config


@lru_cache(maxsize=1)
def composing(loader: ConfigLoader) -> Composing:
    """The one that a command's check and its launcher share."""
    return Composing(loader)


def _plain_values(master_config: DictConfig, overrides: Sequence[str]) -> set[str]:
    """Those overrides that set one value, of the program's own configuration, and change nothing else in it."""
    times = Counter(map(_key, overrides))
    return {
        each
        for each in overrides
        if PLAIN.fullmatch(each)
        and times[key := _key(each)] == 1
        and not key.startswith("hydra.")
        and key not in master_config.hydra.runtime.choices
        and _is_value(master_config, key)
    }


def _is_value(config: DictConfig, key: str) -> bool:
    """Whether there is something at this key that isn't a section with keys of its own."""
    *path, last = key.split(".")
    section = OmegaConf.select(config, ".".join(path)) if path else config
    if not isinstance(section, DictConfig) or last not in section:
        return False
    return OmegaConf.is_interpolation(section, last) or not OmegaConf.is_config(section[last])


def _with_values(config: DictConfig, overrides: Sequence[str], values: set[str]) -> DictConfig:
    """Another job's configuration with this one's values, and what Hydra notes of its overrides."""
    for each in overrides:
        if each in values:
            OmegaConf.update(config, _key(each), _parsed(each).value(), merge=True)
    own = [each for each in overrides if not _key(each).startswith(("hydra.", "hydra/"))]
    config.hydra.overrides.task = own
    form = config.hydra.job.config.override_dirname
    named = sorted(each for each in own if _parsed(each).key_or_group not in form.exclude_keys)
    config.hydra.job.override_dirname = form.item_sep.join(named).replace("=", form.kv_sep)
    return config


def _packed(config: DictConfig) -> bytes:
    return zlib.compress(pickle.dumps(config), level=1)


def _unpacked(packed: bytes) -> DictConfig:
    config: DictConfig = pickle.loads(zlib.decompress(packed))  # our own, from this process's memory
    return config
