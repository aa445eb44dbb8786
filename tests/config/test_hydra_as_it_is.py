"""What Hydra offers works here as in any program of Hydra's: globs, sweeper parameters, `compose`, threads."""

import argparse
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from torch import Tensor

from actsweep import composition, one_run
from actsweep.places import REPOSITORY
from actsweep.sweep import search
from tests.conftest import SMALL, names_in

Command = Callable[..., int]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", "depth=1", "width=4"]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize(
    "words",
    [
        ["act=glob(*)"],
        ["act=glob([re*,ta*])", "seed=0,1"],
        ["act=glob(*,exclude=[s*,relu?])", "optim=glob(*)"],
        ["init=glob(*)", "trainer=glob(c*)"],
        ["act=choice(relu,tanh)", "seed=range(0,3)", "optim.lr=range(0.1,0.3,0.1)"],
        ["act=sort(tanh,relu)", "seed=sort(3,1,2,reverse=true)", "depth=tag(deep,choice(1,2))"],
        ["hidden_sizes=[1,2],[3]", "diagnostics=[gradients,units],[]"],
        ["+init.by_act.x=1,2", "++seed=3,4", "~patience"],
        ["seed=int(1.0),2", "optim.lr=float(1),1e-3,inf", "data.source.root='a,b','~/c d',\"e\\'f\""],
        ["seed=1,2", "seed=3", "depth=null,1"],
        ["seed=choice(1,2)", "width=choice(3)", "patience=null"],
        [],
    ],
)
def test_a_grid_has_the_jobs_of_hydras_basic_sweeper(words: list[str], loader: ConfigLoader) -> None:
    master = loader.load_configuration("config", words, RunMode.MULTIRUN)
    parsed = OverridesParser.create(loader).parse_overrides(words)
    [expected] = BasicSweeper.split_arguments(parsed, None)
    assert search.grid(master, loader) == expected
    assert all(len(job) == len({word.partition("=")[0] for word in words}) for job in expected)


