"""`trainer.devices=2`: one run, one report and the right exit codes; to rounding what one device finds."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as L
import torch

from actsweep import one_run, threads
from actsweep.data import digits
from actsweep.data.dataset import Dataset
from actsweep.network import losses
from actsweep.network.build import build_network
from actsweep.results import rank, run_folder
from actsweep.training import ranks
from tests import processes
from tests.conftest import SMALL, weights_of
from tests.sweep.test_units_in_processes import epochs_of
from tests.training.stack.test_stack import Make

Command = Callable[..., int]
TWO = [*SMALL, "trainer.devices=2", "diagnostics=[]"]


class FailsInRankOne(L.Callback):
    """With a signal, if one is given, else with an error."""

    def __init__(self, signal: int | None = None) -> None:
        self.signal = signal

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_rank == 1:
            if self.signal:
                os.kill(os.getpid(), self.signal)
            raise RuntimeError("device 1 is unlucky")


def outside(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return processes.run([sys.executable, "-m", "src.train", *arguments], {"OMP_NUM_THREADS": "1"} | more)


def test_two_devices_leave_what_one_leaves_and_speak_once(settings_for: Make, tmp_path: Path) -> None:
    run = [*SMALL, "+diagnostics.every._target_=actsweep.callbacks.EveryStep"]
    done = outside(*run, "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["two"]
    found, expected = (
        json.loads((tmp_path / "two" / run_folder.RESULT).read_text()),
        one_run.train(settings_for(*run), tmp_path / "one"),
    )
    assert found["status"] == "completed"
    assert found["waiting"] == {"GOMP_SPINCOUNT": threads.SPIN}
    assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-5)
    assert found["test_accuracy"] == expected["test_accuracy"]
    for two, one in zip(epochs_of(tmp_path / "two"), epochs_of(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    losses_of = [pd.read_csv(tmp_path / each / "steps.csv").loss for each in ("one", "two")]
    np.testing.assert_allclose(*losses_of, rtol=1e-5)
    weights = weights_of(tmp_path / "two" / run_folder.LAST)
    for name, values in weights_of(tmp_path / "one" / run_folder.LAST).items():
        torch.testing.assert_close(weights[name], values, rtol=1e-4, atol=1e-6)
    names = [
        sorted(path.name.partition(".tfevents")[0] for path in (tmp_path / each).glob("*")) for each in ("one", "two")
    ]
    assert set(names[1]) - set(names[0]) == {".hydra", ".lock", "train.log"}


def test_a_sweep_on_two_devices_gives_one_table_with_all_runs(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", *TWO, "seed=0,1", f"hydra.sweep.dir={tmp_path}") == 0
    assert not {"LOCAL_RANK", "MASTER_PORT"} & os.environ.keys()
    said = capfd.readouterr()
    assert said.out.count("mean test accuracy, %") == 1
    assert "2 runs expected: 2 completed;" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("how", "words"), [("null", "device 1 is unlucky"), (str(int(signal.SIGKILL)), "failed: SIGKILL")]
)
def test_a_rank_that_fails_ends_the_run_with_1_and_its_reason(tmp_path: Path, how: str, words: str) -> None:
    fails = f"+diagnostics.fails._target_={__name__}.{FailsInRankOne.__name__}"
    done = outside(*TWO, fails, f"+diagnostics.fails.signal={how}", f"hydra.run.dir={tmp_path / 'run'}")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert words in line
    assert f"(traceback: {tmp_path / 'run' / run_folder.ERROR})" in line
    assert words in (tmp_path / "run" / run_folder.ERROR).read_text()
    assert json.loads((tmp_path / "run" / run_folder.RESULT).read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.batch_size=63"], "data.batch_size=63: must be divisible by the 2 devices of trainer.devices"),
        (["norm=batch"], "norm=batch: each of the 2 devices of trainer.devices would normalise its own share"),
        (["+trainer.strategy=ddp_spawn"], "trainer.strategy=ddp_spawn: its processes can't share a run's folder"),
        (["+trainer.strategy=ddp_fork"], "trainer.strategy=ddp_fork: its processes can't share a run's folder"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_before_any_work(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    for mode in (["-m", f"hydra.sweep.dir={tmp_path}"], [f"hydra.run.dir={tmp_path}"]):
        assert command(*mode, *TWO, *words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {message}")
    assert not list(tmp_path.glob("*/result.json"))


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_a_classifier_can_be_pickled(settings_for: Make, loss: str) -> None:
    built = build_network(settings_for(*SMALL, f"loss={loss}"), 64, 10)
    again = pickle.loads(pickle.dumps(built))
    inputs = torch.rand(5, 64)
    assert torch.equal(again(inputs), built(inputs))
    assert torch.equal(again.objective.predict(again(inputs)), built.objective.predict(built(inputs)))


def fails_to_open(how: str) -> Dataset:
    """On all devices but the first."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "leaves":
            sys.exit(0)
        raise LookupError("no data on this device")
    return digits.load()


@pytest.mark.parametrize(
    ("how", "said"),
    [("dies", "SIGKILL"), ("leaves", "sys.exit(0) was called"), ("fails", "no data on this device")],
)
def test_a_rank_that_ends_before_it_meets_the_first_one_ends_the_run(how: str, said: str, tmp_path: Path) -> None:
    source = [f"data.source._target_={__name__}.fails_to_open", f"+data.source.how={how}"]
    done = outside(*TWO, *source, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "the process of device 1 failed" in done.stderr
    assert said in done.stderr
    assert json.loads((tmp_path / "run" / run_folder.RESULT).read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("environment", "is_zero"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun within Slurm
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "0"}, False),  # one that training/ranks.py started
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_of_all_processes_of_a_run_one_writes(
    environment: dict[str, str], is_zero: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*rank.RANKS, "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    rank.expect(4)
    try:
        assert rank.is_zero() == is_zero
        assert rank.zero_only(lambda: "written")() == ("written" if is_zero else None)
        rank.expect(1)
        assert rank.is_zero()  # these number something else
    finally:
        rank.expect("auto")  # as at first, when nobody has said


def test_tasks_of_a_cluster_that_train_a_run_each_all_leave_a_result(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert command(*SMALL, "diagnostics=[]", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert json.loads((tmp_path / "run" / run_folder.RESULT).read_text())["status"] == "completed"
    assert (tmp_path / "run" / run_folder.LAST).exists()
    sweep = [*SMALL, "diagnostics=[]", "trainer.max_epochs=1", "seed=0,1", "hydra.launcher.processes=1"]
    assert command("-m", *sweep, f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    assert len([*(tmp_path / "sweep").glob("*/result.json")]) == 2
    assert command(*SMALL, "trainer.devices=auto", f"hydra.run.dir={tmp_path / 'other'}") == 2
    assert "trainer.devices=auto: is one device here" in capsys.readouterr().err


@pytest.mark.cold
def test_a_rank_imports_what_the_first_one_does_whatever_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('a file of the person's own')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    with ranks._started(1, partial(Path.touch, tmp_path / "trained")) as (process, said, _):
        process.wait()
        said.seek(0)
        assert (process.returncode, said.read()) == (0, b"")
    assert (tmp_path / "trained").exists()
