"""The callbacks on a LightningModule that isn't ours."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from actsweep.callbacks import watched
from actsweep.diagnostics.activations import ActivationMoments
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.observation import Layer
from actsweep.diagnostics.taxonomy import Taxonomy
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from actsweep.errors import UserError
from actsweep.results import run_folder
from actsweep.results.tables import Tables
from tests.diagnostics.test_zoo import Counts
from tests.diagnostics.test_zoo import fit as zoo_fit


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


class Steps(Diagnostic):
    """Keeps each measured step, and its number of examples."""

    def __init__(self, every_n_steps: int | None) -> None:
        super().__init__(every_n_steps=every_n_steps)
        self.seen: list[tuple[int | None, int]] = []

    def record(self, trainer: L.Trainer, layers: list[Layer], epoch: int, step: int | None = None) -> None:
        [pre] = [layer.pre for layer in layers if layer.name == "head" and layer.pre is not None]
        self.seen.append((step, pre.shape[1]))


class Unpacks(ForeignCNN):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(
            batch["x"] if isinstance(batch, dict) else batch[0] if len(batch) == 1 else batch, 0
        )


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


@pytest.mark.parametrize("kind", ["plain", "batch_sampler", "dict", "list"])
@pytest.mark.parametrize(
    ("every", "accumulated", "expected"),
    [(None, 1, [(0, 8), (1, 8), (4, 8)]), (2, 1, [(0, 8), (3, 8), (4, 8)]), (1, 2, [(0, 16)])],
)
def test_a_short_last_batch_is_passed_over_whatever_the_loader_and_the_schedule(
    kind: str, every: int | None, accumulated: int, expected: list[tuple[int, int]]
) -> None:
    data = TensorDataset(torch.randn(17, 1, 8, 8), torch.arange(17) % 10)  # 8, 8 and 1
    keeps, batched = Steps(every_n_steps=every), BatchSampler(SequentialSampler(data), 8, drop_last=False)
    loader = DataLoader(data, batch_sampler=batched) if kind == "batch_sampler" else DataLoader(data, batch_size=8)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=[keeps], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=2 if accumulated == 1 else 1, accumulate_grad_batches=accumulated,
    )  # fmt: skip
    trainer.fit(Unpacks(), {"dict": {"x": loader}, "list": [loader]}.get(kind, loader))
    assert keeps.seen == expected


@pytest.mark.parametrize(
    "schedule",
    [{"every_n_epochs": 0}, {"every_n_steps": 0}, {"probe_size": -1}, {"every_n_epochs": 1.5}, {"every_n_steps": "2"}],
)
def test_a_schedule_that_never_comes_is_refused(schedule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        GradientNorm(**schedule)


class TakesLoader(ForeignCNN):
    def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
        batch, *_ = next(dataloader_iter)
        return F.cross_entropy(self(batch[0]), batch[1])


@pytest.mark.filterwarnings("ignore:You are using the `dataloader_iter`", "ignore:Found `dataloader_iter` argument")
def test_a_step_that_takes_the_loader_itself_is_measured_as_others_are() -> None:
    images = TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 10)
    trainer = zoo_fit(TakesLoader(), images, [GradientNorm()], max_epochs=2)
    assert [step for step, row in trainer.logger.rows if "grad_norm/head" in row] == [0, 2, 5]  # type: ignore[union-attr]


@pytest.mark.parametrize("schedule", [{"every_n_epochs": 2, "every_n_steps": 10}, {"every_n_epochs": None}])
def test_two_schedules_in_one_are_refused_and_so_is_none(schedule: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="needs one of the two"):
        GradientNorm(**schedule)
    assert GradientNorm(every_n_epochs=None, every_n_steps=10).every_n_steps == 10  # type: ignore[arg-type]


class Breaks(ForeignCNN):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        raise RuntimeError("broken off")


def test_after_a_fit_that_broke_off_in_its_first_step_the_next_is_measured_from_its_first() -> None:
    callback, images = GradientNorm(), TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 10)
    with pytest.raises(RuntimeError, match="broken off"):
        zoo_fit(Breaks(), images, [callback])
    trainer = zoo_fit(ForeignCNN(), images, [callback])
    assert [step for step, row in trainer.logger.rows if "grad_norm/head" in row] == [0, 2]  # type: ignore[union-attr]


class ComplexAndEmpty(ForeignCNN):
    """A complex layer, weights of no rows, and an expert that nothing is sent to."""

    def __init__(self) -> None:
        super().__init__()
        self.waves, self.expert = nn.Linear(10, 10, dtype=torch.cfloat), nn.Linear(10, 10)
        self.bank = nn.Parameter(torch.zeros(0, 4))

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        chosen = torch.zeros(len(x), dtype=torch.bool)
        idle = F.relu(self.expert(logits[chosen])).sum() + self.bank.sum()
        return logits + self.waves(logits.cfloat()).abs() + idle


def test_what_has_no_order_or_no_numbers_is_left_out_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    everything = [GradientNorm(), UpdateRatio(), ActivationMoments(), ActivationHistogram(bins=8), DeadUnits()]
    images = TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 10)
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        trainer = zoo_fit(module := ComplexAndEmpty(), images, [*everything, Taxonomy()])
    tags = {tag for _, row in trainer.logger.rows for tag in row}  # type: ignore[union-attr]
    assert {"grad_norm/waves", "update_ratio/waves", "grad_norm/expert"} <= tags
    measured = {tag for tag in tags if tag.startswith(("pre_", "post_", "signal", "dead", "saturated"))}
    assert {tag.partition("/")[2] for tag in measured} == {"features.0", "features.2", "head"}
    assert not [tag for tag in tags if "bank" in tag]
    assert [message for message in caplog.messages if "left out" in message] == [
        f"{name} is left out: complex numbers"
        for name in (
            "ActivationMoments: pre_activation/waves",
            "ActivationHistogram: pre_activation/waves",
            "ActivationHistogram: weight_gradient/waves",
        )
    ]
    assert [row["gradient"] for row in watched(module) if row["layer"] == "bank"] == ["empty"]
