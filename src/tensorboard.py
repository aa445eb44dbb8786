"""TensorBoard's view of a run: Lightning's own logger, and histograms that are counted already.

Flow: diagnostics → **results**. Events lie in the run folder itself, so that TensorBoard shows the run's name.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pytorch_lightning.loggers import TensorBoardLogger


class TensorBoard(TensorBoardLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass  # the configuration is in .hydra/ and result.json

    def save(self) -> None:
        self.experiment.flush()

    def log_histogram(
        self, tag: str, counts: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], epoch: int, step: int
    ) -> None:
        """Add counts as they are; SummaryWriter.add_histogram would copy and count every value again."""
        centres = (edges[1:] + edges[:-1]) / 2
        self.experiment.add_histogram_raw(
            tag,
            min=edges[0],
            max=edges[-1],
            num=int(counts.sum()),
            sum=float(counts @ centres),
            sum_squares=float(counts @ centres**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )
