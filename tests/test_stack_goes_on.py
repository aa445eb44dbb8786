"""A stack that is given more epochs, or is moved, goes on from its members' files and its own, bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src import results
from tests.conftest import SMALL

Command = Callable[..., int]
# Of these, some stop early before epoch 3, and others have begun to count.
GRID = ["-m", "hydra/launcher=stacked", "hydra.launcher.processes=1", *SMALL, "act=prelu,tanh", "seed=0,1",
        "patience=2", "optim.lr=0.1,0.4", "diagnostics.units.every_n_epochs=2",
        "hydra.sweep.subdir=${hydra.runtime.choices.act}-s${seed}-${optim.lr}"]  # fmt: skip


def results_of(sweep: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(sweep.glob("*/result.json"))}
    return {name: each | {"seconds": 0, "git": ""} for name, each in found.items()}


def assert_equal_checkpoints(one: Any, other: Any, place: str = "") -> None:
    """Bit for bit, but for what can't be: times, hashes of nothing but names."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"seconds", "stopping_reason_message"}:
            assert_equal_checkpoints(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_equal_checkpoints(first, second, f"{place}/{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), place
    else:
        assert one == other, place


def assert_same_runs(one: Path, other: Path) -> None:
    """Weights, optimisers' and callbacks' states, tables and results."""
    assert results_of(one) == results_of(other)
    for folder in sorted(path.parent for path in one.glob("*/result.json")):
        for name in (results.LAST, results.BEST):
            states = [torch.load(each / folder.name / name, weights_only=True) for each in (one, other)]
            assert_equal_checkpoints(*states, place=f"{folder.name}/{name}")
        sizes = results.table_sizes(folder)
        assert sizes == results.table_sizes(other / folder.name)
        for table in sizes:
            assert (folder / table).read_bytes() == (other / folder.name / table).read_bytes(), (folder.name, table)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("six")


@pytest.fixture
def six_at_once(command: Command, six: Path) -> Path:
    if not results_of(six):
        assert command(*GRID, "trainer.max_epochs=6", f"hydra.sweep.dir={six}") == 0
        epochs = [each["epochs"] for each in results_of(six).values()]
        assert min(epochs) < 3
        assert epochs.count(6) > 1
    return six


def test_more_epochs_in_the_same_folder_end_as_so_many_at_once(
    command: Command, tmp_path: Path, six_at_once: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = f"hydra.sweep.dir={tmp_path}"
    assert command(*GRID, "trainer.max_epochs=3", sweep) == 0
    capsys.readouterr()
    assert command(*GRID, "trainer.max_epochs=6", sweep) == 0
    said = capsys.readouterr().out
    assert "runs in one stack on cpu, going on after epoch 3" in said
    assert "one by one: trained already" in said
    assert_same_runs(six_at_once, tmp_path)
