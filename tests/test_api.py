"""The public API: what `train` is given is what the command would be given, and `load` reads what runs leave."""

import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.version import getbase
from torch.optim import SGD

import actsweep
from actsweep.api import words
from actsweep.errors import UserError
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from tests.conftest import SMALL, weights_of
from tests.results.made_up_runs import result_of

TINY: dict[str, Any] = {
    "data": "digits", "depth": 2, "width": 16, "figures": [], "report": False, "diagnostics": ["gradients"],
    "trainer": {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False},
}  # fmt: skip


def test_train_gives_the_weights_that_the_command_gives(tmp_path: Path, command: Callable[..., int]) -> None:
    threads, before = torch.get_num_threads(), HydraConfig.instance().cfg
    result = actsweep.train(act="tanh", seed=3, folder=tmp_path / "called", **TINY)
    assert (torch.get_num_threads(), HydraConfig.instance().cfg) == (threads, before)
    assert command("act=tanh", "seed=3", *SMALL, "diagnostics=[gradients]", f"hydra.run.dir={tmp_path}/typed") == 0
    called, typed = (weights_of(tmp_path / name / run_folder.LAST) for name in ("called", "typed"))
    assert all(torch.equal(called[name], typed[name]) for name in typed)
    assert result == run_folder.read_result(tmp_path / "called")
    assert actsweep.train(act="tanh", seed=3, folder=tmp_path / "called", **TINY) == result  # finished: read


@pytest.mark.parametrize("key", ["deterministic", "benchmark"])
def test_what_a_run_asks_of_torch_ends_with_it(key: str, tmp_path: Path) -> None:
    actsweep.train(folder=tmp_path, **TINY | {"depth": 1, f"+trainer.{key}": True})
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"act": "nosuch"}, "^act=nosuch: must be one of"),
        ({"optim.lr": -1}, "^optim.lr=-1: must be greater than 0"),
        ({"trainer.max_epoch": 2}, "^trainer.max_epoch: there is no such key .did you mean trainer.max_epochs"),
        ({"seed": [0, 1]}, "^seed"),
        ({"+sweeps": "quick"}, "^.sweeps=quick: asks for many runs, and train does one"),
        ({"act": None}, "^a choice must be a name, as act=relu"),
        ({"act": torch.sin}, "built-in method sin.* a class or function its dotted path$"),
        ({"act": {"a": 1}}, "^act.a: there is no such key; to add one, write .act.a="),
        ({"hydra/launcher": "stacked_slurm"}, "^hydra/launcher=stacked_slurm: is for a sweep"),
    ],
)
def test_what_the_command_refuses_is_refused(overrides: dict[str, object], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        actsweep.train(folder=tmp_path / "run", **(TINY | overrides))
    assert not (tmp_path / "run").exists()


def test_a_plan_is_no_training_and_a_folder_that_is_not_there_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plan=true: says what a command would take"):
        actsweep.train(folder=tmp_path / "run", plan=True, **TINY)
    with pytest.raises(UserError, match="nosuch: there is no such folder"):
        actsweep.load(tmp_path, tmp_path / "nosuch")


def test_a_folder_may_lie_below_ones_home_and_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    actsweep.train(folder="~/run", **TINY)
    assert actsweep.load("~/run").runs["status"].tolist() == ["completed"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(UserError, match=r"^folder=here, hydra\.run\.dir='/there': give one of the two"):
        actsweep.train(folder="here", **{"hydra.run.dir": "/there"}, **TINY)


def test_train_may_be_called_where_hydra_is_in_use_and_by_several_threads(tmp_path: Path) -> None:
    tiny = TINY | {"diagnostics": [], "trainer": TINY["trainer"] | {"max_epochs": 1}}
    with initialize_config_dir(str(REPOSITORY / "conf" / "act"), job_name="mine", version_base="1.2"):
        hydra = GlobalHydra.instance().hydra
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(actsweep.train, seed=seed, folder=tmp_path / str(seed), **tiny) for seed in (0, 1)]
            assert [run.result()["seed"] for run in runs] == [0, 1]
        assert torch.equal(torch.rand(3), expected)
        assert GlobalHydra.instance().hydra is hydra
        assert compose("relu")["_target_"] == "torch.nn.ReLU"
        assert compose("relu", return_hydra_config=True).hydra.job.name == "mine"
        assert str(getbase()) == "1.2"


@pytest.mark.parametrize("way", ["dtype", "device", "inference", "autocast"])
def test_what_the_caller_has_set_in_torch_makes_no_other_run(way: str, tmp_path: Path) -> None:
    plain = actsweep.train(seed=0, folder=tmp_path / "plain", **TINY)
    try:
        torch.set_default_dtype(torch.float64 if way == "dtype" else torch.float32)
        torch.set_default_device("meta" if way == "device" else None)
        with torch.inference_mode(way == "inference"), torch.autocast("cpu", enabled=way == "autocast"):
            found = actsweep.train(seed=0, folder=tmp_path / "found", **TINY)
        assert torch.get_default_dtype() == (torch.float64 if way == "dtype" else torch.float32)
        assert torch.get_default_device().type == ("meta" if way == "device" else "cpu")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found["val_loss"] == plain["val_loss"]


def test_a_function_that_a_notebook_defines_anew_is_tried_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (mine, line) in enumerate([(torch.tanh, ""), (torch.isnan, "it must keep the type of its input")]):
        monkeypatch.setattr(f"{__name__}.mine", mine)
        with pytest.raises(UserError, match=line) if line else nullcontext():
            actsweep.train(act=f"{__name__}.mine", folder=tmp_path / str(number), **TINY)
    assert not (tmp_path / "1").exists()


def test_a_run_of_a_function_that_has_changed_since_is_not_taken_for_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"act": f"{__name__}.mine", "folder": tmp_path / "run", **TINY}
    monkeypatch.setattr(f"{__name__}.mine", lambda x: x.clamp(min=0))
    first = actsweep.train(**own)
    monkeypatch.setattr(f"{__name__}.mine", torch.relu)  # written otherwise
    assert actsweep.train(**own) == first
    monkeypatch.setattr(f"{__name__}.mine", torch.tanh)
    for more in ({}, {"trainer.max_epochs": 3}):
        with pytest.raises(UserError, match=r"act=.*mine gives other numbers now than then; choose another"):
            actsweep.train(**own | more)
    again = actsweep.train(rerun="all", **own)
    assert again["val_loss"] != first["val_loss"]
    assert actsweep.train(**own) == again


