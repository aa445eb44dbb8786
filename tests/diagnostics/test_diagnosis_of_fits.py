"""What `Diagnosis()` takes from a fit: losses and metrics of each epoch, what ended it, what is frozen."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from actsweep.callbacks import ActivationMoments, Diagnosis, GradientNorm, UpdateRatio
from tests.diagnostics.test_diagnosis import INPUTS, LABELS, Mine, stack

RESUMED = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint that ended before"
)
LOADER = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=64)


class Noting(Mine):
    """Notes its losses; `logs`: where it logs them. Its validation loss is what `validated` says."""

    def __init__(self, *layers: nn.Module, rate: float = 0.1, logs: str = "", validated: Any = None) -> None:
        super().__init__(*layers, rate=rate)
        self.logs, self.validated = logs, validated
        self.losses: list[Tensor] = []
        self.means: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        if self.logs == "steps":
            self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        if self.validated:
            self.log("val_loss", self.validated[self.current_epoch])

    def on_train_epoch_end(self) -> None:
        mean = torch.stack(self.losses).mean()
        self.means.append(float(mean))
        self.losses = []
        if self.logs == "epochs":
            self.log("train_loss", mean)


def fitted(
    module: L.LightningModule,
    *callbacks: L.Callback,
    ckpt_path: Path | None = None,
    breaks: bool = False,
    loader: Any = LOADER,
    **arguments: Any,
) -> Any:
    diagnosis = Diagnosis()
    trainer = L.Trainer(**{
        "accelerator": "cpu", "logger": False, "callbacks": [diagnosis, *callbacks], "enable_progress_bar": False,
        "enable_checkpointing": any(isinstance(each, ModelCheckpoint) for each in callbacks), "max_epochs": 4,
        "enable_model_summary": False, "num_sanity_val_steps": 0, **arguments,
    })  # fmt: skip
    with pytest.raises(RuntimeError, match="mine") if breaks else nullcontext():
        trainer.fit(module, loader, LOADER, ckpt_path=ckpt_path)
    diagnosis.run = diagnosis._run(trainer, module)  # type: ignore[attr-defined]
    return diagnosis


@pytest.mark.parametrize("logs", ["", "steps", "epochs"])
def test_an_epochs_training_loss_is_its_mean_wherever_it_is_logged(logs: str) -> None:
    module = Noting(*stack(nn.Tanh, 2), logs=logs)
    found = fitted(module)._epochs
    assert [row["train_loss"] for row in found] == pytest.approx(module.means, rel=1e-5)


def test_a_metric_is_that_of_its_own_epoch_not_what_is_left_of_an_earlier_one() -> None:
    losses = [9.0, 3.0, 1.0, 0.5, 0.9, 3.0, 4.0, 5.0, 6.0, 7.0]
    found = fitted(Noting(*stack(nn.Tanh, 2), validated=losses), max_epochs=10, check_val_every_n_epoch=2)
    assert {row["epoch"]: row["val_loss"] for row in found._epochs if "val_loss" in row} == pytest.approx(
        {epoch: losses[epoch - 1] for epoch in (2, 4, 6, 8, 10)}
    )
    [overfitting] = [each for each in found.findings if each.kind == "overfitting"]
    assert overfitting.where.epoch == 4
    assert "lowest in epoch 4" in overfitting.explanation


class Percent(Noting):
    """Logs accuracies in percent."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log_dict({"train_accuracy": 71.0, "val_accuracy": 68.0})


@pytest.mark.parametrize(("rate", "kinds"), [(0.5, []), (5.0, ["step_too_large"])])
def test_what_a_long_first_epoch_brings_is_not_said_to_be_nothing(rate: float, kinds: list[str]) -> None:
    labels = torch.where(torch.arange(512) % 2 == 0, LABELS, torch.arange(512) // 3 % 4)  # half of them right
    loader = DataLoader(TensorDataset(INPUTS.repeat(32, 1), labels.repeat(32)), batch_size=64)
    torch.manual_seed(0)
    found = fitted(Noting(nn.Linear(16, 4), rate=rate), UpdateRatio(), loader=loader, max_epochs=2).findings
    assert [each.kind for each in found] == kinds
    assert all("1 of 1 run learnt nothing" in each.explanation for each in found)


def test_an_optimiser_may_find_its_rate_by_itself() -> None:
    class Finds(torch.optim.SGD):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, lr=0.0)
            self.param_groups[0]["lr"] = None

        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = math.inf
            loss = super().step(closure)
            self.param_groups[0]["lr"] = None
            return loss

    module = Noting(nn.Linear(16, 4))
    module.configure_optimizers = lambda: Finds(module.parameters())  # type: ignore[assignment, method-assign]
    found = fitted(module, UpdateRatio(), max_epochs=3).findings
    assert found[0].kind == "diverged"


