"""The callbacks on a LightningModule that isn't ours."""

import csv
import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from actsweep.callbacks import watched
from actsweep.diagnostics import sightings, table
from actsweep.diagnostics.activations import ActivationMoments
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.layers import Layer
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.taxonomy import Taxonomy
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from actsweep.results import run_folder
from actsweep.results.tables import Tables
from tests.test_zoo import Counts, trained_as_without
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


@pytest.mark.parametrize("schedule", [{"every_n_epochs": 0}, {"every_n_steps": 0}, {"probe_size": -1}])
def test_a_schedule_that_never_comes_is_refused(schedule: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        GradientNorm(**schedule)


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


class Small(Counts):
    """A network of three layers; the first one's units are all dead, and half of the second's. `times`: how many
    steps a training step takes by hand; with 0 Lightning takes one."""

    def __init__(self, times: int = 0, optimizer: Any = torch.optim.SGD, **given: Any) -> None:
        super().__init__()
        self.automatic_optimization, self.times = times == 0, times
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        self.make = lambda: optimizer(self.parameters(), lr=0.01, **given)
        with torch.no_grad():
            self.net[0].bias.fill_(-100.0)  # type: ignore[union-attr, operator]
            self.net[2].bias.copy_(torch.tensor([1.0, -1.0] * 4))  # type: ignore[union-attr, operator]

    def loss(self, batch: list[Tensor]) -> Tensor:
        return self.noted(F.cross_entropy(self.net(batch[0]), batch[1]))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        for _ in range(self.times):
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        return None if self.times else self.loss(batch)

    def configure_optimizers(self) -> Any:
        return self.make()


DATA = TensorDataset(torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3)


def values(trainer: L.Trainer, quantity: str) -> dict[str, list[float]]:
    """What was logged of a quantity, by layer."""
    rows = [row for _, row in trainer.logger.rows]  # type: ignore[union-attr]
    tags = dict.fromkeys(tag for row in rows for tag in row if tag.startswith(f"{quantity}/"))
    return {tag.partition("/")[2]: [row[tag] for row in rows if tag in row] for tag in tags}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize(("times", "optimizer"), [(2, torch.optim.SGD), (16, torch.optim.Adam)])
def test_several_optimiser_steps_in_a_training_step_leave_each_use_with_its_layer(
    times: int, optimizer: Any, foreach: bool
) -> None:
    module = Small(times, optimizer, foreach=foreach)
    trainer = zoo_fit(module, DATA, [DeadUnits()], max_steps=times)
    assert values(trainer, "dead_fraction") == {"net.0": [1.0], "net.2": [0.5]}
    assert [row["layer"] for row in watched(module)] == ["net.0", "net.2", "net.4"]


@pytest.mark.parametrize("raw", [False, True])
def test_gradients_that_a_closure_computes_are_those_of_its_own_step(raw: bool) -> None:
    used = []

    class Closure(Small):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            optimizer: Any = self.optimizers(use_pl_optimizer=not raw)

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = self.loss(batch)
                self.manual_backward(loss)
                used.append(self.net[4].weight.grad.norm().item())  # type: ignore[union-attr]
                return loss

            optimizer.step(closure=closure)

    trainer = trained_as_without(lambda: Closure(1), DATA, {"every_n_steps": 1})
    steps = 1 if raw else 3  # Lightning counts those that it takes itself
    assert values(trainer, "grad_norm")["net.4"] == pytest.approx(used[:steps], rel=1e-6)
    assert len(values(trainer, "update_ratio")["net.4"]) == steps


class Wrapper(torch.optim.Optimizer):
    """As people wrap an optimiser: without what torch's own have from `Optimizer.__init__`."""

    def __init__(self, parameters: Any, lr: float) -> None:
        self.inner = torch.optim.SGD(parameters, lr=lr)
        self.param_groups, self.state, self.defaults = self.inner.param_groups, self.inner.state, self.inner.defaults

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


@pytest.mark.parametrize("times", [0, 1])
def test_an_optimiser_without_hooks_is_said_once_not_to_be_watched(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(table, "rank_zero_info", said.append)
    trainer = zoo_fit(Small(times, Wrapper), DATA, [GradientNorm(), UpdateRatio(every_n_steps=1)])
    assert len(values(trainer, "grad_norm")["net.4"]) == 2
    assert said.count("Wrapper takes no hooks: updates not watched") == 1


class AnyName:
    """Answers to any name, as some people's configurations do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyName()


def test_an_attribute_that_answers_to_any_name_is_not_taken_for_something_compiled() -> None:
    module = Small()
    module.configuration = AnyName()
    zoo_fit(module, DATA, [GradientNorm()], max_steps=1)
    assert [row["activation"] for row in watched(module)] == ["ReLU", "ReLU", "none"]


def test_the_table_says_what_is_frozen_now() -> None:
    module = Small()
    module.net[0].requires_grad_(requires_grad=False)
    zoo_fit(module, DATA, [GradientNorm()], max_steps=1)
    assert [row["gradient"] for row in watched(module)] == ["frozen", "yes", "yes"]
    module.net[0].requires_grad_(requires_grad=True)
    assert [row["gradient"] for row in watched(module)] == ["yes", "yes", "yes"]


def test_a_watched_step_leaves_no_tensors_to_the_garbage_collector() -> None:
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Looks(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            alive.append(sum(each() is not None for each in outputs))

    module = Small()
    module.net[1].register_forward_hook(lambda *given: outputs.append(weakref.ref(given[2])))
    gc.disable()
    try:
        zoo_fit(module, DATA, [GradientNorm(every_n_steps=1), Looks()])
    finally:
        gc.enable()
    assert len(outputs) == 3
    assert alive == [0, 0, 0]


def test_what_cannot_be_tried_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("once")

    monkeypatch.setattr(sightings, "_known", {})
    with monkeypatch.context() as patched:
        patched.setattr(sightings, "random_like", fails)
        assert values(zoo_fit(Small(), DATA, [DeadUnits()], max_steps=1), "dead_fraction") == {}
    assert values(zoo_fit(Small(), DATA, [DeadUnits()], max_steps=1), "dead_fraction").keys() == {"net.0", "net.2"}


def test_units_are_compared_with_those_of_the_measurement_before_where_they_are_as_many() -> None:
    dead_units, found = DeadUnits(), []
    for units in (4, 3, 3):
        slope = torch.zeros(1, 5, units)
        layer = Layer("a", torch.zeros(1, units, 2), None, slope, slope, slope, torch.ones(1))
        found.append(sorted(dead_units.measure(layer)))
    assert [("units_died" in names) for names in found] == [False, False, True]


def test_a_use_without_units_leaves_the_layer_as_it_is() -> None:
    net, x = nn.Linear(4, 3), torch.ones(2, 4)
    [layer] = observe(net, lambda: net(x).sum() + x[0] @ net.weight[0])
    assert torch.equal(layer.pre[0], net(x).detach())  # type: ignore[index]
