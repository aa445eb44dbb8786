"""`hydra/launcher=side_by_side`: every run in a process of its own, with the results of one run after another."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
import pytorch_lightning as L
import torch
from omegaconf import OmegaConf

from actsweep.results import run_folder
from actsweep.sweep import side_by_side
from actsweep.training.stack import grouping
from tests.conftest import SMALL, weights_of

Command = Callable[..., int]
BESIDE = ["-m", "hydra/launcher=side_by_side", "hydra.launcher.n_jobs=2", "hydra.launcher.threads=1", *SMALL]


class DiesForSeedOne(L.Callback):
    """A fault that one run meets, and that ends its process."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.hparams["seed"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def found_in(sweep: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/result.json")}


def test_processes_leave_what_one_run_after_another_leaves_and_speak_once(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = ["act=torch.nn.Tanhshrink,prelu", "seed=0,1"]
    assert command("-m", *SMALL, *grid, "threads=1", f"hydra.sweep.dir={tmp_path / 'one'}") == 0
    capfd.readouterr()
    assert command(*BESIDE, *grid, f"hydra.sweep.dir={tmp_path / 'two'}") == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[1] == "2 side by side, 1 thread each"
    assert [line.split(",")[0] for line in lines[2:6]] == ["1/4", "2/4", "3/4", "4/4"]
    assert said.out.count("test accuracy %") == 1
    assert said.err == ""
    alone, beside = found_in(tmp_path / "one"), found_in(tmp_path / "two")
    assert len(alone) == 4
    for name, expected in alone.items():
        found = beside[name.replace("-threads=1", "")]
        own = {"name", "seconds", "config", "config_hash"}
        assert {k: v for k, v in found.items() if k not in own} == {k: v for k, v in expected.items() if k not in own}
        assert found["device"] == "cpu, 1 threads"
        one, two = tmp_path / "one" / name, tmp_path / "two" / str(found["name"])
        for file in (run_folder.EPOCHS, run_folder.LAYERS, run_folder.HISTOGRAMS):
            assert (one / file).read_bytes() == (two / file).read_bytes()
        weights = weights_of(two / run_folder.LAST)
        assert all(torch.equal(values, weights[key]) for key, values in weights_of(one / run_folder.LAST).items())


def test_a_process_that_dies_costs_no_other_run(command: Command, tmp_path: Path) -> None:
    dies = "+diagnostics.dies._target_=tests.test_side_by_side.DiesForSeedOne"
    assert command(*BESIDE, "seed=0,1,2", "diagnostics=[]", dies, f"hydra.sweep.dir={tmp_path}") == 1
    statuses = {str(found["seed"]): found["status"] for found in found_in(tmp_path).values()}
    assert statuses == {"0": "completed", "1": "failed", "2": "completed"}


def test_cores_and_memory_limit_the_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda only_physical_cores: 16)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 100 * grouping.PROCESS_BYTES)
    assert side_by_side.shares(100, None, None) == (16, 1)
    assert side_by_side.shares(100, None, 4) == (4, 4)
    assert side_by_side.shares(3, None, None) == (3, 5)
    assert side_by_side.shares(100, 32, None) == (32, 1)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 5 * grouping.PROCESS_BYTES)
    assert side_by_side.shares(100, None, None) == (3, 5)


@pytest.mark.parametrize("argument", ["n_jobs=0", "n_jobs=x", "threads=0"])
def test_bad_input_ends_with_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    assert command(*BESIDE, f"hydra.launcher.{argument}", "act=relu,tanh", f"hydra.sweep.dir={tmp_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: hydra.launcher.{argument}: must be at least 1")


class NotesItsDevice(L.Callback):
    """Leaves a file that says which GPU its process sees."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Path(str(trainer.default_root_dir), "device").write_text(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}")


def test_every_process_sees_one_gpu_that_no_other_sees(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "devices_for", lambda *_: ["4", "7"])
    notes = "+diagnostics.notes._target_=tests.test_side_by_side.NotesItsDevice"
    grid = ["seed=0,1,2,3", "diagnostics=[]", notes, f"hydra.sweep.dir={tmp_path}"]
    assert command("-m", "hydra/launcher=side_by_side", "hydra.launcher.threads=1", *SMALL, *grid) == 0
    assert "2 side by side, 1 thread each, a GPU of its own for each" in capsys.readouterr().out
    seen = [path.read_text().split() for path in tmp_path.glob("*/device")]
    assert len(seen) == 4
    assert len({tuple(each) for each in seen}) == len({process for process, _ in seen}) == 2
    assert {device for _, device in seen} == {"4", "7"}


def test_gpus_are_used_by_runs_that_may_and_are_those_that_this_process_may_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(accelerator: str, *words: str) -> list[str]:
        return side_by_side.devices_for(OmegaConf.create({"trainer": {"accelerator": accelerator}}), [words])

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert found("auto", "seed=0") == found("cpu", "trainer=gpu") == ["0", "1"]
    assert found("cpu", "seed=0") == found("auto", "trainer=cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert found("auto") == ["3", "5"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert found("auto") == []
