"""`hydra/launcher=sweep`, the default: a grid in units, worked off by an executor (sweep/launcher.py).

Hydra imports every plugin at each start, so what needs torch is imported when a sweep is launched.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Gets the whole grid at once. Arguments: conf/hydra/launcher/sweep.yaml; `engine`: stacked_slurm.yaml."""

    def __init__(self, engine: Any = None, **limits: Any) -> None:
        self.engine, self.limits = engine, limits
        self.run: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from actsweep.sweep.search import Limits

        self.given = hydra_context, task_function, config, Limits.asked(self.limits, bool(self.engine)), self.engine

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from actsweep.sweep.launcher import SweepLaunch

        self.run = self.run or SweepLaunch(*self.given)
        return self.run(job_overrides, initial_job_idx)
