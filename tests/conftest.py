"""What tests share: composed settings, small runs on digits, and a command line that runs in this process."""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from actsweep import composition, jobs
from actsweep.config import schema
from actsweep.places import REPOSITORY
from actsweep.training.progress import ProgressBar
from tests.processes import pytest_configure, pytest_runtest_call  # noqa: F401

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
PATIENCE = 600_000  # ms: a browser can't be asked whether it is still at work. What it draws takes it seconds
BROWSER: dict[str, Any] = {
    "executable_path": shutil.which("chromium") or shutil.which("google-chrome") or "/usr/bin/chromium",
    "timeout": PATIENCE,
    "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"],
}  # fmt: skip
composition.register()


def names_in(group: str) -> list[str]:
    """The choices of a configuration group: every YAML file, so that new ones are tested unedited."""
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _from_the_repository_with_a_clean_hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(ProgressBar, "shown", True)  # what trains in processes of its own hides it there
    yield
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session", autouse=True)
def _files_are_parsed_once() -> Iterator[None]:
    """Hydra reads some thirty files for each command, and parses them in Python."""
    load, parsed = OmegaConf.load, cache(lambda text: load(io.StringIO(text)))

    def once(file: Any) -> Any:
        return deepcopy(parsed(file.read())) if hasattr(file, "read") else load(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", once)
        yield


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    return composition.composed(list(overrides))


@pytest.fixture
def settings_for() -> Callable[..., schema.Settings]:
    """Settings from overrides, as the command line would make them."""

    def make(*overrides: str) -> schema.Settings:
        found = composed(overrides)  # a tenth of a second; many tests ask for the same
        HydraConfig.instance().set_config(found)
        return composition.read(found)

    return make


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`python -m src.train ARGUMENTS` in this process; returns the exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        try:
            jobs.main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            GlobalHydra.instance().clear()
        return 0

    return run


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state
