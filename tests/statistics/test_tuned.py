"""The learning rate of the second part of a study comes from those runs of the first that are otherwise the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actsweep import composition
from actsweep.config import schema
from actsweep.results import run_folder
from actsweep.statistics import tuned
from tests.conftest import SMALL

SettingsFor = Callable[..., schema.Settings]
Leave = Callable[..., None]
WHOLE: dict[str, Any] = {"name": "", "depth": 0, "hidden_sizes": [], "epochs": 1, "classes": 10} | {
    "test_accuracy": None
}
ASKS = ("act=relu", "init=default", "depth=2")


@pytest.fixture
def leave(tmp_path: Path, settings_for: SettingsFor) -> Leave:
    """Leaves a run of the study in the folder, with the configuration that these overrides give."""

    def left(lr: float, seed: int, accuracy: float | None, *overrides: str, **result: Any) -> None:
        settings = settings_for(*SMALL, *ASKS, f"optim.lr={lr}", f"seed={seed}", *overrides)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        run = WHOLE | {
            "status": "completed",
            "act": settings.names.act,
            "init": settings.names.init,
            "seed": seed,
            "classes": 10,
        }
        run_folder.write_result(folder, run | {"config": settings.plain(), "val_accuracy": accuracy} | result)

    return left


@pytest.fixture
def ask(tmp_path: Path, settings_for: SettingsFor) -> Callable[..., float]:
    composition.register()

    def rate(*overrides: str) -> float:
        asked = "'${tuned_lr:" + str(tmp_path) + ",${names.act},${names.init}}'"
        return settings_for(*SMALL, *ASKS, f"optim.lr={asked}", "seed=7", *overrides).optim.lr

    return rate


def test_the_first_part_is_looked_for_where_the_command_was_typed(
    leave: Leave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(0.1, 0, 0.6)
    monkeypatch.chdir(tmp_path.parent)
    asked = "${tuned_lr:" + tmp_path.name + ",relu,default}"
    composition.register()
    composed = composition.composed([*SMALL, *ASKS, f"optim.lr='{asked}'"])
    monkeypatch.chdir("/")  # as hydra.job.chdir=true does
    assert composed.optim.lr == 0.1


def test_other_depths_norms_data_and_epochs_are_not_averaged_in(leave: Leave, ask: Callable[..., float]) -> None:
    leave(0.1, 0, 0.6)
    leave(0.01, 0, 0.5)
    for other in (
        "depth=3",
        "norm=batch",
        "data=spiral",
        "trainer.max_epochs=9",
        "optim.momentum=0.5",
        "data.batch_size=7",
    ):
        leave(0.01, 0, 1.0, other)
    assert ask() == 0.1
    assert ask("depth=3") == ask("data=spiral") == 0.01
    assert ask("report=true", "threads=1") == 0.1  # changes nothing that a run finds


def test_a_crash_is_no_result_and_divergence_is_chance(leave: Leave, ask: Callable[..., float]) -> None:
    leave(0.1, 0, 0.9)
    leave(0.1, 1, None, status="failed")
    leave(0.01, 0, 0.8)
    leave(0.01, 1, 0.8)
    assert ask() == 0.1  # 0.9, not (0.9 + 0) / 2
    leave(0.1, 2, None, status="diverged")
    assert ask() == 0.01  # against (0.9 + 0.1) / 2


def test_a_seed_counts_once_and_the_smaller_of_equals_is_taken(leave: Leave, ask: Callable[..., float]) -> None:
    for _ in range(3):
        leave(0.1, 0, 0.9)
    leave(0.1, 1, 0.5)
    leave(0.01, 0, 0.7)
    assert ask() == 0.01


def test_what_differs_in_the_nearest_run_is_named(leave: Leave, ask: Callable[..., float]) -> None:
    leave(0.1, 0, 0.9, "norm=batch", "patience=3")
    leave(0.1, 0, 0.9, "norm=batch")
    with pytest.raises(
        ValueError, match=r"act=relu init=default that differs in optim.lr and seed alone \(the nearest also in norm\)"
    ):
        ask()


def test_regressions_are_tuned_by_their_loss(tmp_path: Path) -> None:
    for number, (lr, loss, status) in enumerate(
        [(0.1, 0.2, "completed"), (0.1, None, "diverged"), (0.01, 0.3, "completed")]
    ):
        (tmp_path / str(number)).mkdir()
        run = WHOLE | {
            "status": status,
            "act": "relu",
            "init": "default",
            "seed": number,
            "val_loss": loss,
            "val_accuracy": None,
        }
        run_folder.write_result(tmp_path / str(number), run | {"config": {"loss": "mse", "optim": {"lr": lr}}})
    assert tuned.learning_rate(str(tmp_path), "relu", "default") == 0.01


def test_the_best_learning_rate_is_the_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(name: str, lr: float, accuracy: float, status: str = "completed") -> None:
        run = WHOLE | {"status": status, "act": "relu", "init": "default", "val_accuracy": accuracy, "seed": ord(name)}
        (tmp_path / name).mkdir()
        run_folder.write_result(tmp_path / name, run | {"config": {"optim": {"lr": lr}}})

    leave("a", 0.1, 0.9)
    leave("b", 0.1, 0.95, "diverged")
    leave("c", 0.01, 0.8)
    leave("d", 0.01, 0.7)
    assert tuned.learning_rate(str(tmp_path), "relu", "default") == 0.01
    with pytest.raises(
        ValueError, match=r"no run of act=tanh init=default: run `python -m src.train \+sweeps=fair` first"
    ):
        tuned.learning_rate(str(tmp_path), "tanh", "default")


def test_runs_that_validated_nothing_choose_no_learning_rate(leave: Leave, ask: Callable[..., float]) -> None:
    leave(0.1, 0, None)
    with pytest.raises(Exception, match=r"validated nothing.* give data\.val_size=N"):
        ask()
