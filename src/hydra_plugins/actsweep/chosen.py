"""`names/act: ${act}`: a config source whose configs say which choice was made in a group, as `names.act` then does.

Hydra finds plugins only in the namespace `hydra_plugins`. Hydra itself tells choices only to programs that it starts:
this way they stand in what `hydra.compose` gives, in a notebook too. Put into the search path by search_path.py.
"""

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf


class Chosen(ConfigSource):
    """Configs that exist by being named: `names/act/relu` is `{act: relu}`."""

    @staticmethod
    def scheme() -> str:
        return "chosen"

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        _, group, choice = config_path.removesuffix(".yaml").split("/", 2)
        config = OmegaConf.create({group: choice})
        return ConfigResult(config=config, path="chosen://", provider=self.provider, header={"package": "names"})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.startswith("names/")

    def is_config(self, config_path: str) -> bool:
        return config_path.startswith("names/") and config_path.count("/") > 1

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []
