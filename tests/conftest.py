"""What tests share: composed settings, small runs on digits, and a command line that runs in this process.

Fixtures import what they need: the process that only deals tests out to others needs none of it.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actsweep.places import REPOSITORY
from tests.processes import pytest_configure, pytest_runtest_call, started_warm  # noqa: F401

# Before torch is imported: forks, of which there are many here, have no other threads, and would wait for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    import torch
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig
    from playwright.sync_api import Browser

    from actsweep.config.schema import Settings

SMALL = [  # as Hydra writes them for a job of a sweep
    "data=digits",
    "trainer=cpu",
    "trainer.enable_progress_bar=False",
    "trainer.max_epochs=2",
    "depth=2",
    "width=16",
    "report=False",
    "figures=[]",
]
PATIENCE = 600_000  # ms: a browser can't be asked whether it is still at work. What it draws takes it seconds
BROWSER: dict[str, Any] = {
    "executable_path": shutil.which("chromium") or shutil.which("google-chrome") or "/usr/bin/chromium",
    "timeout": PATIENCE,
    "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"],
}  # fmt: skip


def names_in(group: str) -> list[str]:
    """The choices of a configuration group: every YAML file, so that new ones are tested unedited."""
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _from_the_repository_with_a_clean_hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from hydra.core.global_hydra import GlobalHydra

    from actsweep.training.progress import ProgressBar

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(ProgressBar, "shown", True)  # what trains in processes of its own hides it there
    yield
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session", autouse=True)
def _what_need_not_be_repeated_is_not() -> Iterator[None]:
    """Composing; looking for garbage among what was imported; waiting for a disk that nobody unplugs."""
    from actsweep.imports import keep
    from tests import quick_hydra

    gc.collect()
    keep()
    with pytest.MonkeyPatch.context() as patch:
        quick_hydra.put(quick_hydra.INSTEAD, patch)
        patch.setattr(os, "fsync", lambda _: None)
        yield


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    from actsweep import composition

    return composition.composed(list(overrides))


@pytest.fixture
def settings_for() -> Callable[..., Settings]:
    """Settings from overrides, as the command line would make them."""
    from hydra.core.hydra_config import HydraConfig

    from actsweep import composition

    def make(*overrides: str) -> Settings:
        found = composed(overrides)  # a tenth of a second; many tests ask for the same
        HydraConfig.instance().set_config(found)
        return composition.read(found)

    return make


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`python -m src.train ARGUMENTS` in this process; returns the exit code."""
    from hydra.core.global_hydra import GlobalHydra

    from actsweep import jobs

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


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    """Hydra's, of this project's configuration."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from actsweep import composition  # noqa: F401  # the resolvers

    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all: Playwright can't be started twice in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**BROWSER)
        yield browser
        browser.close()


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    import torch

    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state
