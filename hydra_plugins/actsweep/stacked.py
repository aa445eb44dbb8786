"""`hydra/launcher=stacked`: trains jobs of equal shape as one stack of networks (src/population/launcher.py).

Hydra imports every plugin at each start, so what needs torch is imported when a sweep is launched.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackedLauncher(Launcher):  # type: ignore[misc]
    """Gets the whole grid at once. Arguments: conf/hydra/launcher/stacked.yaml."""

    def __init__(
        self, max_members: int | None = None, devices: Sequence[int] | None = None, save_every: float = 60
    ) -> None:
        self.max_members, self.devices, self.save_every = max_members, devices, save_every

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from src.population.launcher import Launch, check

        check(self.max_members, self.devices, self.save_every)
        self.run = Launch(hydra_context, task_function, config, self.max_members, self.devices, self.save_every)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.run(job_overrides, initial_job_idx)
