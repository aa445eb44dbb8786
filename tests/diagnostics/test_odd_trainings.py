"""The callbacks on trainings that do what most don’t: steps by hand, odd tensors, no tokens for an expert."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from actsweep.callbacks import ActivationMoments, Diagnosis, EveryStep, Tables, Taxonomy, watched
from actsweep.diagnostics import sightings, table
from actsweep.diagnostics.activations import mean_and_std
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.observation import Layer, observe
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from tests.diagnostics.test_zoo import Counts, Kept, trained_as_without
from tests.diagnostics.test_zoo import fit as zoo_fit


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


def test_norms_of_millions_of_weights_are_as_exact_as_of_few(tmp_path: Path) -> None:
    class Wide(Small):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 2048), nn.Linear(2048, 2048), nn.Linear(2048, 3))
            self.make = lambda: torch.optim.SGD(self.parameters(), lr=0.01, weight_decay=2.0)

        def on_before_optimizer_step(self, *_: Any) -> None:
            self.gradient = self.net[1].weight.grad.double()  # type: ignore[union-attr, operator]
            self.squares = sum(float(each.detach().double().square().sum()) for each in self.parameters())

    module = Wide()
    trainer = zoo_fit(module, DATA, [GradientNorm(), EveryStep()], max_steps=1, logger=[Kept(), Tables(tmp_path)])
    logged, row = trainer.logger.rows[0][1], pd.read_csv(tmp_path / "steps.csv").iloc[0]  # type: ignore[union-attr]
    assert logged["grad_norm/net.1"] == pytest.approx(float(module.gradient.norm()), rel=1e-5)
    assert row["grad_mean_abs/net.1"] == pytest.approx(float(module.gradient.abs().mean()), rel=1e-5)
    assert row["penalty"] == pytest.approx(module.squares, rel=1e-5)


def test_the_spread_of_many_equal_numbers_is_as_exact_as_of_few() -> None:
    values = torch.randn(1, 2000, 1000, generator=torch.Generator().manual_seed(0)).relu()
    _, std = mean_and_std(values)
    assert float(std) == pytest.approx(float(values.double().std(correction=0)), rel=2e-6)


@pytest.mark.parametrize(
    ("times", "together", "most", "steps"),
    [(0, 1, 5, [0, 2, 4]), (0, 1, 2, [0, 1]), (0, 2, 1, [0, 0]), (0, 1, 6, [0, 2, 5]), (2, 1, 4, [0, 2])],
)
def test_an_epoch_that_max_steps_cuts_short_has_its_last_step(
    times: int, together: int, most: int, steps: list[int]
) -> None:
    arguments = {"max_steps": most, "max_epochs": -1, "accumulate_grad_batches": together}
    trainer = zoo_fit(Small(times), DATA, [GradientNorm()], **arguments)
    assert [step for step, row in trainer.logger.rows if "grad_norm/net.4" in row] == steps  # type: ignore[union-attr]


def test_nothing_that_compares_examples_is_said_of_one(caplog: pytest.LogCaptureFixture) -> None:
    diagnosis = Diagnosis()
    watching = [GradientNorm(), DeadUnits(), ActivationMoments(), Taxonomy(), diagnosis]
    with caplog.at_level("INFO", "pytorch_lightning.utilities.rank_zero"):
        trainer = zoo_fit(Small(), TensorDataset(*DATA[:1]), watching, max_epochs=3)
    names = {tag.partition("/")[0] for _, row in trainer.logger.rows for tag in row}  # type: ignore[union-attr]
    assert "saturated_fraction" in names
    assert names.isdisjoint({"dead_fraction", "units_died", "signal", "collapsed", "always_linear", "layer_off"})
    assert {each.kind for each in diagnosis.findings}.isdisjoint({"born_dead", "always_linear", "collapsed"})
    assert caplog.text.count("what compares examples is left out where there is one") == 3