@pytest.mark.parametrize("place", [0, 3, None])
def test_options_may_stand_among_the_overrides(place: int | None, command: Command, tmp_path: Path) -> None:
    words = [*QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    assert command(*words[:place], "-m", "--config-name", "config", *(words[place:] if place is not None else [])) == 0
    assert len(list(tmp_path.glob("*/result.json"))) == 2


def test_a_python_that_wants_texts_as_help_is_given_them(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = argparse.ArgumentParser.add_argument

    def as_in_3_14(self: argparse.ArgumentParser, *names: str, **how: Any) -> argparse.Action:
        if not isinstance(how.get("help", ""), str):
            raise ValueError("badly formed help string")
        return add(self, *names, **how)

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", as_in_3_14)
    assert command("--hydra-help") == 0
    assert "Install or Uninstall shell completion:" in capsys.readouterr().out


def test_a_rerun_of_nothing_is_one_line(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="Experimental rerun"):
        assert command("--experimental-rerun", "nosuch.pickle") == 2
    assert capsys.readouterr().err == "error: File nosuch.pickle does not exist!\n"


def test_shuffled_values_are_all_there(loader: ConfigLoader) -> None:
    words = ["seed=shuffle(range(0,20))", "act=shuffle(relu,tanh)"]
    master = loader.load_configuration("config", words, RunMode.MULTIRUN)
    found = {tuple(job) for job in search.grid(master, loader)}
    assert found == {(f"seed={seed}", f"act={act}") for seed in range(20) for act in ("relu", "tanh")}


@pytest.mark.parametrize(
    ("more", "acts"),
    [
        (["act=glob([relu*,tanh])"], ["relu", "relu6", "tanh"]),
        (["act=glob([relu*,tanh])", "hydra/launcher=basic"], ["relu", "relu6", "tanh"]),
        (["act=glob(*u,exclude=[*e*])", "hydra.sweeper.max_batch_size=1"], ["silu"]),
        (['+hydra.sweeper.params.act="relu,tanh"', "hydra.sweeper.max_batch_size=1"], ["relu", "tanh"]),
        (['++hydra.sweeper.params={act:"glob(t*)",seed:"range(0,2)"}'], ["tanh", "tanh"]),
        (['+hydra.sweeper.params.act="relu,tanh"', "act=elu"], ["elu"]),
    ],
)
def test_a_sweep_runs_what_globs_and_parameters_name(
    more: list[str], acts: list[str], command: Command, tmp_path: Path
) -> None:
    assert command("-m", *QUICK, *more, f"hydra.sweep.dir={tmp_path}/out") == 0
    found = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/result.json")]
    assert sorted(run["act"] for run in found) == acts
    assert all(run["status"] == "completed" for run in found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
@pytest.mark.filterwarnings("ignore:.*declarative_base")
def test_a_search_may_choose_from_a_glob_and_from_parameters(command: Command, tmp_path: Path) -> None:
    sweep = ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=4"]
    sweep += ["hydra.sweeper.n_jobs=1", "hydra/sweeper/sampler=grid", '+hydra.sweeper.params.seed="choice(0,1)"']
    assert command("-m", *QUICK, *sweep, "act=glob([ta*,elu])", f"hydra.sweep.dir={tmp_path}/out") == 0
    found = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/result.json")]
    assert sorted((run["act"], run["seed"]) for run in found) == [("elu", 0), ("elu", 1), ("tanh", 0), ("tanh", 1)]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "data.source.root=~/x",
            "Hydra reads '~' only within quotes; if it is one value, write 'data.source.root=\"~/x\"'",
        ),
        ("data.source.root=/a(b)", "if it is one value, write 'data.source.root=\"/a(b)\"'"),
        ("+hydra.sweeper.params.seed=0,1", "as one value, quote it: '+hydra.sweeper.params.seed=\"0,1\"'"),
        ("seed=interval(0,1)", "seed=interval(0,1): needs a sweeper that chooses values, such as hydra/sweeper=optuna"),
        ("seed=range(0,3,0)", "seed=range(0,3,0): range() arg 3 must not be zero"),
        ("act=glob(nosuch*)", "act=glob(nosuch*): there is no value in it, so that nothing would run"),
        ("seed=glob(*)", "seed=glob(*): there is no value in it, so that nothing would run"),
        ("hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size=0: must be at least 1, or null"),
        ("hydra/launcher=side_by_side", "hydra/launcher=side_by_side is gone: use hydra/launcher=sweep, the default"),
        ("act=null", "a choice must be a name, as act=relu, or a list of names, as diagnostics=[units]"),
        ("diagnostics=[1]", "a choice must be a name, as act=relu, or a list of names, as diagnostics=[units]"),
        ("init.by_act={}", "init.by_act: there is no such key; to add one, write +init.by_act="),
        ("hydra.launcher.nosuch=1", "hydra.launcher.nosuch: there is no such key"),
    ],
)
def test_what_hydra_cant_read_is_told_in_one_line_with_the_way_to_write_it(
    given: str, line: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", *QUICK, given, f"hydra.sweep.dir={tmp_path}/out") == 2
    [shown] = capsys.readouterr().err.splitlines()
    assert line in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "launcher",
    ["hydra/launcher=stacked hydra.launcher.max_members=0", "hydra/launcher=sweep hydra.launcher.processes=0",
     "hydra/launcher=stacked hydra.launcher.save_every=often"],
)  # fmt: skip
def test_a_mistake_in_a_launchers_arguments_creates_nothing(
    launcher: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", *QUICK, "seed=0,1", *launcher.split(), f"hydra.sweep.dir={tmp_path}/out") == 2
    [shown] = capsys.readouterr().err.splitlines()
    assert launcher.split()[1] in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("launcher", ["sweep", "basic"])
def test_a_value_that_points_to_another_key_has_that_of_its_own_job(
    launcher: str, command: Command, tmp_path: Path
) -> None:
    points = ["optim.weight_decay=${optim.lr}", "optim.momentum=${.weight_decay}", "optim.lr=0.1,0.2"]
    sweep = ["-m", *QUICK, *points, f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert command(*sweep) == 0
    assert command(*sweep, "plan=true") == 0
    assert command(*QUICK, *points[:2], f"hydra.run.dir={tmp_path}/run") == 0
    found = [json.loads(path.read_text())["config"]["optim"] for path in sorted(tmp_path.rglob("result.json"))]
    assert [(each["lr"], each["weight_decay"], each["momentum"]) for each in found] == [
        (0.01, 0.01, 0.01), (0.1, 0.1, 0.1), (0.2, 0.2, 0.2),
    ]  # fmt: skip
    assert len(list((tmp_path / "sweep").glob("*-weight_decay=0.2-momentum=0.2-lr=0.2"))) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
def test_in_a_search_it_has_that_of_its_own_trial(command: Command, tmp_path: Path) -> None:
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=2"]
    points = ["optim.weight_decay=${optim.lr}", "optim.lr=choice(0.1,0.2)", f"hydra.sweep.dir={tmp_path}"]
    assert command(*search, *QUICK, *points) == 0
    for path in tmp_path.glob("*/result.json"):
        optim = json.loads(path.read_text())["config"]["optim"]
        assert optim["weight_decay"] == optim["lr"] > 0.05


def test_runs_in_folders_of_folders_have_names_that_tell_them_apart(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["hydra.sweep.subdir=${names.act}/s${seed}", f"hydra.sweep.dir={tmp_path}"]
    assert command("-m", *QUICK, "act=relu,tanh", "seed=0,1", *where) == 0
    assert "/s1: test accuracy" in capsys.readouterr().out
    names = {json.loads(path.read_text())["name"] for path in tmp_path.rglob("result.json")}
    assert names == {"relu/s0", "relu/s1", "tanh/s0", "tanh/s1"}


SEEN: set[tuple[str, float]] = set()


def noting(x: Tensor, place: str) -> Tensor:
    """ReLU, which notes where it is said to be, and a variable."""
    SEEN.add((place, float(os.environ.get("NUMBER", "-1"))))
    return x.relu()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_jobs_folder_and_variables_are_its_own_also_before_it_begins_and_where_others_do_it(
    processes: int, command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [f"act={__name__}.noting", "+act.place=${hydra:runtime.output_dir}"]
    sweep = [
        "-m",
        *QUICK,
        *own,
        f"hydra.sweep.dir={tmp_path}/sweep",
        "seed=0,1",
        f"hydra.launcher.processes={processes}",
    ]
    SEEN.clear()
    assert command(*sweep, "+hydra.job.env_set.NUMBER=${hydra.job.num}", "hydra.sweep.subdir=${seed}") == 0
    assert command(*sweep, "+hydra.job.env_set.NUMBER=${hydra.job.num}", "hydra.sweep.subdir=${seed}") == 0
    assert "2 runs → " in capfd.readouterr().out
    named = {path.name: json.loads(path.joinpath("result.json").read_text()) for path in tmp_path.glob("sweep/?")}
    assert {name: run["config"]["act"]["place"] for name, run in named.items()} == {
        name: f"{tmp_path}/sweep/{name}" for name in "01"
    }
    if processes == 1:
        assert {each for each in SEEN if each[1] >= 0} == {(f"{tmp_path}/sweep/{seed}", seed) for seed in (0, 1)}
    run = [*QUICK, *own, f"hydra.run.dir={tmp_path}/run"]
    assert command(*run) == command(*run) == 0


def test_a_run_may_be_named_after_its_number(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "seed=0,1", "hydra.sweep.subdir=${hydra.job.num}", f"hydra.sweep.dir={tmp_path}"]
    for _ in range(2):
        assert command(*sweep) == 0
    seeds = {path.parent.name: json.loads(path.read_text())["seed"] for path in tmp_path.glob("*/result.json")}
    assert seeds == {"0": 0, "1": 1}


SELECTIONS = [[], ["act=torch.nn.Hardshrink"], ["act=tanh", "init=matching", "optim=adam"]]
SELECTIONS += [[f"+experiment={name}"] for name in names_in("experiment") if name != "tuned"]  # needs a sweep's results


@pytest.mark.parametrize("overrides", SELECTIONS)
def test_composing_alone_gives_the_settings_and_names_of_a_command(overrides: list[str]) -> None:
    HydraConfig.instance().cfg = None
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        alone = composition.read(compose("config", overrides))
        within = compose("config", overrides, return_hydra_config=True)
    choices = within.hydra.runtime.choices
    assert alone.names.model_dump() == {group: choices[group] for group in ("act", "init", "data", "optim")}
    assert alone == composition.read(within)


def test_a_notebook_composes_and_trains_in_a_thread_too(tmp_path: Path) -> None:
    HydraConfig.instance().cfg = None
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        settings = composition.read(compose("config", QUICK))
    expected = one_run.train(settings, tmp_path / "here")
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(one_run.train(settings, tmp_path / "there")["test_loss"]))
    thread.start()
    thread.join()
    assert found == [expected["test_loss"]]


def test_the_command_runs_in_a_thread(command: Command, tmp_path: Path) -> None:
    codes: list[int] = []
    place = f"hydra.run.dir={tmp_path}/run"
    thread = threading.Thread(target=lambda: codes.append(command(*QUICK, place)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "completed"
