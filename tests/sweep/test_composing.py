"""The configurations that a sweep checks and launches are those that Hydra composes, however quickly they are made."""

import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from actsweep import composition
from actsweep.sweep.composing import Composing
from tests.conftest import SMALL

COMMON = ["data=digits", "hydra.sweep.dir=x"]
GRID = [
    ["act=relu", "seed=0", "optim.lr=0.1"],
    ["act=relu", "seed=1", "optim.lr=1e-3"],
    ["act=tanh", "seed=0x", "optim.lr=yes"],  # of other types: they are refused later
    ["act=leakyrelu", "seed=0", "optim.lr=0.1"],
    ["act=torch.nn.Mish", "seed=0", "optim.lr=0.1"],
    ["act=leakyrelu", "act.negative_slope=0.3", "seed=0"],
    ["act=torch.nn.CELU", "init=critical"],
    ["act=torch.nn.Hardtanh", "init=critical"],  # a choice of act is a value too
    ["+init.by_act.x=1", "depth=null", "data.batch_size=all", "hydra.job.name=one"],
    ["+init.by_act.x=1", "depth=3", "data.batch_size=32", "hydra.job.name=one"],
    ["hidden_sizes=[3,4]", "seed=1"],
    ["hidden_sizes=[3,4]", "seed=2"],
    ["seed=1", "seed=2"],
    ["seed=3", "seed=2"],
]


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
    shared = composing.each(master, [[*COMMON[:1], *each] for each in GRID])
    for number, (config, own) in enumerate(zip(shared, expected, strict=True)):
        own["hydra"]["job"] |= {"id": str(number), "num": number}  # as Hydra numbers a job that runs
        assert plain(config) == own
        own["hydra"]["job"] |= {"id": "???", "num": "???"}
    assert len(composed) == 7
    for overrides, config in zip(GRID, expected, strict=True):
        assert plain(composing.load_sweep_config(master, [*COMMON[:1], *overrides])) == config, overrides
    assert len(composed) == 7
    assert len(pickle.dumps(composing)) < 100_000  # what processes are sent holds none of them
    sent: Composing = pickle.loads(pickle.dumps(composing))
    assert plain(sent.load_sweep_config(master, [*COMMON[:1], *GRID[1]])) == expected[1]
    assert len(composed) == 8


def test_what_else_is_said_of_an_activation_holds_for_each_choice(loader: ConfigLoader, tmp_path: Path) -> None:
    for name, text in (("experiment/steep", "act:\n  slope: 0.3"), ("act/own", "defaults: [relu]\nslope: 2")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n" if "exp" in name else f"{text}\n")
    common = [*COMMON, f"hydra.searchpath=[file://{tmp_path}]"]
    master = loader.load_configuration("config", common, RunMode.MULTIRUN)
    steep = [["data=digits", f"act={act}", "+experiment=steep"] for act in ("leakyrelu", "tanh", "torch.nn.CELU")]
    grid = [*steep, *(["data=digits", f"act={act}"] for act in ("relu", "own", "tanh"))]
    composing = Composing(loader)
    for overrides in grid:
        expected = plain(loader.load_sweep_config(master, overrides))
        assert plain(composing.load_sweep_config(master, overrides)) == expected, overrides


class Heard(Callback):
    """Notes what a job's callbacks are given."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def run(self, config: DictConfig) -> None:
        self.said.append(plain(config))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.said.append(plain(config))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        assert job_return.hydra_cfg is not None
        ours = job_return.overrides, job_return.task_name, job_return.working_dir, job_return.status
        self.said += [plain(config), plain(job_return.cfg), plain(job_return.hydra_cfg.hydra), ours]


def test_a_job_leaves_and_hears_what_hydras_own_run_leaves_and_tells(loader: ConfigLoader, tmp_path: Path) -> None:
    setup_globals()
    found = []
    for own in (False, True):
        place = f"hydra.sweep.dir={tmp_path}"
        master = loader.load_configuration("config", [COMMON[0], place], RunMode.MULTIRUN)
        heard, composing = Heard(), Composing(loader)
        context = HydraContext(loader, Callbacks())
        context.callbacks.callbacks = [heard]
        for number, each in enumerate(GRID[:-1]):  # the last one has another's folder
            overrides, task = [COMMON[0], place, *each], heard.run
            if own:
                composing.run(context, master, number, overrides, task)
                continue
            config = loader.load_sweep_config(master, overrides)
            config.hydra.job.id = config.hydra.job.num = number
            run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
        files = {path: path.read_text() for path in tmp_path.rglob("*.yaml")}
        assert len(files) == 3 * len(GRID[:-1])
        found.append((files, heard.said))
        shutil.rmtree(tmp_path)
    assert found[0] == found[1]


@pytest.mark.parametrize(("launcher", "times"), [("basic", 8), ("sweep", 4)])
def test_a_sweep_of_seeds_has_hydra_compose_one_configuration_and_a_stack_reads_each_runs_once(
    launcher: str, times: int, command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed, original = [], ConfigLoaderImpl.load_sweep_config

    def counted(self: ConfigLoader, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        composed.append(sweep_overrides)
        return original(self, master_config, sweep_overrides)

    validated: list[DictConfig] = []
    read = composition.validated
    monkeypatch.setattr(composition, "validated", lambda config: validated.append(config) or read(config))
    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    tiny = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", f"hydra/launcher={launcher}"]
    assert command("-m", *tiny, "seed=range(4)", f"hydra.sweep.dir={tmp_path}") == 0
    assert [each[-1] for each in composed] == ["seed=0"]
    assert len(validated) == times
    assert len(list(tmp_path.glob("*/result.json"))) == 4


@dataclass
class Plugins:
    """What a launcher's plugin would register, in a module that Hydra imports once more in the launcher's process."""

    cpus: int = 2


def test_a_process_in_which_hydra_has_imported_a_launchers_plugin_anew_composes_its_job(
    loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit's processes do: what the configuration holds of the plugin can't be pickled there."""
    master = loader.load_configuration("config", COMMON, RunMode.MULTIRUN)
    OmegaConf.update(master, "hydra.launcher", OmegaConf.structured(Plugins), merge=False, force_add=True)
    monkeypatch.setattr(f"{__name__}.Plugins", dataclass(type("Plugins", (), {"__module__": __name__})))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(master)
    composing = Composing(loader)
    for overrides in (["data=digits", "seed=0"], ["data=digits", "seed=1"]):
        expected = plain(loader.load_sweep_config(master, overrides))
        assert plain(composing.load_sweep_config(master, overrides)) == expected
