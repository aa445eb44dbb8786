"""TensorBoard's view of a run: Lightning's own logger, and histograms that are counted already.

Flow: diagnostics → **results**. Events lie in the run folder itself, so that TensorBoard shows the run's name.
"""

import json
import secrets
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from actsweep.diagnostics.diagnostic import Quantity
from actsweep.results import ownership
from actsweep.results.rank import zero_only
from actsweep.results.tables import Numbers

SHOWN = ("names.act", "hidden_sizes", "names.init", "norm", "names.data", "names.optim", "optim.lr", "seed")


def _at(settings: dict[str, Any], key: str) -> str | float | int:
    value: Any = settings
    for part in key.split("."):
        value = value[part]
    return value if isinstance(value, str | float | int) else "-".join(map(str, value))


class TensorBoard(TensorBoardLogger):
    """Scalars by quantity, all layers of a run on one custom-scalar chart, histograms, the configuration as text, and
    the settings with the test's metrics as hyper-parameters."""

    def __init__(self, folder: Path, settings: dict[str, Any], quantities: Iterable[Quantity], steps: int = 0) -> None:
        # Of a resumed run TensorBoard hides what it recorded after those steps.
        purge = steps + 1 if steps else None
        suffix = f".{secrets.token_hex(8)}"  # of the file's name, the rest of which TensorBoard chooses
        super().__init__(folder, name="", version="", default_hp_metric=False, purge_step=purge, filename_suffix=suffix)
        zero_only(ownership.record)(folder, f"events.out.tfevents.*{suffix}")
        self.settings = settings
        self.charted = [quantity.name for quantity in quantities if quantity.kind == "scalar"]

    @zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """At the start: Lightning's own parameters say less than the settings."""
        text = json.dumps(self.settings, indent=2, ensure_ascii=False)
        self.experiment.add_text("configuration", "\n".join(f"    {line}" for line in text.splitlines()))
        charts = {name: {name: ["Multiline", [f"{name}/layer_\\d+"]]} for name in self.charted}
        if charts:
            self.experiment.add_custom_scalars(charts)

    @zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        if tested := {name: value for name, value in metrics.items() if name.startswith("test_")}:
            chosen = {key.removeprefix("names."): _at(self.settings, key) for key in SHOWN}
            for summary in hparams(chosen, tested):
                self._send(summary)

    @zero_only
    def log_layers(self, metrics: Mapping[str, float], epoch: int, step: int) -> None:
        """All in one event: an event each would take most of the time that diagnostics do."""
        self._send(Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]), step)

    @zero_only
    def log_image(self, tag: str, pixels: Tensor) -> None:
        """(height, width), values in [0, 1]."""
        self.experiment.add_image(tag, pixels, dataformats="HW")

    @zero_only
    def save(self) -> None:
        self.experiment.flush()

    @zero_only
    def log_histograms(self, found: Mapping[str, tuple[Numbers, Numbers]], epoch: int, step: int) -> None:
        """Add counts as they are; SummaryWriter.add_histogram would copy and count every value again."""
        self._send(Summary(value=[Summary.Value(tag=tag, histo=_histogram(*of)) for tag, of in found.items()]), step)

    def _send(self, summary: Summary, step: int | None = None) -> None:
        self.experiment.add_scalars("", {})  # none: opens a file, if the end of training has closed it
        self.experiment.file_writer.add_summary(summary, step)


def _histogram(counts: Numbers, edges: Numbers) -> HistogramProto:
    centres = (edges[1:] + edges[:-1]) / 2
    return HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=counts.sum(),
        sum=counts @ centres,
        sum_squares=counts @ centres**2,
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )
