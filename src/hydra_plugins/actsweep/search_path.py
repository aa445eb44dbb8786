"""What Hydra searches besides conf/, for this project's own commands: the three sources here.

A plugin and not `hydra.searchpath` in conf/config.yaml, which a person's own `hydra.searchpath=[…]` would replace.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from actsweep.places import REPOSITORY

CONF = str(REPOSITORY / "conf")
FOLDERS = ("studies://", "importable://", "chosen://")  # sweeps/NAME.yaml, act=package.Class, names/act


class SearchPath(SearchPathPlugin):
    """Hydra asks every plugin that is installed, for every program."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if any(str(each.path).removeprefix("file://") == CONF for each in search_path.get_path()):
            for folder in FOLDERS:
                search_path.append("actsweep", folder)
