"""The loss and the size of every layer's gradient at every single optimiser step.

For small networks: unlike the other diagnostics it looks at what training itself computes, on the batch at hand. Source
of the magnitude: Stanford CS231n's notebook on vanishing gradients.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from actsweep.diagnostics.bases import Callback
from actsweep.diagnostics.diagnostic import keeps_tables, loss_of, publish_table
from actsweep.diagnostics.gradients import norm_of_rows
from actsweep.diagnostics.observation import weights_of
from actsweep.diagnostics.watch import is_sharded, scale_of


def grad_magnitude(sum_abs: Tensor, fan_out: int, fan_in: int) -> Tensor:
    """CS231n's heuristic: Σ|∂L/∂W| over the layer's weights, divided by the sum of the matrix's two dimensions."""
    return sum_abs / (fan_out + fan_in)


def columns_of(
    rows: Tensor, layers: Mapping[str, Sequence[int]], decays: Tensor, steps: Sequence[int]
) -> dict[str, Iterable[float]]:
    """The columns of steps.csv; `steps`: how many were done before each row's.

    A row is a step's: the loss, Σ|∂L/∂W| of each layer, ‖W‖ of each parameter that decays. `layers`: (out, in) by name.
    """
    penalty = 0.5 * rows[:, 1 + len(layers) :].square().where(decays > 0, 0.0) @ decays
    columns: dict[str, Iterable[float]] = {"step": steps}
    columns |= {"loss": rows[:, 0].tolist(), "penalty": penalty.tolist()}
    for (name, (fan_out, fan_in)), total in zip(layers.items(), rows[:, 1 : 1 + len(layers)].T, strict=True):
        columns[f"grad_mean_abs/{name}"] = (total / (fan_out * fan_in)).tolist()
        columns[f"grad_magnitude/{name}"] = grad_magnitude(total, fan_out, fan_in).tolist()
    return columns


class EveryStep(Callback):
    """Writes steps.csv: loss and penalty before each step, and per layer mean |∂L/∂W| and CS231n's magnitude.

    The loss is the mean over the step's batches, on all devices; where optimisation is manual, the sum of what went
    through `manual_backward` for it, else what `training_step` returned, else not a number. Of an optimiser that
    computes the loss several times in a step, the first. Of several optimisers, layers that another one steps have no
    numbers in a row. What a fit that breaks off has done of its last epoch is written, too. The penalty is the term
    whose gradient weight decay and L2 add, Σ ½ · (weight_decay + l2/examples) · ‖W‖². The gradients are those of the
    loss, without the penalty, before clipping.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []  # the loss, not a number where it isn't known

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._is_kept = not is_sharded(trainer, pl_module) and keeps_tables(trainer, self)
        self._weights = weights_of(pl_module)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        decays = {parameter: group.get("weight_decay", 0.0) for group in groups for parameter in group["params"]}
        self._l2 = _l2(pl_module)
        decayed = [parameter for parameter, decay in decays.items() if decay]
        self._decayed = decayed or (list(self._weights.values()) if self._l2 else [])
        self._decays = torch.tensor([decays[parameter] for parameter in self._decayed], dtype=torch.float64)
        self._steps: list[int] = []
        self._rows = []
        self._backward: list[Tensor] = []  # losses of the step that is being computed
        self._done = -1  # steps before the last row's
        self._before = 0  # rows before the batch
        self._has_rows = False

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._before = len(self._rows)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._backward.append(loss.detach().mean() / scale_of(trainer))

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        losses, self._backward = self._backward, []
        if not self._is_kept or trainer.global_step == self._done:
            return
        self._done = trainer.global_step
        if not self._rows:  # lazy ones are something by now
            self._weights = {name: each for name, each in self._weights.items() if each.ndim >= 2}
        others = _parameters(trainer.optimizers) - _parameters([optimizer])
        scale = scale_of(trainer, optimizer)
        sums = [_sum_abs(each, id(each) in others) / scale for each in self._weights.values()]
        norms = [norm_of_rows(_plain(each).reshape(1, -1))[0] for each in self._decayed]
        self._rows.append(torch.stack([_loss(trainer, pl_module, losses), *sums, *norms]))
        self._steps.append(self._done)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Of a loss that went backward behind Lightning's back, take what the training step returned."""
        if not pl_module.automatic_optimization and len(self._rows) == self._before + 1:
            row, loss = self._rows[-1], loss_of(outputs)
            row[0] = row[0] if loss is None else loss.detach().mean().to(row).where(row[0].isnan(), row[0])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._rows:
            self._backward = []
            if self._is_kept and not self._has_rows:
                rank_zero_info("EveryStep writes nothing of this epoch: no step was taken that Lightning knows of")
            return
        self._has_rows = True
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self._rows:
            self._write(trainer, pl_module)
        self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._weights, self._decayed = {}, []  # a copy or a file of this callback would hold the module's

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows, steps = torch.stack(self._rows).cpu().double(), self._steps
        self._rows, self._steps = [], []
        layers = {name: weight.flatten(1).shape for name, weight in self._weights.items()}
        decays = self._decays + (self._l2 and self._l2 / float(pl_module.examples))  # type: ignore[arg-type]
        if trainer.is_global_zero:
            publish_table(trainer, "steps", columns_of(rows, layers, decays, steps))


def _parameters(optimizers: Iterable[Optimizer]) -> set[int]:
    return {id(each) for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}


def _sum_abs(weight: Tensor, is_anothers: bool) -> Tensor:
    """Σ|∂L/∂W|. What another optimiser's weights hold is of an earlier step, or of another loss."""
    if is_anothers:
        return torch.full((), torch.nan, device=weight.device)
    # Behind an activation without a gradient there is none.
    return _plain(torch.zeros_like(weight) if weight.grad is None else weight.grad).abs().sum()


def _loss(trainer: L.Trainer, module: L.LightningModule, losses: Sequence[Tensor]) -> Tensor:
    """Of a step: Lightning has divided its batches' losses by how many were to be accumulated. The mean over devices,
    where each of them is known to take the step."""
    if not losses:
        return torch.full((), torch.nan, device=module.device)
    total = torch.stack(list(losses)).sum()
    if not module.automatic_optimization:
        return total
    mean = trainer.strategy.reduce(total, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean * (trainer.accumulate_grad_batches / len(losses))


def _l2(module: L.LightningModule) -> float:
    """This project's Classifier's; others mean something else by these names, such as their second layer."""
    l2 = getattr(module, "l2", None)
    return l2 if isinstance(l2, float) and isinstance(getattr(module, "examples", None), int) else 0.0


def _plain(values: Tensor) -> Tensor:
    """Numbers whose sum is in range: of halves float32, of a sparse gradient those that it has."""
    each = values.coalesce().values() if values.is_sparse else values
    return each.float() if each.dtype.itemsize <= 2 else each
