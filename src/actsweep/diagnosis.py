"""`Diagnosis()`: the report's findings at the end of any Lightning fit, from what the other callbacks measured.

Flow: diagnostics → statistics/findings → **diagnosis** → log, TensorBoard. Imports pandas and SciPy when a fit ends.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from actsweep.diagnostics.bases import Callback
from actsweep.diagnostics.diagnostic import Receiver, loss_of

if TYPE_CHECKING:  # whoever watches a module needs neither pandas nor SciPy
    from actsweep.statistics.findings import Finding
    from actsweep.statistics.findings.seen import Tables

NOTHING = "no rule found anything in what the callbacks measured"


class Diagnosis(Receiver, Callback):
    """Says at the end of a fit what is wrong, how that is known and what to do: in the log, as text in TensorBoard,
    and as `findings`, worst first.

    It measures nothing itself: rules see what the diagnostics beside it send to the loggers, such as GradientNorm() and
    UpdateRatio(); the mean of the training steps' losses in each epoch; and what the module logs as val_loss and the
    like. A rule that lacks its numbers says nothing.
    """

    def __init__(self) -> None:
        self.findings: tuple[Finding, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._layers: list[tuple[int, int, str, str, float]] = []  # epoch, step, layer, quantity, value
        self._epochs: list[dict[str, float]] = []
        self._ended: dict[str, float] = {}  # of an epoch that has ended, before its metrics
        self._metrics: dict[str, Tensor] = {}  # as they were then
        self._losses: list[Tensor] = []
        self._last = math.nan  # of those of an epoch that has ended
        self._first = math.nan  # of the untrained network
        self._has_begun = False  # before this fit, which resumes
        self._rate = 0.0

    def log_layers(self, metrics: dict[str, float], epoch: int, step: int) -> None:
        """Values by `quantity/layer`, from the diagnostics."""
        for tag, value in metrics.items():
            quantity, _, layer = tag.partition("/")
            self._layers.append((max(epoch, int(self._has_begun)), step, layer, quantity, value))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._has_begun = trainer.global_step > 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the largest learning rate of the first group: a schedule's last says little of what was set."""
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        rate = groups[0].get("lr", 0.0) if groups else 0.0
        if batch_idx == 0 or not isinstance(rate, Tensor):  # on a GPU it would be waited for at each step
            self._rate = max(self._rate, float(rate or 0.0))  # Adafactor's may be None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        if (loss := loss_of(outputs)) is not None:
            divided_by = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1  # by Lightning
            self._losses.append(loss.detach().mean() * divided_by)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        mean = {"train_loss": float(torch.stack(self._losses).mean())} if self._losses else {}
        self._ended = mean | {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self._last = float(self._losses[-1]) if len(self._losses) > 1 else math.nan
        if self._losses and not self._has_begun and not self._epochs:
            self._first = float(self._losses[0])
        self._losses = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the ended epoch's losses and metrics, those of its validation too: after it, as the module's own hook at
        its end logs too. Not those that are left of an earlier one."""
        if not self._ended:
            return
        metrics = dict(trainer.callback_metrics)
        logged = {name: float(value) for name, value in metrics.items() if value is not self._metrics.get(name)}
        if math.isclose(logged.get("train_loss", math.nan), self._last, rel_tol=1e-5):
            del logged["train_loss"]  # logged at each step, so that it is the last one's
        place = {name: self._ended[name] for name in ("epoch", "step")}
        self._epochs.append(self._ended | logged | place)
        self._ended, self._metrics = {}, metrics

    on_train_end = on_train_epoch_start

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
        if self._epochs or self._layers:
            self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        from actsweep.report.findings import entries
        from actsweep.statistics.findings import find
        from actsweep.statistics.setting import Setting

        run, tables = self._run(trainer, pl_module), self._tables()
        setting = Setting({"act": run["act"]}, **{run["status"]: (run,)})  # type: ignore[arg-type]
        self.findings = find([setting], lambda run: tables)
        lines = [line for each in entries(self.findings) for line in each.lines] or [f"{run['act']}: {NOTHING}"]
        for line in lines:
            rank_zero_info(f"finding: {line}")
        for logger in trainer.loggers:
            add_text = getattr(getattr(logger, "experiment", None), "add_text", None)
            if callable(add_text):  # TensorBoard's writer, whichever package's logger has it
                add_text("findings", "\n".join(f"- {line}" for line in lines), trainer.global_step)

    def _run(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        """What a result.json would hold, as far as a trainer knows it."""
        kind = "val_loss" if any("val_loss" in row for row in self._epochs) else "train_loss"
        losses = {row["epoch"]: row[kind] for row in self._epochs if kind in row}  # not each epoch has a validation
        finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
        is_finite = not losses or next(reversed(losses)) in finite
        stops, epochs = trainer.early_stopping_callback, int(self._epochs[-1]["epoch"]) if self._epochs else 0
        has_ended = stops and (stops.wait_count >= stops.patience or epochs == trainer.max_epochs)
        config = {
            "trainer": {"max_epochs": trainer.max_epochs},
            "patience": stops.patience if stops and has_ended else None,  # which ends no fit that is interrupted
            "optim": {"lr": self._rate or None},
        }
        return {
            "name": type(module).__name__,
            "act": type(module).__name__,
            "folder": "",
            "seed": 0,
            "status": "completed" if is_finite else "diverged",
            "epochs": epochs,
            "first_loss": self._first,
            "best_epoch": min(finite, key=finite.__getitem__) if finite else None,
            "config": config,
        }

    def _tables(self) -> "Tables":
        import pandas as pd

        from actsweep.results.folders import measured
        from actsweep.statistics.findings.seen import Tables

        epochs = pd.DataFrame(self._epochs)
        shares = epochs.filter(["train_accuracy", "val_accuracy"])
        if (shares > 1).any(axis=None):  # percentages
            epochs[shares.columns] = shares / 100
        names = list(dict.fromkeys(layer for _, _, layer, _, _ in self._layers))  # in the network's order
        layers = pd.DataFrame(self._layers, columns=["epoch", "step", "layer", "quantity", "value"])
        layers["layer"] = layers["layer"].map({name: str(place) for place, name in enumerate(names)})
        found = measured(layers.astype({"layer": "category", "quantity": "category"})) if names else {}
        named = {
            quantity: replace(part, layers=tuple(names[int(place)] for place in part.layers))
            for quantity, part in found.items()
        }
        return Tables(epochs.set_index("epoch") if len(epochs) else epochs, named)
