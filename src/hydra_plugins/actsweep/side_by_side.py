"""`hydra/launcher=side_by_side`: runs in processes beside each other, a core each (sweep/side_by_side.py).

Hydra imports every plugin at each start, so what needs torch or joblib is imported when a sweep is launched.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SideBySideLauncher(Launcher):
    """Gets the whole grid at once. Arguments: conf/hydra/launcher/side_by_side.yaml."""

    def __init__(self, n_jobs: int | None = None, threads: int | None = None) -> None:
        self.n_jobs, self.threads = n_jobs, threads

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        try:
            import joblib  # noqa: F401
        except ImportError as error:
            from actsweep.errors import UserError

            raise UserError("hydra/launcher=side_by_side needs joblib: pip install 'actsweep[joblib]'") from error
        from actsweep.sweep.side_by_side import SideBySideLaunch, check

        check(self.n_jobs, self.threads)
        self.run = SideBySideLaunch(hydra_context, task_function, config, self.n_jobs, self.threads)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.run(job_overrides, initial_job_idx)
