"""`Diagnosis()` on somebody's own modules: what is wrong, in which layer, in the log and in TensorBoard; or nothing."""

import functools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from actsweep.callbacks import ActivationMoments, DeadUnits, Diagnosis, GradientNorm, UpdateRatio

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(512) % 4
INPUTS = torch.eye(4).repeat_interleave(4, dim=1)[LABELS] + torch.randn(512, 16, generator=GENERATOR)

EPOCHS = 16


class Mine(L.LightningModule):
    def __init__(self, *layers: nn.Module, rate: float = 0.1, breaks: bool = False) -> None:
        super().__init__()
        self.net, self.rate, self.breaks = nn.Sequential(*layers), rate, breaks

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.breaks and self.global_step == 20:
            raise RuntimeError("broken off")
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.rate)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)]


def stack(act: type[nn.Module], depth: int, width: int = 16) -> list[nn.Module]:
    torch.manual_seed(0)
    return [each for _ in range(depth) for each in (nn.Linear(width, width), act())] + [nn.Linear(width, 4)]


def diagnosed(module: L.LightningModule, epochs: int = 6, logger: Any = False) -> Diagnosis:
    diagnosis = Diagnosis()
    watching = [diagnosis, GradientNorm(), ActivationMoments(), UpdateRatio(), DeadUnits()]
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=logger, callbacks=watching, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, DataLoader(TensorDataset(INPUTS, LABELS), batch_size=64))
    return diagnosis


class Writes(Logger):
    """Has TensorBoard's writer, and is none of pytorch_lightning's TensorBoardLoggers: as that of `lightning` is."""

    name, version = "writes", 0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, str, int]] = []
        self.experiment = SimpleNamespace(add_text=lambda *text: self.texts.append(text))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        pass


def test_findings_are_text_for_any_logger_with_tensorboards_writer() -> None:
    found = diagnosed(Mine(*stack(nn.Sigmoid, 8)), logger=(writes := Writes())).findings
    [(tag, text, step)] = writes.texts
    assert (tag, step) == ("findings", 48)
    assert text.startswith(f"- Mine: {found[0].title}.")


def test_a_deep_sigmoid_network_is_told_what_is_wrong_where_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        diagnosis = diagnosed(Mine(*stack(nn.Sigmoid, 8)), logger=TensorBoardLogger(tmp_path, name="", version=""))
    first, *rest = diagnosis.findings
    assert (first.kind, first.where.layer, first.severity) == ("vanishing_signal", "net.16", 3)
    assert first.evidence[0].value < 1e-4
    assert first.remedy == ("init=critical",)
    assert "vanishing_gradient" in {each.kind for each in rest if each.follows == "vanishing_signal"}
    said = [message for message in caplog.messages if message.startswith("finding: ")]
    assert said[0].startswith("finding: Mine: vanishing signal. Untrained, each layer multiplies the signal by 0.")
    [text] = EventAccumulator(str(tmp_path)).Reload().Tensors("findings/text_summary")
    assert text.tensor_proto.string_val[0].decode().startswith("- Mine: vanishing signal. Untrained,")


@pytest.mark.parametrize(
    ("act", "rate", "kind", "layer"),
    [(nn.ReLU, 3.0, "dying", "net.4"), (nn.Tanh, 3e-5, "step_too_small", None)],
)
def test_steps_of_the_wrong_size_are_found_too(act: type[nn.Module], rate: float, kind: str, layer: str | None) -> None:
    found = diagnosed(Mine(*stack(act, 3), rate=rate)).findings[0]
    assert (found.kind, found.where.layer) == (kind, layer)
    assert found.remedy[0].startswith("optim.lr=")


def test_a_healthy_fit_has_no_finding_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        diagnosis = diagnosed(Mine(*stack(nn.Tanh, 2), rate=0.5), epochs=EPOCHS)
    assert diagnosis.findings == ()
    assert "finding: Mine: no rule found anything in what the callbacks measured" in caplog.messages


def test_a_fit_that_breaks_off_is_diagnosed_and_the_next_one_begins_afresh() -> None:
    module = Mine(*stack(nn.Sigmoid, 8), breaks=True)
    diagnosis = Diagnosis()
    trainer = L.Trainer(
        max_epochs=6, accelerator="cpu", logger=False, callbacks=[ActivationMoments(), GradientNorm(), diagnosis],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="broken off"):
        trainer.fit(module, DataLoader(TensorDataset(INPUTS, LABELS), batch_size=64))
    assert diagnosis.findings[0].kind == "vanishing_signal"


class Slow(Mine):
    """Hardly moves; logs what others call so, and is validated in every second epoch."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.log("step", -1.0)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", 10 + F.cross_entropy(self.net(batch[0]), batch[1]))


def diagnosed_slow(**arguments: Any) -> tuple[Diagnosis, dict[str, Any]]:
    diagnosis, data = Diagnosis(), DataLoader(TensorDataset(INPUTS, LABELS), batch_size=64)
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[UpdateRatio(), diagnosis],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        check_val_every_n_epoch=2, **arguments,
    )  # fmt: skip
    module = Slow(*stack(nn.Tanh, 2), rate=1e-6)
    trainer.fit(module, data, data)
    return diagnosis, diagnosis._run(trainer, module)


def test_losses_are_those_of_the_training_step_and_epochs_are_told_apart_by_one_kind_of_loss() -> None:
    diagnosis, run = diagnosed_slow(accumulate_grad_batches=4)
    plain, _ = diagnosed_slow()
    losses = [each._epochs[0]["train_loss"] for each in (diagnosis, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert [row["step"] for row in diagnosis._epochs] == [2 * epoch for epoch in range(1, EPOCHS + 1)]
    assert run["best_epoch"] in range(2, EPOCHS + 1, 2)  # of those with a validation, whose losses are larger
    assert run["status"] == "completed"


def test_a_remedy_multiplies_the_learning_rate_that_was_set_not_what_a_schedule_left_of_it() -> None:
    diagnosis, run = diagnosed_slow()
    assert run["config"]["optim"]["lr"] == 1e-6
    [finding] = [each for each in diagnosis.findings if each.kind == "step_too_small"]
    assert 1e-5 <= float(finding.remedy[0].removeprefix("optim.lr=")) < 1


class Registered(Mine):
    """Its layers were made in the reverse of the order in which they are used."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.parts, self.used = nn.ModuleList(reversed(layers)), layers

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(functools.reduce(lambda x, layer: layer(x), self.used, batch[0]), batch[1])


def test_layers_follow_each_other_as_they_are_used_not_as_they_were_made() -> None:
    ordered = diagnosed(Mine(*stack(nn.Sigmoid, 8))).findings
    reverse = diagnosed(Registered(*stack(nn.Sigmoid, 8))).findings
    place = {f"parts.{16 - number}": f"net.{number}" for number in range(17)}
    assert [(each.kind, place.get(each.where.layer or "")) for each in reverse] == [
        (each.kind, each.where.layer) for each in ordered
    ]
