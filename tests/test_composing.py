"""The configurations that a sweep checks and launches are those that Hydra composes, however quickly they are made."""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from actsweep.places import REPOSITORY
from actsweep.sweep.composing import Composing

COMMON = ["data=digits", "hydra.sweep.dir=x"]
GRID = [
    ["act=relu", "seed=0", "optim.lr=0.1"],
    ["act=relu", "seed=1", "optim.lr=1e-3"],
    ["act=tanh", "seed=0x", "optim.lr=yes"],  # of other types: they are refused later
    ["+init.by_act.x=1", "depth=null", "data.batch_size=all", "hydra.job.name=one"],
    ["+init.by_act.x=1", "depth=3", "data.batch_size=32", "hydra.job.name=one"],
    ["hidden_sizes=[3,4]", "seed=1"],
    ["hidden_sizes=[3,4]", "seed=2"],
    ["seed=1", "seed=2"],
    ["seed=3", "seed=2"],
]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader


def plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def test_configurations_are_hydras_own_and_few_of_them_are_composed(
    loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = loader.load_configuration("config", COMMON, RunMode.MULTIRUN)
    expected = [plain(loader.load_sweep_config(master, [*COMMON[:1], *each])) for each in GRID]
    composing, composed = Composing(loader), []
    original = type(loader).load_sweep_config

    def counted(self: ConfigLoader, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        composed.append(overrides)
        return original(self, config, list(overrides))

    monkeypatch.setattr(type(loader), "load_sweep_config", counted)
    for overrides, config in zip(GRID, expected, strict=True):
        assert plain(composing.keep(master, [*COMMON[:1], *overrides])) == config, overrides
    assert len(composed) == 6
    for overrides, config in zip(GRID, expected, strict=True):
        assert plain(composing(master, [*COMMON[:1], *overrides])) == config, overrides
    assert len(composed) == 6
    assert len(pickle.dumps(composing)) < 100_000  # what processes are sent holds none of them
    sent: Composing = pickle.loads(pickle.dumps(composing))
    assert plain(sent(master, [*COMMON[:1], *GRID[1]])) == expected[1]
    assert len(composed) == 7