def test_three_percent_are_no_overfitting() -> None:
    found = fitted(Percent(*stack(nn.Tanh, 2), rate=0.5, validated=[4.0, 3.0, 2.0, 1.0]))
    assert [each for each in found.findings if each.kind == "overfitting"] == []


class Stops(Noting):
    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 3:
            raise RuntimeError("mine")


def test_what_broke_off_is_not_said_to_have_been_stopped_early() -> None:
    module, stops = Stops(*stack(nn.Sigmoid, 8), validated=[1.0] * 9), EarlyStopping("val_loss", patience=50)
    found = fitted(module, stops, ActivationMoments(), GradientNorm(), breaks=True, max_epochs=9)
    assert found.findings[0].kind == "vanishing_signal"
    assert not [each for each in found.findings if "early stopping" in each.explanation]
    module, stops = Noting(*stack(nn.Sigmoid, 8), validated=[1.0] * 9), EarlyStopping("val_loss", patience=3)
    stopped = fitted(module, stops, ActivationMoments(), max_epochs=9)
    assert "early stopping (patience 3) ended them" in stopped.findings[0].explanation


@RESUMED
def test_a_resumed_fits_epochs_are_counted_from_the_first(tmp_path: Path) -> None:
    losses = [9.0, 8.0, 7.0, 6.0, 3.0, 1.0, 2.0, 5.0, 5.0, 5.0]
    saves = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    fitted(Noting(*stack(nn.Tanh, 2)), saves)
    resumed = Noting(*stack(nn.Tanh, 2), validated=losses)
    found = fitted(resumed, ckpt_path=tmp_path / "epoch=3.ckpt", max_epochs=10)
    assert (found.run["epochs"], found.run["best_epoch"]) == (10, 6)
    assert [each.where.epoch for each in found.findings if each.kind == "overfitting"] == [6]


@RESUMED
def test_a_fit_that_resumes_within_its_first_epoch_is_not_untrained(tmp_path: Path) -> None:
    saves = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=4)
    fitted(Noting(*stack(nn.Sigmoid, 8)), saves, max_epochs=1)
    watching = [ActivationMoments(every_n_steps=2), GradientNorm(every_n_steps=2)]
    found = fitted(Noting(*stack(nn.Sigmoid, 8)), *watching, ckpt_path=tmp_path / "step=4.ckpt", max_epochs=1)
    assert {step for _, step, *_ in found._layers} == {4, 6}
    assert not [each for each in found.findings if "Untrained" in each.explanation]


def test_a_frozen_layer_is_not_said_to_stand_still() -> None:
    module = Noting(*stack(nn.Tanh, 2), rate=0.5)
    module.net[0].requires_grad_(requires_grad=False)  # and the optimiser holds it
    found = fitted(module, UpdateRatio())
    assert {layer for _, _, layer, *_ in found._layers} == {"net.2", "net.4"}
    assert [each for each in found.findings if each.kind == "layer_stands_still"] == []


class Adapted(nn.Module):
    """A layer with a LoRA: at the start B is 0, so that A's gradient is."""

    def __init__(self, *, gated: bool) -> None:
        super().__init__()
        self.base, self.gated = nn.Linear(16, 16).requires_grad_(False), gated
        self.A, self.B = nn.Linear(16, 2, bias=False), nn.Linear(2, 16, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x: Tensor) -> Tensor:
        away = self.B(self.A(x) * (0 if self.gated else 1))
        return self.base(x) + away  # type: ignore[no-any-return]


@pytest.mark.parametrize("gated", [False, True])
def test_a_gradient_that_is_0_at_the_start_alone_has_not_vanished(gated: bool) -> None:
    kinds = {each.kind for each in fitted(Noting(Adapted(gated=gated), rate=1e-3), GradientNorm()).findings}
    assert ("vanishing_gradient" in kinds) == gated
