"""Engines that others wrote: what a process of theirs takes with it when it dies comes back with the same command."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as L
import torch

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.results import run_folder
from actsweep.sweep import executors
from actsweep.training.stack.stacks import FOLDER
from tests.conftest import SMALL, weights_of

Command = Callable[..., int]
SettingsFor = Callable[..., Settings]
MARKS = "ACTSWEEP_TEST_MARKS"
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize"]


class OncePerAct(Diagnostic):
    """When the first run of ReLU is tested, its process dies; when the first of tanh is, Slurm wants its place."""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        act = pl_module.hparams["network"]["act"]["_target_"]
        mark = Path(os.environ[MARKS], act)
        if MARKS in os.environ and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), {"torch.nn.ReLU": signal.SIGKILL, "torch.nn.Tanh": signal.SIGUSR2}[act])


class Terminated(L.Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


GRID = [*SMALL, "trainer.max_epochs=3", "act=relu,tanh", "seed=0,1", "threads=1",
        "diagnostics=[gradients,units]", f"+diagnostics.once._target_={__name__}.OncePerAct"]  # fmt: skip


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv(MARKS, str(folder))
    return folder


def found_in(sweep: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(sweep.glob("*/result.json"))}


def assert_same(one: Path, other: Path) -> None:
    """Weights, tables and results, but for times."""
    first, second = found_in(one), found_in(other)
    assert len(first) == 4
    assert {k: v | {"seconds": 0} for k, v in first.items()} == {k: v | {"seconds": 0} for k, v in second.items()}
    for name in first:
        weights = weights_of(other / name / run_folder.LAST)
        assert all(
            torch.equal(values, weights[key]) for key, values in weights_of(one / name / run_folder.LAST).items()
        )
        for table in (run_folder.EPOCHS, run_folder.LAYERS):
            assert (one / name / table).read_bytes() == (other / name / table).read_bytes()


def test_a_stack_in_another_process_that_dies_is_resumed_by_the_same_command_and_a_preempted_one_by_itself(
    command: Command, tmp_path: Path, marks: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = ["hydra.launcher.max_members=2", "hydra.launcher.save_every=0"]
    away = ["-m", "hydra/launcher=stacked_slurm", "hydra.launcher.engine.cluster=local", *parts, *GRID]
    assert command(*away, f"hydra.sweep.dir={tmp_path / 'away'}") == 1
    said = capfd.readouterr()
    assert ": 2 stacks of 2 by Submitit (one by one: hydra/launcher=basic)" in said.out
    assert "a unit of 2 ended early: UncompletedJobError" in said.out
    assert re.search("2 of 4 runs left no result: relu-d2-s0[^ ]*, relu-d2-s1[^ ]*;", said.err)
    assert {found["act"] for found in found_in(tmp_path / "away").values()} == {"tanh"}
    assert command(*away, f"hydra.sweep.dir={tmp_path / 'away'}") == 0
    logs = [path.read_text() for path in tmp_path.glob("away/.submitit/*/*_log.out")]
    assert sum(log.count("resuming after epoch ") for log in logs) == 2
    assert not list((tmp_path / "away" / FOLDER).glob("*"))
    assert command("-m", *parts, *GRID, f"hydra.sweep.dir={tmp_path / 'here'}") == 0
    assert_same(tmp_path / "here", tmp_path / "away")


def test_submitits_own_launcher_trains_each_job(command: Command, tmp_path: Path) -> None:
    grid = ["-m", "hydra/launcher=submitit_local", *SMALL, "diagnostics=[]", "seed=0,1"]
    assert command(*grid, f"hydra.sweep.dir={tmp_path}") == 0
    assert [found["status"] for found in found_in(tmp_path).values()] == ["completed"] * 2


def test_what_a_signal_does_to_a_run_is_left_to_whoever_started_it(settings_for: SettingsFor, tmp_path: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        overrides = [*SMALL, "diagnostics=[]", "+diagnostics.own._target_=tests.sweep.test_executors.Terminated"]
        found = one_run.train(settings_for(*overrides), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (found["status"], found["epochs"]) == ("completed", 2)
    assert set(received) == {signal.SIGTERM}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("hydra.launcher.engine.cluster=slurm", "Could not detect"),
        ("hydra.launcher.engine.cluster=nosuch", "nosuch"),
        ("+hydra.launcher.engine.partitoin=gpu", "partitoin"),
        ("hydra.launcher.engine.mem_gb=16G", "mem_gb"),
    ],
)
def test_an_engine_that_is_not_there_ends_with_one_line(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argument: str,
    message: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # also where there is a Slurm
    away = ["-m", "hydra/launcher=stacked_slurm", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    others = [] if "cluster" in argument else ["hydra.launcher.engine.cluster=local"]
    assert command(*away, argument, *others) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: hydra.launcher.engine: ")
    assert message in line


def test_what_slurm_says_against_a_job_is_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("srun", "sbatch"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text("#!/bin/sh\necho error: invalid partition specified: nosuch >&2; exit 1")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    away = ["-m", "hydra/launcher=stacked_slurm", "hydra.launcher.engine.slurm_partition=nosuch", "seed=0,1"]
    assert command(*away, *SMALL, f"hydra.sweep.dir={tmp_path / 'out'}") == 2
    *_, line = capsys.readouterr().err.splitlines()  # submitit has said it too
    assert line.startswith("error: hydra.launcher.engine: ")
    assert "invalid partition specified: nosuch" in line


@pytest.mark.parametrize(("where", "error"), [("init", ConnectionError), ("remote", ValueError)])
def test_what_ray_says_against_its_arguments_is_one_line(
    where: str, error: type[Exception], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuses(**_: Any) -> None:
        raise error("Could not find any running Ray instance.")

    fake = {"init": lambda **_: None, "remote": lambda **_: lambda task: task, "shutdown": lambda: None}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(**(fake | {where: refuses})))
    away = ["-m", "hydra/launcher=stacked_ray", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path}"]
    assert command(*away) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == "error: hydra.launcher.engine: Could not find any running Ray instance."


def test_stacks_are_cut_into_about_equal_jobs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def lost(self: executors.Submitit, units: list[executors.Unit], sweep: Path) -> Any:
        sizes.extend(len(unit.jobs) for unit in units)
        return ((place, RuntimeError("lost")) for place in range(len(units)))

    monkeypatch.setattr(executors.Submitit, "map", lost)
    grid = ["act=relu,tanh,torch.nn.RReLU", "seed=range(9)", f"hydra.sweep.dir={tmp_path}"]
    assert command("-m", "hydra/launcher=stacked_slurm", *SMALL, *grid, "diagnostics=[]") == 1
    assert sorted(sizes) == [1] * 9 + [9, 9]


# Sweepers that choose the runs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
@pytest.mark.parametrize("launcher", ["basic", "sweep"])
def test_optuna_finds_the_largest_accuracy_with_every_launcher(command: Command, tmp_path: Path, launcher: str) -> None:
    searched = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=4",
                "hydra.sweeper.n_jobs=2", "hydra.sweeper.sampler.seed=1"]  # fmt: skip
    space = ["optim.lr=tag(log,interval(0.001,1))", "act=choice(relu,tanh)", "diagnostics=[]"]
    assert command(*searched, f"hydra/launcher={launcher}", *SMALL, *space, f"hydra.sweep.dir={tmp_path}") == 0
    found = found_in(tmp_path).values()
    best = dict(
        line.split(": ") for line in (tmp_path / "optimization_results.yaml").read_text().splitlines() if ": " in line
    )
    assert len(found) == 4
    assert float(best["best_value"]) == max(each["val_accuracy"] for each in found)
    assert (tmp_path / "results.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.direction=minimize", "optim.lr=interval(0.1,1)"], "hydra.sweeper.direction=minimize: must be"),
        (["hydra.sweeper.direction=maximize", "optim.lr=interval(-1,1)"], "optim.lr=-1"),
        (["hydra.sweeper.direction=maximize", "act=choice(relu,rleu)"], "act=rleu: must be one of"),
        (
            ["hydra.sweeper.direction=maximize", "+trainer.limit_val_batches=0", "seed=choice(1,2)"],
            "trainer.limit_val_batches=0: ",
        ),
        (
            ["hydra.sweeper.direction=maximize", "data.val_size=0", "monitor=train_loss", "act=choice(relu,tanh)"],
            "data.val_size=0 ",
        ),
    ],
)
def test_a_search_is_checked_before_it_starts(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert command("-m", "hydra/sweeper=optuna", *SMALL, *words, f"hydra.sweep.dir={tmp_path / 'no'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_a_score_is_the_larger_the_better_the_run() -> None:
    def scored(status: str, loss: str, accuracy: float | None, value: float | None) -> float | None:
        return run_folder.score(
            {"status": status, "config": {"loss": loss}, "val_accuracy": accuracy, "val_loss": value}
        )

    assert scored("completed", "cross_entropy", 0.9, 0.3) == 0.9
    assert scored("diverged", "cross_entropy", None, None) == 0.0
    assert scored("completed", "mse", None, 0.3) == -0.3
    assert scored("diverged", "mse", None, None) == -float("inf")
    assert scored("failed", "mse", None, None) is None
    assert scored("completed", "mse", None, None) is None  # nothing was validated


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
@pytest.mark.parametrize("members", [1, 64])
def test_a_trial_that_a_search_asks_for_twice_at_once_trains_once(
    command: Command, tmp_path: Path, members: int
) -> None:
    searched = [*SEARCH, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=5", *SMALL]
    space = ["act=choice(relu,tanh)", "diagnostics=[gradients]", f"hydra.launcher.max_members={members}"]
    assert command(*searched, *space, "hydra.launcher.processes=1", "rerun=all", f"hydra.sweep.dir={tmp_path}") == 0
    assert {each["status"] for each in found_in(tmp_path).values()} == {"completed"}  # of one act, or of both
    for table in tmp_path.glob("*/layers.csv"):
        rows = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
        assert len(rows) == len(set(rows))
    assert not list(tmp_path.glob(f"*/{run_folder.REPLACED}"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
def test_a_search_whose_run_failed_ends_with_1_also_where_hydra_leaves_no_files(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched = [*SEARCH, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2", *SMALL]
    faulty = "+diagnostics.faulty._target_=tests.sweep.test_stacked_launcher.FailsForSeedOne"
    space = ["seed=1", "act=choice(relu,tanh)", "diagnostics=[]", faulty, "hydra.output_subdir=null"]
    assert command(*searched, *space, f"hydra.sweep.dir={tmp_path}") == 1
    assert " runs failed: " in capsys.readouterr().err
