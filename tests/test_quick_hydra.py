"""What the tests' Hydra keeps is what Hydra composes."""

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf

from tests import quick_hydra
from tests.conftest import SMALL


def composed(how: Any, *arguments: Any) -> str:
    try:
        return OmegaConf.to_yaml(how(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(("mode", "validated"), [(RunMode.RUN, True), (RunMode.MULTIRUN, False)])
@pytest.mark.parametrize(
    "overrides",
    [
        [*SMALL, "act=torch.nn.Hardtanh", "+act.max_val=6.0"],
        ["+sweeps=quick", "hydra/launcher=stacked", "hydra.run.dir=/x-y/z", "seed=1,2", "hydra.sweep.dir=/tmp/b"],
        ["hydra.sweep.dir='/tmp/c d'", "~diagnostics", "act=choice(relu,tanh)"],
        ["hydra.run.dir=/x", "seed=3", "hydra.mode=RUN", "depth=2"],
        ["no_such_key=1"],
        ["act=relu", "hydra.sweep.dir=/tmp/a,/tmp/b"],
        ["act=relu", "init=critical", "data=spiral", "model=deep10", "optim=adam", "+experiment=tuned"],
        ["act=relu", "init=no_such_init"],
        ["act=relu", "+diagnostics=jacobian", "~diagnostics.theory"],
    ],
)
def test_every_configuration_is_hydras_own(
    overrides: list[str], mode: RunMode, validated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup_globals()
    loader = ConfigLoaderImpl(create_config_search_path(str(Path("conf").resolve())))
    arguments = (loader, "config", overrides, mode, True, validated)
    with monkeypatch.context() as patch:
        quick_hydra.put(quick_hydra.HYDRAS, patch)
        expected = composed(ConfigLoaderImpl.load_configuration, *arguments)
    assert composed(ConfigLoaderImpl.load_configuration, *arguments) == expected
    assert composed(ConfigLoaderImpl.load_configuration, *arguments) == expected
