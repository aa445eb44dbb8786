"""What a stack measures, kept as whole arrays until the members' files are written: when one ends, when a save is due.

Flow: training → diagnostics → **results**. A member's loggers get its rows in the order in which they were recorded,
with the time at which that was, and so leave what a lone run's leave.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actsweep.diagnostics.diagnostic import publish_table, send_layers
from actsweep.diagnostics.histograms import Histogram, send_histograms
from actsweep.training.stack.member import Member, Record

Array = npt.NDArray[Any]
MOST_BYTES = 2**26


class Records:
    """Gives each of the stack's `members` what is recorded of it; `bytes`: since their files were written last.

    `epoch`: completed ones, or as loggers count them; `step`: optimiser steps so far.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self.bytes = members, 0

    def _keep(self, send: Callable[..., None], epoch: int, step: int, *arrays: Array) -> None:
        """`send`: is called with a member, the epoch, and the member's part of the arrays."""
        now = time.time()
        for member, *own in zip(self.members, *arrays, strict=True):
            if not member.ended:
                member.records.append(Record(partial(send, member, epoch, *own), epoch, step, now))
        self.bytes += sum(array.nbytes for array in arrays)

    def metrics(self, names: Sequence[str], values: Array, epoch: int, step: int) -> None:
        """What a LightningModule would log: (K, names), in float32 as Lightning does."""
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float32).astype(np.float64)
        self._keep(lambda member, _, row: member.log(dict(zip(names, row.tolist(), strict=True))), epoch, step, rounded)

    def layers(self, measured: Mapping[str, Mapping[str, Tensor]], epoch: int, step: int) -> None:
        """Layer → quantity → (K,) values: one transfer from the device."""
        names = [f"{quantity}/{layer}" for layer, values in measured.items() for quantity in values]
        values = [each.detach().double() for quantities in measured.values() for each in quantities.values()]
        if not names:
            return

        def send(member: Any, of: int, row: Array) -> None:
            send_layers(member, dict(zip(names, row.tolist(), strict=True)), of)

        self._keep(send, epoch, step, torch.stack(values, dim=1).cpu().numpy())

    def histograms(self, found: Mapping[str, Histogram], epoch: int, step: int) -> None:
        """Histograms of all members by `quantity/layer`."""
        if not found:
            return
        counts = torch.stack([each.counts for each in found.values()], dim=1).to(torch.int32).cpu().numpy()
        ends = torch.stack([torch.stack((each.low, each.high), dim=1) for each in found.values()], dim=1)

        def send(member: Any, of: int, counts: Array, ends: Array) -> None:
            low, high = ends.T
            edges = np.linspace(low, high, counts.shape[1] + 1, axis=1)
            rows = zip(counts.astype(np.float64), edges, strict=True)
            send_histograms(member, dict(zip(found, rows, strict=True)), of)

        self._keep(send, epoch, step, counts, ends.double().cpu().numpy())

    def table(self, name: str, columns: Callable[..., dict[str, Any]], *tensors: Tensor) -> None:
        """Rows of NAME.csv: `columns` makes them of a member's part of the tensors."""

        def send(member: Any, _: int, *own: Array) -> None:
            publish_table(member, name, columns(*map(torch.from_numpy, own)))

        self._keep(send, 0, 0, *(tensor.numpy() for tensor in tensors))
