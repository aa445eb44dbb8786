"""The mean-field theory's predictions beside what an untrained network does, and by how much they deviate.

Once, before the first step, on the first `probe_size` training examples: σ_w² and σ_b² are those of each layer's own
weights and biases, the inputs' mean square is the probe's. For z of layer l:

    pre_activation_rms  √(mean z² over examples and units)   predicted √q_l, q_{l+1} = σ_w² E[φ(√q_l z)²] + σ_b²
    delta_ratio         ‖∂L/∂z_l‖ / ‖∂L/∂z_{l+1}‖, root mean predicted √χ_l, χ_l = σ_w² E[φ′(√q_l z)²]
                        squares over examples

Sources: Poole et al. 2016; Schoenholz et al. 2017.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pytorch_lightning as L
import torch
from torch import Tensor, nn

from actsweep.data.batches import Batch
from actsweep.diagnostics.diagnostic import Quantity, check_counts, offers_probe, probe_loss, publish
from actsweep.diagnostics.observation import find_taps, recorded, undisturbed
from actsweep.errors import UserError
from actsweep.network.mlp import Tap
from actsweep.theory.critical import of_layer
from actsweep.theory.integrals import Function, describe
from actsweep.theory.meanfield import Layers, layers

Rows = Iterable[tuple[str, dict[str, float]]]  # layer, and what is published of it by quantity
BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
NORMS = nn.LayerNorm | BATCH_NORMS
TOLERATED = 4.0  # standard deviations of a single network of this width
GROUPS = 4  # of examples with similar mean square: their predictions are averaged


def deltas(module: L.LightningModule, batch: object) -> tuple[list[Tap], list[Tensor], list[Tensor]]:
    """The layers, what enters each one's activation, and the loss's gradient there: (N, H) each."""
    taps = find_taps(module)
    with undisturbed(module), recorded(taps) as seen:
        loss = probe_loss(module, batch)
        pre = [seen[tap.name][0] for tap in taps]
        gradients = torch.autograd.grad(loss, pre, materialize_grads=True)
    return taps, [each.detach() for each in pre], list(gradients)


def measured(pre: list[Tensor], gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Root mean squares of z of all layers, and ratios of gradient norms of all but the last."""
    rms = torch.stack([each.double().square().mean().sqrt() for each in pre])
    norms = torch.stack([each.double().norm() for each in gradients])  # doubles: float32 squares underflow
    return rms, norms[:-1] / norms[1:]


class Wide(NamedTuple):
    """What the theory needs to know of a network's layers, the output layer included."""

    act: Function
    weight_variances: tuple[float, ...]  # σ_w²
    bias_variances: tuple[float, ...]
    widths: tuple[int, ...]


def wide(taps: Sequence[Tap]) -> Wide:
    """Of these layers, as their own weights show it.

    Raises UserError where the theory doesn't apply: convolutions, weights that aren't random around 0, activations
    that aren't elementwise.
    """
    first = taps[0].activation
    if first is None or any(tap.activation is None for tap in taps[:-1]):
        raise UserError("the theory is of hidden layers with an activation each")
    if any(tap.linear.weight.ndim != 2 for tap in taps):
        raise UserError("the theory is of linear layers")
    weights, biases = zip(*(of_layer(tap.linear.weight, tap.linear.bias) for tap in taps), strict=True)
    # All layers have the same activation.
    return Wide(describe(first), weights, biases, tuple(tap.linear.weight.shape[0] for tap in taps))


def predicted(taps: Sequence[Tap], inputs: Tensor) -> Layers:
    """The theory for these layers on these inputs (N, D), averaged over groups of examples of similar mean square.

    Raises UserError as `wide` does.
    """
    net = wide(taps)
    squares = inputs.flatten(1).double().square().mean(dim=1).sort().values
    groups = [float(part.mean()) for part in squares.tensor_split(GROUPS) if len(part)]
    return averaged([layers(net.act, q, net.weight_variances, net.bias_variances, net.widths) for q in groups])


