"""Configs that are no files of conf/.

Hydra finds plugins only in this namespace. They are searched behind conf/, so that names of files there win.
"""

from abc import abstractmethod
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from actsweep.places import REPOSITORY

CONF = str(REPOSITORY / "conf")
FOLDERS = ("studies://", "importable://", "chosen://")  # sweeps/NAME.yaml, act=package.Class, names/act


class Named(ConfigSource):
    """Configs of one group that exist by being named."""

    group: str
    package: str | None = None  # what their keys are in

    @abstractmethod
    def content(self, name: str) -> Any:
        """What the config of this name holds; None where there is none."""

    def load_config(self, config_path: str) -> ConfigResult:
        if (content := self._found(config_path)) is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        header, path = {"package": self.package}, f"{self.scheme()}://"
        return ConfigResult(config=OmegaConf.create(content), path=path, provider=self.provider, header=header)

    def _found(self, config_path: str) -> Any:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return self.content(name) if group == self.group and name else None

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path == self.group

    def is_config(self, config_path: str) -> bool:
        return self._found(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []


class Importable(Named):
    """`act=package.module.Class` or `act=torch.sin`. Whether that can be imported is checked later, with all else."""

    group = "act"

    @staticmethod
    def scheme() -> str:
        return "importable"

    def content(self, name: str) -> Any:
        parts = name.split(".")
        return {"_target_": name} if len(parts) > 1 and all(part.isidentifier() for part in parts) else None


class Chosen(Named):
    """`names/act/relu` is `{act: relu}`: the choice made in each group, as a value."""

    group, package = "names", "names"

    @staticmethod
    def scheme() -> str:
        return "chosen"

    def is_group(self, config_path: str) -> bool:
        return config_path.startswith(f"{self.group}/")

    def content(self, name: str) -> Any:
        group, _, choice = name.partition("/")
        return {group: choice} if choice else None


class Studies(Named):
    """`+sweeps=NAME`: the studies in sweeps/, which lies beside conf/. The folder above it as a search path would have
    Hydra take what else lies there, such as the package's room `report`, for groups."""

    group, package = "sweeps", "_global_"

    @staticmethod
    def scheme() -> str:
        return "studies"

    def content(self, name: str) -> Any:
        return OmegaConf.load(REPOSITORY / "sweeps" / f"{name}.yaml") if name in self.list(self.group, None) else None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path != self.group or results_filter == ObjectType.GROUP:
            return []
        return sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml"))


class SearchPath(SearchPathPlugin):
    """Of this project's own commands; Hydra asks every plugin that is installed, for every program. A plugin and not
    `hydra.searchpath` in conf/config.yaml, which a person's own `hydra.searchpath=[…]` would replace."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(str(each.path).removeprefix("file://") == CONF for each in search_path.get_path()):
            for folder in FOLDERS:
                search_path.append("actsweep", folder)
