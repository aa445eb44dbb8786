"""`hydra/sweeper=grid`, the default: Hydra's `basic`, with a launcher that composes quickly (sweep/composing.py).

Hydra imports every plugin at each start, so what needs torch is imported when a sweep begins.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GridSweeper(Sweeper):
    """Every combination of the values. Arguments: conf/hydra/sweeper/grid.yaml."""

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        self.max_batch_size = max_batch_size  # `params` are read with the command line's overrides

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from actsweep.sweep.composing import composing

        self.master, self.loader = config, hydra_context.config_loader
        quick = HydraContext(composing(self.loader), hydra_context.callbacks)  # type: ignore[arg-type]
        plugins = Plugins.instance()
        self.launch = plugins.instantiate_launcher(quick, task_function, config).launch

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        from actsweep.sweep.search import grid

        jobs, folder = grid(self.master, self.loader), Path(self.master.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.master, folder / "multirun.yaml")
        size, returns = self.max_batch_size or len(jobs), []
        for first in range(0, len(jobs), size):
            returns.append(self.launch(jobs[first : first + size], initial_job_idx=first))
            for returned in returns[-1]:
                _ = returned.return_value  # raises what the job has raised
        return returns
