"""How inputs and outputs of each activation function, and the weights' gradients, are distributed.

Counted on the device into equal bins between minimum and maximum.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as L
import torch
from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, check_counts, receives, receiving
from actsweep.diagnostics.observation import Layer, double
from actsweep.errors import UserError

CountsAndEdges = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Histogram:
    """Counts (K, bins) of K sets of values between low (K,) and high (K,); values that are not finite are left out."""

    counts: Tensor
    low: Tensor
    high: Tensor

    def networks(self) -> list[CountsAndEdges]:
        """Those of each network, in one transfer from the device."""
        ends = torch.stack((self.low, self.high), dim=1)
        numbers = torch.cat((double(self.counts), double(ends)), dim=1).cpu().numpy()
        # Each by itself: what linspace gives in the last bits depends on what else it is given.
        return [(row[:-2], np.linspace(row[-2], row[-1], len(row) - 1)) for row in numbers]


def histogram(values: Tensor, bins: int) -> Histogram:
    """Histogram of each network's values, (K, …) → K histograms, in torch.histc's own arithmetic, in half its time.

    On a CPU a network at a time, whose numbers then stay in its cache; a GPU would be waited for.
    """
    each = values.flatten(1)
    if each.is_cuda or not each.sum(dim=1).isfinite().all():
        return count_together(each, bins)
    low, high = each.amin(dim=1), each.amax(dim=1)
    places = [_places(*of, bins).int().clamp_(0, bins - 1) for of in zip(each, *_range(low, high), strict=True)]
    counts = torch.stack([torch.bincount(place, minlength=bins) for place in places])
    return Histogram(counts.float(), low, high)


def _range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where the bins begin, and how far they reach: somewhere, where all values are equal."""
    first, last, is_one = low.float(), high.float(), (low == high).float()
    return first - is_one, last + is_one - (first - is_one)


def _places(values: Tensor, first: Tensor, size: Tensor, bins: int) -> Tensor:
    """In which bin each value is; cut to a whole number."""
    return (values.float() - first).mul_(bins).div_(size)


def count_together(values: Tensor, bins: int) -> Histogram:
    """All networks in the same few operations; nothing leaves the device."""
    each = values.flatten(1)
    finite = each.isfinite()
    some = finite.any(dim=1)
    low = torch.where(finite, each, torch.inf).amin(dim=1).where(some, 0)
    high = torch.where(finite, each, -torch.inf).amax(dim=1).where(some, 0)
    place = _places(each, *_range(low[:, None], high[:, None]), bins)
    place = place.where(finite, bins).clamp_(0, bins).long()
    place = place.where((place < bins) | ~finite, bins - 1)  # the upper end belongs to the last bin
    counts = torch.zeros(len(each), bins + 1, device=each.device, dtype=torch.int32)
    counts.scatter_add_(1, place, torch.ones_like(place, dtype=torch.int32))
    return Histogram(counts[:, :bins].float(), low, high)


class ActivationHistogram(Diagnostic):
    """Histograms over probe images and units (or weights), per layer."""

    quantities = (
        Quantity("pre_activation", "1", "linear", "inputs of the activation function; logits last", "histogram"),
        Quantity("post_activation", "1", "linear", "outputs of the activation function", "histogram"),
        Quantity("weight_gradient", "nats per unit weight", "linear", "∂L/∂W of the layer's weights", "histogram"),
    )

    def __init__(
        self, bins: int = 64, every_n_epochs: int = 1, every_n_steps: int | None = None, probe_size: int = 1024
    ) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe_size)
        check_counts(self, bins=bins)
        self.bins = bins

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        wandb: Any = sys.modules.get("wandb")
        is_used = wandb and any(_is_wandbs(each, wandb) for each in trainer.loggers)
        if is_used and self.bins > (most := wandb.Histogram.MAX_LENGTH):
            raise UserError(f"ActivationHistogram.bins={self.bins}: Weights & Biases takes up to {most}")

    def record(self, trainer: L.Trainer, layers: list[Layer], epoch: int, step: int | None = None) -> None:
        if trainer.is_global_zero:
            sent = [send_histograms(trainer, found, epoch, step) for found in self.by_network(layers)]
            if not all(sent):
                self.say_once("nothing is written: no logger takes histograms, as TensorBoard's does")

    def by_network(self, layers: Sequence[Layer]) -> list[dict[str, CountsAndEdges]]:
        """Each network's histograms by `quantity/layer`."""
        found = {}
        for layer in layers:
            sources = {"pre_activation": layer.pre, "post_activation": layer.post, "weight_gradient": layer.gradient}
            for quantity, values in sources.items():
                if (real := self.real(values, tag := f"{quantity}/{layer.name}")) is not None:
                    found[tag] = histogram(real, self.bins)
        rows = zip(*(each.networks() for each in found.values()), strict=True)
        return [dict(zip(found, row, strict=True)) for row in rows]


def _is_wandbs(logger: object, wandb: Any) -> bool:
    return isinstance(getattr(logger, "experiment", None), wandb.Run)


def send_histograms(trainer: L.Trainer, found: dict[str, CountsAndEdges], epoch: int, step: int | None = None) -> bool:
    """Send one network's histograms by `quantity/layer` to those of the trainer's loggers that take them; whether any
    does."""
    step = trainer.global_step if step is None else step
    takers = receiving(trainer, "log_histograms")
    for log_histograms in takers:
        log_histograms(found, epoch, step)
    is_taken = bool(takers)
    for logger in trainer.loggers:
        if receives(logger, "log_histograms"):
            continue
        experiment = getattr(logger, "experiment", None)
        if callable(add := getattr(experiment, "add_histogram_raw", None)):  # TensorBoard's writer
            for tag, (counts, edges) in found.items():
                add(tag, **raw(counts, edges), global_step=step)
            is_taken = True
        elif (wandb := sys.modules.get("wandb")) and _is_wandbs(logger, wandb):
            logger.log_metrics({tag: wandb.Histogram(np_histogram=each) for tag, each in found.items()}, step)
            is_taken = True
    return is_taken


def raw(counts: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> dict[str, Any]:
    """A histogram as TensorBoard keeps it; its sums are those of the bins' centres."""
    centres = (edges[1:] + edges[:-1]) / 2
    return {
        "min": edges[0], "max": edges[-1], "num": counts.sum(), "sum": counts @ centres,
        "sum_squares": counts @ centres**2, "bucket_limits": edges[1:].tolist(), "bucket_counts": counts.tolist(),
    }  # fmt: skip
