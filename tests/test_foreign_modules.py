"""The callbacks on a LightningModule that isn't ours."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from actsweep.diagnostics.activations import ActivationMoments
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from actsweep.results import run_folder
from actsweep.results.tables import Tables
from tests.test_zoo import Counts
from tests.test_zoo import fit as zoo_fit


class ForeignCNN(Counts):
    """Somebody else's module: convolutions, an in-place activation, logging in its training step."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.Tanh())
        self.head = nn.Linear(6 * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).flatten(1))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.noted(F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fit(model: L.LightningModule, folder: Path, callbacks: list[Any], **arguments: Any) -> L.Trainer:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 8, 8, generator=generator)
    loader = DataLoader(TensorDataset(images, torch.arange(40) % 10), batch_size=10, shuffle=True, generator=generator)
    trainer = L.Trainer(
        accelerator="cpu", logger=Tables(folder), callbacks=callbacks, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, max_epochs=2, **arguments,
    )  # fmt: skip
    trainer.fit(model, loader)
    return trainer


def test_the_callbacks_work_on_somebody_elses_cnn(tmp_path: Path) -> None:
    everything = [GradientNorm(), UpdateRatio(), ActivationMoments(), ActivationHistogram(bins=8), DeadUnits()]
    fit(ForeignCNN(), tmp_path, everything)
    rows = rows_of(tmp_path / run_folder.LAYERS)
    seen = {(row["quantity"], row["layer"]) for row in rows}
    assert {layer for quantity, layer in seen if quantity == "grad_norm"} == {"features.0", "features.2", "head"}
    assert {layer for quantity, layer in seen if quantity == "dead_fraction"} == {"features.0", "features.2"}
    assert {row["epoch"] for row in rows if row["quantity"] == "update_ratio"} == {"0", "1", "2"}
    assert {row["epoch"] for row in rows if row["quantity"] == "pre_activation_std"} == {"0", "1", "2"}
    histograms = rows_of(tmp_path / run_folder.HISTOGRAMS)
    total = sum(map(int, next(row for row in histograms if row["layer"] == "features.0")["counts"].split()))
    assert total == 10 * 6 * 6 * 4  # one batch of 10, 6 × 6 positions, 4 channels


class WithCriterion(ForeignCNN):
    """Names its criterion as most people do."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.CrossEntropyLoss()


def test_a_criterion_called_loss_is_not_taken_for_the_loss_of_a_batch(tmp_path: Path) -> None:
    fit(WithCriterion(), tmp_path, [GradientNorm()])
    assert {row["layer"] for row in rows_of(tmp_path / run_folder.LAYERS)} == {"features.0", "features.2", "head"}


def test_a_schedule_in_steps_measures_every_nth_step(tmp_path: Path) -> None:
    fit(ForeignCNN(), tmp_path, [GradientNorm(every_n_steps=3), UpdateRatio(every_n_steps=3)])
    rows = [row for row in rows_of(tmp_path / run_folder.LAYERS) if row["layer"] == "head"]
    assert [row["step"] for row in rows if row["quantity"] == "grad_norm"] == ["0", "3", "6"]
    assert [row["step"] for row in rows if row["quantity"] == "update_ratio"] == ["1", "4", "7"]


def test_an_update_ratio_is_that_of_the_step_itself(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = ForeignCNN()
    before = model.head.weight.detach().clone()
    fit(model, tmp_path, [UpdateRatio()], max_steps=1)
    [found] = {row["value"] for row in rows_of(tmp_path / run_folder.LAYERS) if row["layer"] == "head"}
    expected = (model.head.weight - before).norm() / before.norm()
    assert float(found) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("examples", "arguments", "steps"),
    [
        (24, {}, [0, 2, 5]),  # batches of 8, 8, 8
        (17, {}, [0, 1, 4]),  # 8, 8, 1: the one left over says nothing of the units
        (17, {"limit_train_batches": 2}, [0, 1, 3]),
        (5, {}, [0, 0, 1]),  # nothing else
        (9, {}, [0, 0, 2]),
        (56, {"accumulate_grad_batches": 3}, [0, 1, 4]),  # 3, 3 and 1 batches
        (47, {"accumulate_grad_batches": 3}, [0, 0, 2]),  # 3 and 3, the last of 7 examples
        (16, {"accumulate_grad_batches": 3}, [0, 0, 1]),
    ],
)
def test_an_epoch_is_measured_at_its_last_step_of_as_many_examples_as_others(
    examples: int, arguments: dict[str, int], steps: list[int]
) -> None:
    images = TensorDataset(torch.randn(examples, 1, 8, 8), torch.arange(examples) % 10)
    trainer = zoo_fit(ForeignCNN(), images, [GradientNorm()], max_epochs=2, **arguments)
    assert [step for step, row in trainer.logger.rows if "grad_norm/head" in row] == steps  # type: ignore[union-attr]


@pytest.mark.parametrize("schedule", [{"every_n_epochs": 0}, {"every_n_steps": 0}, {"probe_size": -1}])
def test_a_schedule_that_never_comes_is_refused(schedule: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        GradientNorm(**schedule)
