"""What tests share: composed settings, small runs on digits, and a command line that runs in this process.

Fixtures import what they need: the process that only deals tests out to others needs none of it.
"""

from __future__ import annotations

import io
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actsweep.places import REPOSITORY
from tests.processes import pytest_configure, pytest_runtest_call, warm  # noqa: F401

if TYPE_CHECKING:
    import torch
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from omegaconf import DictConfig

    from actsweep.config.schema import Settings

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
def _files_are_parsed_once() -> Iterator[None]:
    """Hydra reads some thirty files for each command, and parses them in Python."""
    from omegaconf import OmegaConf

    load, parsed = OmegaConf.load, cache(lambda text: pickle.dumps(load(io.StringIO(text))))

    def once(file: Any) -> Any:
        return pickle.loads(parsed(file.read())) if hasattr(file, "read") else load(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", once)
        yield


IN = re.compile(r"(hydra\.(?:run|sweep)\.dir)=(/[\w/.-]+)")
ANYWHERE = "/anywhere"


@pytest.fixture(scope="session", autouse=True)
def _configurations_are_composed_once() -> Iterator[None]:
    """Hydra composes twice or more for a command, a tenth of a second each, and many differ in their folder alone."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from omegaconf import OmegaConf

    compose, kept = ConfigLoaderImpl.load_configuration, dict[Any, bytes]()

    def once(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *how: Any, **more: Any
    ) -> DictConfig:
        places = tuple((each.provider, each.path) for each in self.get_search_path().get_path())
        if "command-line" in dict(places) or any("hydra.searchpath" in each for each in overrides):
            return compose(self, config_name, overrides, *how, **more)  # from files that a test may change
        folders = {found[1]: found[2] for each in overrides if (found := IN.fullmatch(each))}
        alike = [IN.sub(rf"\1={ANYWHERE}", each) if IN.fullmatch(each) else each for each in overrides]
        key = places, config_name, *alike, how, *more.items(), Path.cwd()
        if key not in kept:
            kept[key] = pickle.dumps(compose(self, config_name, alike, *how, **more))
        config = pickle.loads(kept[key])
        named = config.hydra.overrides.hydra
        for name, folder in folders.items():
            OmegaConf.update(config, name, folder)
            named[:] = [f"{name}={folder}" if each == f"{name}={ANYWHERE}" else each for each in named]
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", once)
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

    from actsweep import one_run

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        try:
            one_run.main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            GlobalHydra.instance().clear()
        return 0

    return run


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    import torch

    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state