def test_an_initialisation_and_an_optimiser_that_have_changed_since_are_not_taken_for_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, own, others in (
        (
            "init",
            {"+init.weight._target_": f"{__name__}.mine"},
            (torch.nn.init.xavier_normal_, torch.nn.init.zeros_),
        ),
        ("optim", {"optim._target_": f"{__name__}.mine"}, (lambda of, **_: SGD(of, 0.1), lambda of, **_: SGD(of, 0.2))),
    ):
        asked = {**TINY, **own, "folder": tmp_path / part}
        monkeypatch.setattr(f"{__name__}.mine", others[0])
        first = actsweep.train(**asked)
        assert actsweep.train(**asked) == first
        monkeypatch.setattr(f"{__name__}.mine", others[1])
        with pytest.raises(UserError, match=rf"{part}=.*mine gives other numbers now than then; choose another"):
            actsweep.train(**asked)


def mine(x: torch.Tensor) -> torch.Tensor:
    return x


class Interrupts(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_in_train_is_a_keyboard_interrupt_and_the_next_one_is_heard_too(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    mine = {"diagnostics": [], "+diagnostics.mine._target_": f"{__name__}.Interrupts"}
    with pytest.raises(KeyboardInterrupt):
        actsweep.train(folder=tmp_path, **(TINY | mine))
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_folder_that_cant_be_one_is_refused_and_the_current_one_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = TINY | {"diagnostics": [], "depth": 1}
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        with pytest.raises(UserError, match="file"):
            actsweep.train(folder=tmp_path / place, **tiny)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert actsweep.train(folder=".", **tiny)["name"] == "here"


def test_a_folders_name_is_taken_as_it_is_and_a_user_who_isnt_there_has_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [r"${seed}\${act}", r"a\\${b}"]
    for name in names:
        actsweep.train(folder=name, **TINY | {"diagnostics": [], "depth": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for ask in (actsweep.load, lambda folder: actsweep.train(folder=folder)):
        with pytest.raises(UserError, match=r"^~nobody-here: there is no such user here"):
            ask("~nobody-here")


def test_a_folder_that_another_hydra_program_has_written_into_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("theirs")
    with pytest.raises(UserError, match=r"holds what actsweep did not write: \.hydra/config\.yaml"):
        actsweep.train(folder=tmp_path, **TINY)
    assert [path.name for path in tmp_path.rglob("*")] == [".hydra", "config.yaml"]


def test_load_leaves_out_what_other_programs_left_and_a_row_that_is_cut_off(tmp_path: Path) -> None:
    actsweep.train(seed=0, folder=tmp_path / "run", **TINY)
    whole = actsweep.load(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "result.json").write_text('{"status": "ok", "error": null}')
    with (tmp_path / "run" / run_folder.LAYERS).open("a") as file:
        file.write("2,36,layer_01,grad_norm,0.0")
    found = actsweep.load(tmp_path)
    assert found.runs.equals(whole.runs)
    assert found.layers.equals(whole.layers)
    (tmp_path / "run" / run_folder.LAYERS).write_text("")
    assert len(actsweep.load(tmp_path).layers) == 0


def test_load_says_which_runs_are_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actsweep.train(seed=0, folder=tmp_path / "run", **TINY)
    shutil.copytree(tmp_path / "run", tmp_path / "run_copied")
    monkeypatch.chdir(tmp_path)
    found = actsweep.load(".")
    monkeypatch.chdir("/")  # the report is of what was loaded
    assert found.runs["status"].tolist() == ["completed", "repeated"]
    assert found.settings["n"].tolist() == [1]


def test_columns_of_numbers_are_numbers_also_where_a_run_has_none(tmp_path: Path) -> None:
    """Else `describe` and `mean(numeric_only=True)` leave them out, in silence."""
    runs = [result_of(act, (8,), 0, "digits") for act in ("relu", "tanh")]
    runs[0] |= {"status": "diverged", "best_epoch": None, "test_accuracy": None, "test_loss": None}
    for run in runs:
        (tmp_path / run["act"]).mkdir()
        run_folder.write_result(tmp_path / run["act"], run)
    found = actsweep.load(tmp_path)
    assert set(found.runs.describe()) >= {"best_epoch", "test_accuracy", "test_loss"}
    assert found.settings.set_index("values_act")["mean_value"].isna().to_dict() == {"relu": True, "tanh": False}
    assert "mean" not in found.settings  # which would be empty for all


def test_load_gives_tidy_tables_that_say_what_was_varied(tmp_path: Path) -> None:
    for act, depth in (("relu", 1), ("tanh", 2)):
        actsweep.train(act=act, seed=0, folder=tmp_path / act, **(TINY | {"depth": depth}))
    found = actsweep.load(tmp_path)
    columns = ["act", "depth", "seed", "status"]
    assert found.runs[columns].values.tolist() == [["relu", 1, 0, "completed"], ["tanh", 2, 0, "completed"]]
    assert found.epochs.groupby("act")["epoch"].apply(list).to_dict() == {"relu": [1, 2], "tanh": [1, 2]}
    norms = found.layers.query("quantity == 'grad_norm'")
    assert norms.groupby("act")["layer"].nunique().to_dict() == {"relu": 2, "tanh": 3}
    assert set(norms["epoch"]) == {0, 1, 2}
    assert norms["unit"].unique().tolist() == ["nats per unit weight"]
    result = run_folder.read_result(tmp_path / "tanh") or {}
    tested = norms[(norms["act"] == "tanh") & (norms["epoch"] == result["best_epoch"])]
    assert tested["value"].tolist() == pytest.approx(result["grad_norm"])


def test_any_text_can_be_given() -> None:
    assert words({"a": np.arange(2), "b": range(2), "c": torch.tensor([0.5]), "d": np.float32(0.1), "e": np.True_}) == [
        *("a=[0,1]", "b=[0,1]", "c=[0.5]", "d=0.1", "e=true"),
    ]
    given = {"a": "it's", "b": "x=1, y", "c": "true", "d": None, "e": True, "f": 1e-3, "g": [1, "a b"], "h": {"k": {}}}
    assert words(given) == [
        "a='it\\'s'",
        "b='x=1, y'",
        "c='true'",
        "d=null",
        "e=true",
        "f=0.001",
        "g=[1,'a b']",
        "h.k={}",
    ]