def averaged(parts: list[Layers]) -> Layers:
    """Root mean squares over examples, as they are measured. Gradients are weighed equally at the output."""
    q = np.mean([part.q for part in parts], axis=0)
    passed = [part.chi[::-1].cumprod() for part in parts]
    total = np.mean(passed, axis=0)
    with np.errstate(invalid="ignore"):
        chi = np.nan_to_num(total / np.append(1.0, total[:-1]))
    rms_noise = np.stack([each.rms_noise for each in parts]).max(axis=0)
    chi_noise = np.stack([each.chi_noise for each in parts]).max(axis=0)
    return Layers(q, chi[::-1], rms_noise, chi_noise)  # noise of one example: a bound for what is measured on many


def beside(name: str, found: float, expected: float) -> dict[str, float]:
    """What is measured, what is predicted, and the relative error."""
    error = found / expected - 1 if expected else math.nan
    return {name: found, f"{name}_theory": expected, f"{name}_error": error}


class BesideTheory(L.Callback):
    """Before the first step, sends what theory says of the probe, and by how much an untrained network deviates."""

    probe_size: int

    def rows(self, module: L.LightningModule, batch: Batch) -> Rows:
        """What is published. Raises UserError where the theory doesn't apply."""
        raise NotImplementedError

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and trainer.global_step == 0 and offers_probe(trainer, pl_module):
            batch = trainer.datamodule.probe(self.probe_size)  # type: ignore[attr-defined]
            publish(trainer, self.compare(pl_module, batch), epoch=0)

    def compare(self, module: L.LightningModule, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Layer → quantity → (1,) values, the finite ones; empty where the theory doesn't apply."""
        if not find_taps(module) or any(isinstance(each, NORMS) for each in module.modules()):
            return {}
        try:
            rows = dict(self.rows(module, batch))
        except UserError:
            return {}
        return {
            layer: {name: torch.tensor([value]) for name, value in row.items() if math.isfinite(value)}
            for layer, row in rows.items()
        }


class Theory(BesideTheory):
    """Predicted and measured scales of an untrained network. Nothing for networks that the theory is not about."""

    quantities = (
        Quantity("pre_activation_rms", "1", "log", "root mean square of what enters the activation, untrained"),
        Quantity("pre_activation_rms_theory", "1", "log", "√q, predicted for wide layers from the inputs and σ_w, σ_b"),
        Quantity("pre_activation_rms_error", "1", "linear", "pre_activation_rms / pre_activation_rms_theory − 1"),
        Quantity("delta_ratio", "1", "log", "‖∂L/∂z‖ of the layer / that of the layer above, untrained"),
        Quantity("delta_ratio_theory", "1", "log", "√χ, its prediction"),
        Quantity("delta_ratio_error", "1", "linear", "delta_ratio / delta_ratio_theory − 1"),
        Quantity(
            "delta_ratio_noise", "1", "log", "predicted relative standard deviation over networks, at one example"
        ),
        Quantity("theory_deviates", "1", "linear", "1 where an error exceeds 4 standard deviations of so wide a layer"),
    )

    def __init__(self, probe_size: int = 256) -> None:
        check_counts(self, probe_size=probe_size)
        self.probe_size = probe_size

    def rows(self, module: L.LightningModule, batch: Batch) -> Rows:
        """Of each layer; the output layer has no layer above."""
        taps, pre, gradients = deltas(module, batch)
        theory = predicted(taps, batch[0])
        rms, ratios = (values.tolist() for values in measured(pre, gradients))
        for place, tap in enumerate(taps):
            row = beside("pre_activation_rms", rms[place], float(theory.q[place]) ** 0.5)
            deviates = abs(row["pre_activation_rms_error"]) > TOLERATED * theory.rms_noise[place]
            if place < len(ratios):
                noise = float(theory.chi_noise[place])
                row |= beside("delta_ratio", ratios[place], float(theory.chi[place]) ** 0.5)
                row["delta_ratio_noise"] = noise
                deviates = deviates or abs(row["delta_ratio_error"]) > TOLERATED * noise
            yield tap.name, row | {"theory_deviates": float(deviates)}
