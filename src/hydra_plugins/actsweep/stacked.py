"""`hydra/launcher=stacked`: trains jobs of equal shape as one stack of networks (sweep/launcher.py).

Hydra imports every plugin at each start, so what needs torch is imported when a sweep is launched.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StackedLauncher(Launcher):
    """Gets the whole grid at once. Arguments: conf/hydra/launcher/stacked*.yaml."""

    def __init__(
        self,
        max_members: int | None = None,
        devices: Sequence[int] | None = None,
        processes: int | None = None,
        save_every: float = 60,
        engine: Any = None,
    ) -> None:
        self.limits = max_members, devices, processes
        self.save_every, self.engine = save_every, engine

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from actsweep.sweep.launcher import StackedLaunch, check
        from actsweep.training.stack.grouping import Limits

        limits = Limits(*self.limits)
        check(limits, self.save_every)
        self.run = StackedLaunch(hydra_context, task_function, config, limits, self.save_every, self.engine)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.run(job_overrides, initial_job_idx)
