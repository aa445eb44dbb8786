"""Losses under mixed precision: what is measured is measured against the labels, not their first two digits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.network.losses import LOSSES
from actsweep.results import run_folder
from actsweep.training.stack.training import Training
from tests.conftest import SMALL


def test_squared_errors_are_of_the_labels_as_they_are_in_both_engines() -> None:
    outputs, labels = torch.tensor([[1016.0], [0.5]], dtype=torch.bfloat16), torch.tensor([1013.25, 0.2]).double()
    expected = (2.75**2 + 0.3**2) / 2
    with torch.autocast("cpu", torch.bfloat16):
        alone = LOSSES["mse"].value(outputs, labels)
        stacked = LOSSES["mse"].of_each(outputs[None], labels[None])
    assert alone.dtype == stacked.dtype == torch.float32
    assert (alone.item(), stacked.item()) == pytest.approx((expected, expected), rel=1e-6)


def test_regressions_in_bf16_have_the_same_losses_stacked_and_alone(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    regression = ("data=sine", "loss=mse", "data.steps_per_epoch=5", "trainer.precision=bf16-mixed", "diagnostics=[]")
    settings = settings_for(*SMALL, *regression)
    folders = [tmp_path / name for name in ("alone", "stacked")]
    for folder in folders:
        folder.mkdir()
    alone = one_run.train(settings, folders[0])
    Training([(settings, folders[1])], torch.device("cpu")).run()
    stacked = run_folder.read_result(folders[1])
    assert stacked is not None
    assert stacked["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-3)
