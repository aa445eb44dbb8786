"""What went wrong when the callbacks were put on other people's modules, each with the true value."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from actsweep.callbacks import DeadUnits, GradientNorm, UpdateRatio, watched
from actsweep.diagnostics import table
from tests.diagnostics.test_foreign_modules import ForeignCNN, WithCriterion
from tests.diagnostics.test_zoo import Counts, Keeps, fit, trained_as_without

ROWS = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(ROWS, torch.arange(24) % 3)


class Plain(Counts):
    """A network of two layers."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.first, self.last, self.rate = nn.Linear(4, 8), nn.Linear(8, 3), rate

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(F.relu(self.first(x)))
        return outputs

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.noted(F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class LossOfOutputsAndLabels(Plain):
    def loss(self, outputs: Tensor, labels: Tensor | None = None) -> Tensor:
        return F.cross_entropy(outputs, labels) if labels is not None else outputs.sum()

    def training_step(self, batch: list[Tensor]) -> Tensor:  # type: ignore[override]
        return self.noted(self.loss(self(batch[0]), batch[1]))


class Skips(Plain):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 1 else {"loss": loss, "more": 1}


class ProbeByAccident(Plain):
    """Has a method of the protocol's name, but no datamodule that offers a batch for it."""

    def probe_loss(self, batch: Any) -> Tensor:
        raise AssertionError("called")


class Gan(Counts):
    """Two optimisers, by hand; `raw`: stepped without Lightning's wrapper."""

    def __init__(self, raw: bool = False) -> None:
        super().__init__()
        self.automatic_optimization, self.raw = False, raw
        self.generator = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh())
        self.critic = nn.Sequential(nn.Linear(4, 5), nn.LeakyReLU(), nn.Linear(5, 1))

    def losses(self, real: Tensor, noise: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        fake = self.generator(noise)
        critic = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake.detach())).mean()
        return critic, lambda: F.softplus(-self.critic(fake)).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        optimizers: Any = self.optimizers(use_pl_optimizer=not self.raw)
        critic, generator = self.losses(batch[0], torch.randn(len(batch[0]), 4))
        for optimizer, loss in zip(optimizers, (lambda: critic, generator), strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss())
            optimizer.step()
        self.noted(critic)

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.critic, self.generator)]


def values(trainer: L.Trainer, quantity: str) -> dict[tuple[str, int | None], float]:
    """What was logged of a quantity, by layer and step."""
    rows = trainer.logger.rows  # type: ignore[union-attr]
    tags = [(tag, step, value) for step, row in rows for tag, value in row.items()]
    return {(tag.partition("/")[2], step): value for tag, step, value in tags if tag.startswith(f"{quantity}/")}


class Demo(BoringModel, Counts):
    """Lightning's own."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        outputs: Any = super().training_step(batch, batch_idx)
        self.noted(outputs["loss"])
        return outputs


def test_lightnings_own_demo_is_watched() -> None:
    torch.manual_seed(0)
    module = Demo()
    before = module.layer.weight.detach().clone()
    callbacks = [GradientNorm(), UpdateRatio()]
    trainer = fit(module, torch.randn(8, 32), callbacks, limit_val_batches=0)
    found = values(trainer, "update_ratio")["layer", 1]
    assert found == pytest.approx(((module.layer.weight - before).norm() / before.norm()).item(), rel=1e-6)
    assert values(trainer, "grad_norm").keys() == {("layer", 0)}


@pytest.mark.parametrize("raw", [False, True])
def test_a_gans_gradients_are_those_that_each_optimiser_uses(raw: bool) -> None:
    torch.manual_seed(0)
    keeps, module = Keeps(), Gan(raw)
    torch.manual_seed(0)
    alone = Gan()
    trainer = fit(module, DATA, [keeps, UpdateRatio()], max_steps=2)
    layers = keeps.seen[0]
    torch.manual_seed(1)
    (batch, _), noise = next(iter(DataLoader(DATA, batch_size=8))), torch.randn(8, 4)
    critic, generator = alone.losses(batch, noise)
    critic.backward()
    expected = {"critic.0": alone.critic[0].weight.grad.clone()}  # type: ignore[union-attr, operator]
    torch.optim.Adam(alone.critic.parameters(), lr=0.01).step()
    generator().backward()
    expected["generator.0"] = alone.generator[0].weight.grad  # type: ignore[assignment]
    for name, gradient in expected.items():
        assert torch.equal(layers[name].gradient[0], gradient)  # type: ignore[index]
    post = layers["critic.0"].post
    assert post is not None
    assert post.shape == (1, 3 * 8, 5)  # on what is real, on what isn't, and again for the generator
    assert {layer for layer, _ in values(trainer, "update_ratio")} == {
        "critic.0", "critic.2", "generator.0", "generator.2",
    }  # fmt: skip


class Tokens(Plain):
    """Takes (batch, tokens, features); half of its units are dead."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.first.bias[:4] = -100.0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.noted(self(batch[0]).square().mean())


def test_tokens_are_examples_and_features_are_units() -> None:
    trainer = fit(Tokens(), TensorDataset(torch.randn(8, 5, 4)), [DeadUnits()])
    assert values(trainer, "dead_fraction") == {("first", 0): 0.5}


class OneReluTwice(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.middle, self.relu = nn.Linear(8, 8), nn.ReLU()
        nn.init.constant_(self.middle.bias, -100.0)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.relu(self.middle(self.relu(self.first(x)))))
        return outputs


def test_each_use_of_one_relu_is_counted_for_its_layer() -> None:
    found = values(fit(OneReluTwice(), DATA, [DeadUnits()], max_steps=1), "dead_fraction")
    assert found["middle", 0] == 1.0
    assert found["first", 0] < 1.0


