"""`act=package.module.Class` or `act=torch.sin`: a config source that answers for any dotted path in the group `act`.

Hydra finds plugins only in the namespace `hydra_plugins`. Put into the search path by search_path.py, this source
stands behind conf/act/, so that names of files there win. Whether a class or a function can be imported is checked
later, with everything else (config/schema.py).
"""

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf


class Importable(ConfigSource):
    """Configs that exist by being named: `act/torch.nn.Hardshrink` is `{_target_: torch.nn.Hardshrink}`."""

    @staticmethod
    def scheme() -> str:
        return "importable"

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        config = OmegaConf.create({"_target_": self._dotted_path(config_path)})
        return ConfigResult(config=config, path="importable://", provider=self.provider, header={"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path == "act"

    def is_config(self, config_path: str) -> bool:
        dotted = self._dotted_path(config_path)
        return (
            config_path.startswith("act/") and "." in dotted and all(part.isidentifier() for part in dotted.split("."))
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    @staticmethod
    def _dotted_path(config_path: str) -> str:
        return config_path.removeprefix("act/").removesuffix(".yaml")
