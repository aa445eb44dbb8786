"""The loss and the size of every layer's gradient at every single optimiser step.

For small networks: unlike the other diagnostics it looks at what training itself computes, on the batch at hand. Source
of the magnitude: Stanford CS231n's notebook on vanishing gradients.
"""

from collections.abc import Iterable, Mapping, Sequence

import pytorch_lightning as L
import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.optim import Optimizer

from actsweep.diagnostics.diagnostic import publish_table
from actsweep.diagnostics.layers import weights_of


def grad_magnitude(sum_abs: Tensor, fan_out: int, fan_in: int) -> Tensor:
    """CS231n's heuristic: Σ|∂L/∂W| over the layer's weights, divided by the sum of the matrix's two dimensions."""
    return sum_abs / (fan_out + fan_in)


def columns_of(
    rows: Tensor, layers: Mapping[str, Sequence[int]], decays: Tensor, steps: int
) -> dict[str, Iterable[float]]:
    """The columns of steps.csv, up to so many steps. A row is a step's: the loss, Σ|∂L/∂W| of each layer, ‖W‖ of each
    parameter that decays. `layers`: (out, in) by name."""
    penalty = 0.5 * rows[:, 1 + len(layers) :].square() @ decays
    columns: dict[str, Iterable[float]] = {"step": range(steps - len(rows), steps)}
    columns |= {"loss": rows[:, 0].tolist(), "penalty": penalty.tolist()}
    for (name, (fan_out, fan_in)), total in zip(layers.items(), rows[:, 1 : 1 + len(layers)].T, strict=True):
        columns[f"grad_mean_abs/{name}"] = (total / (fan_out * fan_in)).tolist()
        columns[f"grad_magnitude/{name}"] = grad_magnitude(total, fan_out, fan_in).tolist()
    return columns


class EveryStep(L.Callback):
    """Writes steps.csv: loss and penalty before each step, and per layer mean |∂L/∂W| and CS231n's magnitude.

    The penalty is the term whose gradient weight decay and L2 add, Σ ½ · (weight_decay + l2/examples) · ‖W‖². The
    gradients are those of the loss, without the penalty, before clipping.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._loss = torch.zeros(())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        weights = weights_of(pl_module)
        self._names, self._weights = list(weights), list(weights.values())
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        decays = {parameter: group.get("weight_decay", 0.0) for group in groups for parameter in group["params"]}
        self._l2 = float(getattr(pl_module, "l2", 0.0))  # of this project's Classifier
        decayed = [parameter for parameter, decay in decays.items() if decay]
        self._decayed = decayed or (self._weights if self._l2 else [])
        self._decays = torch.tensor([decays[parameter] for parameter in self._decayed], dtype=torch.float64)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        # Behind an activation without a gradient there is none.
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._weights]
        sums = [vector_norm(each, 1) for each in gradients]
        norms = map(vector_norm, self._decayed)
        self._rows.append(torch.stack([self._loss, *sums, *norms]))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._rows or not trainer.is_global_zero:
            return
        rows = torch.stack(self._rows).double().cpu()
        layers = {name: weight.flatten(1).shape for name, weight in zip(self._names, self._weights, strict=True)}
        decays = self._decays + (self._l2 and self._l2 / float(pl_module.examples))  # type: ignore[arg-type]
        publish_table(trainer, "steps", columns_of(rows, layers, decays, trainer.global_step))
        self._rows = []