class Mixed(Plain):
    """A layer that is frozen, one of which no activation can be seen, and one in the midst."""

    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(requires_grad=False)
        self.recurrent = nn.GRU(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.recurrent(F.relu(self.first(x)))[0])
        return outputs


IMAGES = TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 10)
TRAININGS: dict[str, tuple[Callable[[], Counts], Any, dict[str, Any]]] = {
    "a loss of outputs and labels": (LossOfOutputsAndLabels, DATA, {}),
    "a criterion called loss": (WithCriterion, IMAGES, {}),
    "steps without a loss": (Skips, DATA, {}),
    "probe_loss, and no probe": (ProbeByAccident, DATA, {}),
    "two optimisers": (Gan, DATA, {}),
    "two optimisers, unwrapped": (lambda: Gan(raw=True), DATA, {}),
    "Lightning's demo": (Demo, torch.randn(24, 32), {"limit_val_batches": 0}),
    "an activation in place": (ForeignCNN, IMAGES, {}),
    "tokens": (Tokens, TensorDataset(torch.randn(24, 5, 4)), {}),
    "one ReLU twice": (OneReluTwice, DATA, {}),
    "frozen and recurrent": (Mixed, DATA, {}),
    "accumulated": (Plain, DATA, {"accumulate_grad_batches": 2}),
    "mixed precision": (Plain, DATA, {"precision": "bf16-mixed"}),
}


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_any_module_trains_as_without_the_callbacks(name: str, every: int) -> None:
    make, data, arguments = TRAININGS[name]
    trainer = trained_as_without(make, data, {"every_n_steps": every}, **arguments)
    assert values(trainer, "grad_norm")


def test_what_is_watched_and_what_is_not_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(table, "rank_zero_info", said.append)
    module = Mixed()
    assert {row["activation"] for row in watched(module)} == {"known after the first step"}
    fit(module, DATA, [GradientNorm(every_n_steps=1), DeadUnits()])
    rows = {row["layer"]: (row["kind"], row["gradient"], row["activation"]) for row in watched(module)}
    assert rows == {
        "first": ("Linear", "frozen", "relu"),
        "last": ("Linear", "yes", "none"),
        "recurrent.weight_ih_l0": ("GRU", "yes", "not watched"),
        "recurrent.weight_hh_l0": ("GRU", "yes", "not watched"),
    }
    assert said == [
        "2 Linear: gradient: frozen (1), yes (1); activation: relu (1), none (1)",
        "2 GRU: gradient: yes (2); activation: not watched (2)",
    ]


@pytest.mark.parametrize("batches", [6, 12])
def test_under_accumulation_optimiser_steps_are_counted(batches: int) -> None:
    data = TensorDataset(ROWS.repeat(4, 1)[: 8 * batches], torch.arange(8 * batches) % 3)
    callbacks = [GradientNorm(every_n_steps=2), UpdateRatio(every_n_steps=2)]
    trainer = fit(Plain(), data, callbacks, accumulate_grad_batches=3)
    steps = [step for layer, step in values(trainer, "grad_norm") if layer == "first"]
    assert steps == list(range(0, batches // 3, 2))
    assert [step for layer, step in values(trainer, "update_ratio") if layer == "first"] == [each + 1 for each in steps]
    rows = trainer.logger.rows  # type: ignore[union-attr]
    assert len([step for step, row in rows if "grad_norm/first" in row]) == len(steps)


def test_an_accumulated_step_is_that_of_all_its_batches_together() -> None:
    shown = []
    for arguments in ({"accumulate_grad_batches": 3}, {}):
        torch.manual_seed(0)
        module, keeps = Plain(), Keeps()
        size = 8 if arguments else 24
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, callbacks=[keeps], enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, **arguments,
        )  # fmt: skip
        trainer.fit(module, DataLoader(DATA, batch_size=size))
        shown.append(keeps.seen[0]["first"])
    for name in ("gradient", "pre", "post", "slope"):
        torch.testing.assert_close(getattr(shown[0], name), getattr(shown[1], name))


def test_steps_of_two_optimisers_are_counted_as_the_trainer_counts_them() -> None:
    data = TensorDataset(ROWS.repeat(3, 1), torch.zeros(72))
    trainer = fit(Gan(), data, [GradientNorm(every_n_steps=3)])
    assert [step for layer, step in values(trainer, "grad_norm") if layer == "critic.0"] == [0, 4, 6, 10, 12, 16]


def test_gradients_are_those_of_the_loss_however_it_is_scaled() -> None:
    norms = []
    for plugins in ([], [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]):
        torch.manual_seed(0)
        module = Plain()
        module.forward = torch.autocast("cpu", enabled=False)(module.forward)  # type: ignore[method-assign]
        trainer = fit(module, DATA, [GradientNorm()], plugins=plugins, max_steps=1)
        norms.append(values(trainer, "grad_norm")["first", 0])
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_each_epochs_last_step_is_recorded_even_where_no_length_is_known() -> None:
    class Endless(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return (DATA[place] for place in range(24))

    trainer = fit(Plain(), Endless(), [GradientNorm()], max_epochs=2)
    assert [step for layer, step in values(trainer, "grad_norm") if layer == "first"] == [0, 2, 5]


def test_a_crash_leaves_nothing_in_the_module() -> None:
    class Crashes(Plain):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            raise RuntimeError("mine")

    module = Crashes()
    with pytest.raises(RuntimeError, match="mine"):
        fit(module, DATA, [GradientNorm(), UpdateRatio()])
    assert "training_step" not in vars(module)
    assert not torch.overrides.has_torch_function((torch.ones(()),))  # no mode is left
