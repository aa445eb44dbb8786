"""TensorBoard's view of a run: scalars, histograms that are counted already, text, images, hyper-parameters.

Flow: diagnostics → **results**. Events lie in the run folder itself, so that TensorBoard shows the run's name.
"""

import json
import os
import secrets
import socket
import struct
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
from pytorch_lightning.loggers.logger import Logger
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from torch import Tensor
from torch.utils.tensorboard.summary import custom_scalars, hparams, image, text

from actsweep.config.descriptions import flat
from actsweep.diagnostics.diagnostic import Quantity, Receiver
from actsweep.results import ownership
from actsweep.results.rank import zero_only
from actsweep.results.tables import Numbers

SHOWN = ("names.act", "hidden_sizes", "names.init", "norm", "names.data", "names.optim", "optim.lr", "seed")
MASK = 0xA282EAD8


def _framed(event: Event) -> bytes:
    """As TFRecord files hold it: the length, the content, behind each its masked checksum."""
    content = event.SerializeToString()
    parts = [(part, google_crc32c.value(part)) for part in (struct.pack("<Q", len(content)), content)]
    return b"".join(part + struct.pack("<I", (crc >> 15 | crc << 17) + MASK & 0xFFFFFFFF) for part, crc in parts)


class TensorBoard(Receiver, Logger):
    """Scalars by quantity, all layers of a run on one custom-scalar chart, histograms, the configuration as text, and
    the settings with the test's metrics as hyper-parameters. Events are appended to the file when they are saved, and
    no file stays open. `clock`: when it is now."""

    name, version = "tensorboard", ""

    def __init__(
        self, folder: Path, settings: dict[str, Any], quantities: Iterable[Quantity], steps: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        super().__init__()
        names = "events.out.tfevents", str(int(clock())), socket.gethostname(), str(os.getpid()), secrets.token_hex(8)
        self.path, self.clock, self.settings = folder / ".".join(names), clock, settings
        zero_only(ownership.record)(folder, self.path.name)
        self.charted = [quantity.name for quantity in quantities if quantity.kind == "scalar"]
        self.events = [Event(wall_time=clock(), file_version="brain.Event:2")]
        if steps:  # of a resumed run TensorBoard hides what it recorded after those steps
            start = SessionLog(status=SessionLog.START)
            self.events.append(Event(wall_time=clock(), step=steps + 1, session_log=start))

    @zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """At the start: Lightning's own parameters say less than the settings."""
        configuration = json.dumps(self.settings, indent=2, ensure_ascii=False)
        self._send(text("configuration", "\n".join(f"    {line}" for line in configuration.splitlines())))
        if charts := {name: {name: ["Multiline", [f"{name}/layer_\\d+"]]} for name in self.charted}:
            self._send(custom_scalars(charts))

    @zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._send_scalars(metrics, step)
        if tested := {name: value for name, value in metrics.items() if name.startswith("test_")}:
            said = flat(self.settings) | {"hidden_sizes": "-".join(map(str, self.settings["hidden_sizes"]))}
            for summary in hparams({key.removeprefix("names."): said[key] for key in SHOWN}, tested):
                self._send(summary)

    @zero_only
    def log_layers(self, metrics: Mapping[str, float], epoch: int, step: int) -> None:
        self._send_scalars(metrics, step)

    @zero_only
    def log_image(self, tag: str, pixels: Tensor) -> None:
        """(height, width), values in [0, 1]."""
        self._send(image(tag, pixels, dataformats="HW"))

    @zero_only
    def log_histograms(self, found: Mapping[str, tuple[Numbers, Numbers]], epoch: int, step: int) -> None:
        """Add counts as they are; SummaryWriter.add_histogram would copy and count every value again."""
        self._send(Summary(value=[Summary.Value(tag=tag, histo=_histogram(*of)) for tag, of in found.items()]), step)

    @zero_only
    def save(self) -> None:
        if not self.events:
            return
        with self.path.open("ab") as file:
            file.write(b"".join(map(_framed, self.events)))
        ownership.adopt(self.path.parent, self.path.name)  # again: someone may have removed the folder since
        self.events.clear()

    def finalize(self, status: str) -> None:
        self.save()

    def _send_scalars(self, metrics: Mapping[str, float], step: int | None) -> None:
        """All of a step in one event: an event each would take most of the time that diagnostics do."""
        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in metrics.items()]
        last = self.events[-1] if self.events else Event()
        if last.step == step and last.summary.value and last.summary.value[0].HasField("simple_value"):
            last.summary.value.extend(values)
        else:
            self._send(Summary(value=values), step)

    def _send(self, summary: Summary, step: int | None = None) -> None:
        self.events.append(Event(wall_time=self.clock(), step=step or 0, summary=summary))


def _histogram(counts: Numbers, edges: Numbers) -> HistogramProto:
    centres = (edges[1:] + edges[:-1]) / 2
    known = {"min": edges[0], "max": edges[-1], "sum": counts @ centres, "sum_squares": counts @ centres**2}
    return HistogramProto(num=counts.sum(), bucket_limit=edges[1:].tolist(), bucket=counts.tolist(), **known)
