"""A sweep: every combination, none twice, and no run at the cost of another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.conftest import SMALL

Command = Callable[..., int]


def test_a_sweep_runs_every_combination_and_tabulates_it(command: Command, tmp_path: Path, capsys: Any) -> None:
    sweep = [f"hydra.sweep.dir={tmp_path}", "act=relu,torch.nn.Hardshrink", "seed=0,1"]
    assert command("-m", *SMALL, *sweep) == 0
    table = pd.read_csv(tmp_path / "results.csv")
    assert sorted(zip(table["act"], table["seed"], strict=True)) == [
        ("relu", 0), ("relu", 1), ("torch.nn.Hardshrink", 0), ("torch.nn.Hardshrink", 1),
    ]  # fmt: skip
    assert (table["status"] == "completed").all()
    assert (tmp_path / "relu-d2-s1-data=digits-trainer=cpu-width=16" / ".hydra" / "config.yaml").exists()
    shown = capsys.readouterr().out
    assert "torch.nn.Hardshrink" in shown
    assert "2/2" in shown or "0/2" in shown


def test_a_repeated_sweep_repeats_nothing_but_what_changed(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", *SMALL, f"hydra.sweep.dir={tmp_path}"]
    command(*sweep, "seed=0")
    [path] = tmp_path.glob("*/result.json")
    first = path.stat().st_mtime_ns
    command(*sweep, "seed=0,1")
    assert path.stat().st_mtime_ns == first
    assert len(list(tmp_path.glob("*/result.json"))) == 2
    path.write_text("{ truncated")
    command(*sweep, "seed=0,1")
    assert json.loads(path.read_text())["status"] == "completed"


def test_a_diverged_run_is_marked_and_the_sweep_goes_on(command: Command, tmp_path: Path, capsys: Any) -> None:
    code = command("-m", *SMALL, f"hydra.sweep.dir={tmp_path}", "optim.lr=1e30,0.01", "act=linear")
    assert code == 0
    table = pd.read_csv(tmp_path / "results.csv").set_index("lr")
    assert table["status"].to_dict() == {1e30: "diverged", 0.01: "completed"}
    assert pd.isna(table.loc[1e30, "test_accuracy"])
    assert "diverged" in capsys.readouterr().out
    diverged = json.loads(next(tmp_path.glob("*lr=1e+30*/result.json")).read_text())
    assert (diverged["status"], diverged["test_accuracy"], diverged["epochs"]) == ("diverged", None, 1)


def test_a_failed_run_costs_no_other_run(command: Command, tmp_path: Path, capsys: Any) -> None:
    failing = "tests.training.test_train.FailsInTraining"
    code = command("-m", *SMALL, f"hydra.sweep.dir={tmp_path}", f"act={failing},relu", "diagnostics=[gradients]")
    assert code == 1
    table = pd.read_csv(tmp_path / "results.csv").set_index("act")
    assert table["status"].to_dict() == {failing: "failed", "relu": "completed"}
    assert "a defect of this activation" in next(tmp_path.glob(f"{failing}*/error.txt")).read_text()
    assert "1 of 2 runs failed" in capsys.readouterr().err
    assert command(*SMALL, f"hydra.run.dir={tmp_path}/one", f"act={failing}", "diagnostics=[gradients]") == 1


@pytest.mark.parametrize("name", ["main", "depth", "quick"])
def test_a_named_study_is_found_and_states_its_question(name: str, command: Command, tmp_path: Path) -> None:
    question = (Path("sweeps") / f"{name}.yaml").read_text().splitlines()[1]
    assert question.startswith("# ")
    assert "?" in question
    small = ["data=digits", "trainer.max_epochs=1", "width=8", "depth=1", "seed=0", "act=relu", "init=default"]
    small += ["trainer=cpu", "diagnostics=[]", "report=false", "figures=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(f"+sweeps={name}", *small) == 0
    assert len(pd.read_csv(tmp_path / "results.csv")) == 1
    assert json.loads((tmp_path / "sweep.json").read_text())["question"] == question.removeprefix("# ")


@pytest.mark.parametrize(("first", "question"), [("# Does it bend?", "Does it bend?"), ("", None)])
def test_a_study_of_ones_own_is_found_in_a_folder_of_ones_own(
    first: str, question: str | None, command: Command, tmp_path: Path
) -> None:
    study = tmp_path / "mine" / "sweeps" / "bends.yaml"
    study.parent.mkdir(parents=True)
    study.write_text(f"# @package _global_\n{first}\nhydra:\n  mode: MULTIRUN\n")
    own = f"--config-dir={study.parent.parent}", "+sweeps=bends", "diagnostics=[]", "trainer.max_epochs=1"
    assert command(*own, *SMALL[:3], *SMALL[4:], f"hydra.sweep.dir={tmp_path / 'out'}") == 0
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["question"] == question


def test_a_study_without_its_first_line_is_told_which(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "mine" / "sweeps" / "bends.yaml"
    study.parent.mkdir(parents=True)
    study.write_text("# Does it bend?\n# @package _global_\nhydra:\n  mode: MULTIRUN\n")
    assert command(f"--config-dir={tmp_path}/mine", "+sweeps=bends", *SMALL, f"hydra.run.dir={tmp_path}/out") == 2
    assert "sweeps=bends: a file of keys of all sections must begin with the line # @package _global_" in (
        capsys.readouterr().err
    )


def test_twenty_runs_in_one_sweep_keep_memory_flat(command: Command, tmp_path: Path) -> None:
    process = psutil.Process()
    sweep = ["-m", *SMALL, "width=64", f"hydra.sweep.dir={tmp_path}"]
    command(*sweep, "seed=100,101,102")  # imports, caches and thread pools
    before = process.memory_info().rss
    command(*sweep, "seed=range(20)")
    assert process.memory_info().rss < 1.05 * before
    assert process.num_fds() < 200
