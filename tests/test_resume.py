"""What a kill, a signal or a full disk interrupts goes on where it stopped, and ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src import results, train
from src.config import Settings
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
Command = Callable[..., int]
# Everything with a state of its own: momenta, running means, random slopes, dead units, schedules in steps and epochs.
RICH = [*SMALL, "act=torch.nn.RReLU", "norm=batch", "optim=adam", "trainer.max_epochs=6", "patience=2", "seed=4",
        "diagnostics=[gradients,updates,units,curve,steps,predictions,samples]",
        "diagnostics.gradients.every_n_steps=7", "diagnostics.units.every_n_epochs=2"]  # fmt: skip
MOMENTS = [
    "src.classifier:Classifier.training_step:2",  # before the first checkpoint
    "src.classifier:Classifier.training_step:50",  # in the middle of an epoch
    "src.tables:Tables._append:9",
    "src.results:replace:4",  # a checkpoint is written, but has not taken its place
    "src.results:replace:5",  # best.ckpt has taken its place, last.ckpt not yet
    "src.diagnostics.predictions:confidence:1",  # in the test, when nothing is left to train
    "src.results:write_result:1",
]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints' parts are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser, early stopping, best score, tables and result are the same; times may differ."""
    for name in (results.LAST, results.BEST):
        first, second = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        for part in ("state_dict", "optimizer_states", "callbacks", "epoch", "global_step"):
            assert equal(first[part], second[part]), (name, part)
    assert results.table_sizes(one) == results.table_sizes(other)
    for table in results.table_sizes(one):
        assert (one / table).read_bytes() == (other / table).read_bytes(), table
    first, second = (json.loads((folder / results.RESULT).read_text()) for folder in (one, other))
    assert {k: v for k, v in first.items() if k not in {"seconds", "name"}} == {
        k: v for k, v in second.items() if k not in {"seconds", "name"}
    }


def test_a_killed_run_goes_on_bit_for_bit(
    settings_for: SettingsFor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "tests.killed", str(tmp_path), *MOMENTS, "--", *RICH]
    subprocess.run(command, check=True, timeout=300, env=environment())
    settings = settings_for(*RICH)
    result = train.train(settings, tmp_path / "whole")
    assert capsys.readouterr().out == ""
    for place, moment in enumerate(MOMENTS):
        folder = tmp_path / str(place)
        assert not (folder / results.RESULT).exists()
        had_a_checkpoint = (folder / results.LAST).exists() or (folder / results.BEST).exists()
        train.train(settings, folder)
        assert ("goes on after epoch" in capsys.readouterr().out) == had_a_checkpoint == (place > 0), moment
        assert_same_run(tmp_path / "whole", folder)
        assert not list(folder.rglob("*.tmp")), moment
    assert result["epochs"] >= 3
