"""The callbacks on many small networks: the true values, and training as without them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor
from torch.func import grad, vmap
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from actsweep.callbacks import (
    ActivationHistogram,
    ActivationMoments,
    DeadUnits,
    Diagnostic,
    GradientNorm,
    Layer,
    Taxonomy,
    UpdateRatio,
    watched,
)  # fmt: skip
from tests.diagnostics.zoo import ZOO, Entry

EXAMPLES = 8
EVERY = (GradientNorm, DeadUnits, UpdateRatio, ActivationMoments, ActivationHistogram, Taxonomy)


class Kept(Logger):
    """Keeps what is logged."""

    name, version = "kept", 0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Keeps(Diagnostic):
    """Keeps the layers that it is shown."""

    def __init__(self, **schedule: int) -> None:
        super().__init__(**schedule)
        self.seen: list[dict[str, Layer]] = []

    def record(self, trainer: L.Trainer, layers: list[Layer], epoch: int, step: int | None = None) -> None:
        self.seen.append({layer.name: layer for layer in layers})


class Counts(L.LightningModule):
    """Counts its training steps, logs, and keeps a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.metric = 0, MeanMetric()

    def noted(self, loss: Tensor) -> Tensor:
        self.calls += 1
        self.metric(loss.detach())
        self.log("loss", loss, on_step=True)
        return loss


class Somebodys(Counts):
    """Draws random numbers in its training step."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.net = entry.make()

    def training_step(self, batch: list[Tensor]) -> Tensor:
        outputs = self.net(batch[0])
        return self.noted(F.cross_entropy(outputs + 0.01 * torch.randn_like(outputs), batch[1] % outputs.shape[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([each for each in self.parameters() if each.requires_grad], lr=0.1)


def examples(entry: Entry, number: int = 2 * EXAMPLES) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    shape = (number, *entry.shape)
    draw = (
        torch.randint(entry.words, shape, generator=generator)
        if entry.words
        else torch.randn(shape, generator=generator)
    )
    return TensorDataset(draw, torch.arange(number) % 3)


def fit(
    module: L.LightningModule, data: Any, callbacks: list[Any], ckpt_path: Path | None = None, **arguments: Any
) -> L.Trainer:
    trainer = L.Trainer(**{
        "accelerator": "cpu", "max_epochs": 1, "logger": Kept(), "callbacks": callbacks, "log_every_n_steps": 1,
        "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False, **arguments,
    })  # fmt: skip
    torch.manual_seed(1)
    trainer.fit(module, DataLoader(data, batch_size=EXAMPLES), ckpt_path=ckpt_path)
    return trainer


def left_behind(make: Callable[[], Counts], *what: Any, **arguments: Any) -> tuple[dict[str, Any], L.Trainer]:
    """All that a training leaves, apart from what the callbacks log."""
    torch.manual_seed(0)
    module = make()
    trainer = fit(module, *what, **arguments)
    rows = trainer.logger.rows  # type: ignore[union-attr]
    own = [(step, {tag: value for tag, value in row.items() if "/" not in tag}) for step, row in rows]
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
    return {
        "weights": {key: value.clone() for key, value in module.state_dict().items()}, "hooks": hooks,
        "logged": [(step, row) for step, row in own if row], "shown": trainer.callback_metrics, "calls": module.calls,
        "metric": (float(module.metric.compute()), module.metric.update_count), "random": torch.get_rng_state(),
        "attributes": dict.fromkeys(vars(module), 0),
    }, trainer  # fmt: skip


def trained_as_without(make: Callable[[], Counts], data: Any, schedule: dict[str, int], **arguments: Any) -> L.Trainer:
    """A training with callbacks; asserts that it leaves what one without them leaves, bit for bit."""
    watched_one, trainer = left_behind(make, data, [kind(**schedule) for kind in EVERY], **arguments)
    alone, _ = left_behind(make, data, [], **arguments)
    assert alone["logged"]
    assert alone["metric"][1] == alone["calls"] > 0
    torch.testing.assert_close(watched_one, alone, rtol=0, atol=0)
    return trainer


@pytest.mark.parametrize("name", ZOO)
def test_a_network_trains_as_without_the_callbacks_and_all_is_finite(name: str) -> None:
    trainer = trained_as_without(lambda: Somebodys(ZOO[name]), examples(ZOO[name]), {})
    rows = trainer.logger.rows  # type: ignore[union-attr]
    values = {f"{tag} {step}": value for step, row in rows for tag, value in row.items()}
    assert all(map(math.isfinite, values.values()))
    assert any(tag.startswith("grad_norm/") for tag in values)
    assert any(tag.startswith("update_ratio/") for tag in values)


def gradients_of_the_first_step(name: str) -> dict[str, Tensor]:
    """By autograd, of a network of its own."""
    torch.manual_seed(0)
    module = Somebodys(ZOO[name])
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    torch.manual_seed(1)
    inputs, labels = next(iter(DataLoader(examples(ZOO[name]), batch_size=EXAMPLES)))
    module.training_step([inputs, labels]).backward()
    named = {name.replace("_orig_mod.", "").removesuffix(".weight"): each for name, each in module.named_parameters()}
    return {name: each.grad for name, each in named.items() if each.ndim >= 2 and each.grad is not None}


@pytest.mark.parametrize("name", ZOO)
def test_gradients_are_autograds_and_activations_follow_their_layers(name: str) -> None:
    entry, keeps = ZOO[name], Keeps()
    torch.manual_seed(0)
    module = Somebodys(entry)
    fit(module, examples(entry, EXAMPLES), [keeps])
    layers = keeps.seen[0]
    expected = gradients_of_the_first_step(name)
    assert expected.keys() == {name for name, layer in layers.items() if layer.gradient is not None}
    for layer, gradient in expected.items():
        found = layers[layer].gradient
        assert found is not None
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        assert torch.equal(found[0], dense.flatten(1))
    for layer, function in entry.follows.items():
        shown = layers[f"net.{layer}"]
        assert shown.pre is not None
        if function is None:
            assert shown.slope is None
            continue
        assert shown.post is not None
        assert shown.slope is not None
        torch.testing.assert_close(shown.post, function(shown.pre), rtol=1e-5, atol=1e-6)
        slopes = vmap(grad(function))(shown.pre.flatten()).view_as(shown.pre)
        torch.testing.assert_close(shown.slope, slopes, rtol=1e-4, atol=1e-5)
    table = {row["layer"]: row["activation"] for row in watched(module)}
    for layer in entry.unwatched:
        assert layers[f"net.{layer}"].slope is None
        assert "not watched" in table[f"net.{layer}"]
