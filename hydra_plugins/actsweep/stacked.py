"""`hydra/launcher=stacked`: trains jobs of equal shape as one stack of networks (src/population/launcher.py).

Hydra imports every plugin at each start, so what needs torch is imported when a sweep is launched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class Stacked:
    """max_members: most networks in one stack; null: as many as fit into memory. devices: CUDA devices to use; null:
    the first one, or the CPU."""

    _target_: str = "hydra_plugins.actsweep.stacked.StackedLauncher"
    max_members: Any = None
    devices: Any = None


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=Stacked, provider="actsweep")


class StackedLauncher(Launcher):  # type: ignore[misc]
    """Gets the whole grid at once."""

    def __init__(self, max_members: int | None = None, devices: Sequence[int] | None = None) -> None:
        self.max_members, self.devices = max_members, devices

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from src.population.launcher import Launch, check

        check(self.max_members, self.devices)
        self.run = Launch(hydra_context, task_function, config, self.max_members, self.devices)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.run(job_overrides, initial_job_idx)
