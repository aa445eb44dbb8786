"""`+sweeps=NAME`: a config source for the studies in sweeps/, which lies beside conf/.

Hydra finds plugins only in the namespace `hydra_plugins`. Put into the search path by search_path.py. The folder above
sweeps/ as a search path would have Hydra take what else lies there, such as the package's room `report`, for groups.
"""

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from actsweep.places import REPOSITORY


class Studies(ConfigSource):
    """The group `sweeps`; its configs are about the whole configuration."""

    @staticmethod
    def scheme() -> str:
        return "studies"

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        config = OmegaConf.load(REPOSITORY / f"{config_path.removesuffix('.yaml')}.yaml")
        return ConfigResult(config=config, path="studies://", provider=self.provider, header={"package": "_global_"})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path == "sweeps"

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return group == "sweeps" and name in self.list(group, None)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path != "sweeps" or results_filter == ObjectType.GROUP:
            return []
        return sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml"))
