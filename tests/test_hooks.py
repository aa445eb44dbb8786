"""A step is Lightning's step: the same hooks, in the same order, with the same arguments."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import LambdaCallback

from actsweep.config.schema import Settings
from actsweep.data.datamodule import DataModule, open_data
from actsweep.network import classifier
from actsweep.network.build import build_network
from tests.conftest import SMALL

HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")


class Hears(L.Callback):
    def __init__(self, said: list[str]) -> None:
        self.said = said

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        size = sum(float(each.grad.abs().sum()) for each in pl_module.parameters() if each.grad is not None)
        self.said.append(f"gradients {size:.6f}")


def heard(settings: Settings, is_plain: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What callbacks hear in two epochs."""
    said: list[str] = []

    def hear(hook: str) -> Callable[..., None]:
        def call(trainer: L.Trainer, module: L.LightningModule, *arguments: Any) -> None:
            given = [
                float(each.detach()) if isinstance(each, torch.Tensor) else type(each).__name__ for each in arguments
            ]
            said.append(f"{hook} {given} after {trainer.global_step}")

        return call

    monkeypatch.setattr(classifier, "steps_are_plain", lambda _: is_plain)
    data: DataModule = open_data(settings.data, settings.seed)
    torch.manual_seed(0)
    module = build_network(settings, data.dataset.input_size, 10)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[LambdaCallback(**{hook: hear(hook) for hook in HOOKS}), Hears(said)],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return [*said, str(sum(float(each.detach().sum()) for each in module.parameters()))]


def test_callbacks_hear_in_every_step_what_lightning_tells_them(
    settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(*SMALL, "data.batch_size=600")
    ours, lightnings = (heard(settings, is_plain, monkeypatch) for is_plain in (True, False))
    assert ours == lightnings
    assert len(ours) == 2 * 2 * 4 + 1
