"""What tests share: composed settings, small runs on digits, and a command line that runs in this process."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from src import REPOSITORY, config, naming, train

SMALL = [
    "data=digits",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=2",
    "depth=2",
    "width=16",
    "report=false",
    "figures=[]",
]
BROWSER: dict[str, Any] = {
    "executable_path": "/usr/bin/chromium",
    "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"],
}  # fmt: skip
naming.register()


def names_in(group: str) -> list[str]:
    """The choices of a configuration group: every YAML file, so that new ones are tested unedited."""
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _from_the_repository_with_a_clean_hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def settings_for() -> Callable[..., config.Settings]:
    """Settings from overrides, as the command line would make them."""

    def make(*overrides: str) -> config.Settings:
        with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            composed = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        return config.read(composed)

    return make


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`python -m src.train ARGUMENTS` in this process; returns the exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        try:
            train.main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            GlobalHydra.instance().clear()
        return 0

    return run


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that no worker waits for it at the end: the published 50,000 steps take minutes."""
    items.sort(key=lambda item: item.path.name != "test_studies.py")
