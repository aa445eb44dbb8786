"""What interrupts a stack costs no finished run; the same command goes on from its checkpoint, bit for bit."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actsweep.results import ownership, run_folder
from actsweep.training.checkpoints import read
from actsweep.training.stack import stacks
from actsweep.training.stack.steps import Steps
from tests import processes
from tests.conftest import SMALL, weights_of

Command = Callable[..., int]
GRID = ["-m", "hydra/launcher=stacked", "hydra.launcher.save_every=0", *SMALL, "act=prelu,tanh", "seed=0,1",
        "trainer.max_epochs=9", "patience=1", "optim.lr=0.4", "diagnostics.units.every_n_epochs=2"]  # fmt: skip
MOMENTS = [
    ("actsweep.results.tables", "Tables.save", 14),  # some members' rows of an epoch are written, others' not
    ("actsweep.training.checkpoints", "WholeFiles.save_checkpoint", 4),
    ("actsweep.results.run_folder", "write_result", 3),  # two members have ended since the checkpoint
]
KILLED = f"""
import os, signal, sys
from actsweep import jobs
from actsweep.sweep import launcher
from tests.training.killed import deadly
for place, moment in enumerate({MOMENTS}):
    if (child := os.fork()) == 0:
        deadly(*moment)
        sys.argv = ["train", *sys.argv[2:], f"hydra.sweep.dir={{sys.argv[1]}}/{{place}}"]
        jobs.main()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, moment
"""


def runs(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob("*/.hydra"))


def assert_same_sweep(one: Path, other: Path) -> None:
    assert [folder.name for folder in runs(one)] == [folder.name for folder in runs(other)]
    for first, second in zip(runs(one), runs(other), strict=True):
        for name in (run_folder.LAST, run_folder.BEST):
            weights = weights_of(second / name)
            for key, values in weights_of(first / name).items():
                assert torch.equal(values.view(torch.int32), weights[key].view(torch.int32))  # NaN too
        assert run_folder.table_sizes(first) == run_folder.table_sizes(second)
        for table in run_folder.table_sizes(first):
            assert (first / table).read_bytes() == (second / table).read_bytes(), (first.name, table)
        found = [json.loads((folder / run_folder.RESULT).read_text()) for folder in (first, second)]
        same = {"seconds": 0, "git": ""}
        assert found[0] | same == found[1] | same
    assert not list(other.rglob("*.tmp"))
    assert not list((other / stacks.FOLDER).glob("*"))


def written(sweep: Path) -> dict[str, int]:
    """When each result was written, all of which must be whole and of runs whose checkpoints load."""
    found = {}
    for path in sweep.glob("*/result.json"):
        assert json.loads(path.read_text())["status"] in {"completed", "diverged"}
        assert weights_of(path.parent / run_folder.BEST)
        found[path.parent.name] = path.stat().st_mtime_ns
    return found


@pytest.fixture
def whole(command: Command, tmp_path: Path) -> Path:
    """The sweep without interruption."""
    assert command(*GRID, f"hydra.sweep.dir={tmp_path / 'whole'}") == 0
    epochs = [json.loads(path.read_text())["epochs"] for path in (tmp_path / "whole").glob("*/result.json")]
    assert len(set(epochs)) > 2  # members end, and are dropped, one after another
    return tmp_path / "whole"


def test_a_killed_stack_keeps_what_is_finished_and_goes_on_bit_for_bit(
    command: Command, tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = processes.run([sys.executable, "-c", KILLED, str(tmp_path), *GRID])
    assert ended.returncode == 0, ended.stderr
    for place, (_, function, count) in enumerate(MOMENTS):
        sweep = tmp_path / str(place)
        before = written(sweep)
        assert len(before) == count - 1 if function == "write_result" else len(before) < 4
        half = f"{stacks.FOLDER}/.half.ckpt.1.tmp"
        ownership.adopt(sweep, half)
        (sweep / half).write_bytes(b"half")
        capsys.readouterr()
        assert command(*GRID, f"hydra.sweep.dir={sweep}") == 0
        assert "in one stack on cpu, resuming after epoch " in capsys.readouterr().out
        assert list((sweep / stacks.FOLDER).glob("*")) == []
        assert_same_sweep(whole, sweep)
        assert before.items() <= written(sweep).items()


def interrupt_the_40th_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, step = 0, Steps.__call__

    def interrupted(self: Steps) -> None:
        nonlocal steps
        steps += 1
        if steps == 40:
            signal.raise_signal(signal.SIGINT)
        step(self)

    monkeypatch.setattr(Steps, "__call__", interrupted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "hydra/launcher=basic", *GRID[3:]], "warning: 4 runs that were interrupted in stacks begin anew: "),
        ([*GRID, "seed=0"], "2 interrupted runs begin anew: the command asks for 2 of the stack of 4 that they are in"),
    ],
)
def test_runs_that_a_command_takes_out_of_their_interrupted_stack_begin_anew_and_that_is_told(
    words: list[str], said: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    interrupt_the_40th_step(monkeypatch)
    more = ["patience=9", "optim.lr=0.01", "trainer.max_epochs=3", f"hydra.sweep.dir={tmp_path}"]
    assert command(*GRID, *more) == 130
    capsys.readouterr()
    assert command(*words, *more) == 0
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_ctrl_c_ends_a_stack_with_130_and_the_same_command_resumes(
    command: Command, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_the_40th_step(monkeypatch)
    sweep = tmp_path / "interrupted"
    assert command(*GRID, f"hydra.sweep.dir={sweep}") == 130
    assert "stopped by SIGINT; to resume: python -m src.train -m" in capsys.readouterr().err
    before = written(sweep)
    assert 0 < len(before) < 4
    assert command(*GRID, f"hydra.sweep.dir={sweep}") == 0
    assert_same_sweep(whole, sweep)
    assert before.items() <= written(sweep).items()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_members_checkpoint_that_was_cut_short_is_damaged_not_out_of_reach(share: float, tmp_path: Path) -> None:
    """Of some of them torch says OSError."""
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.zeros(3_000), "epoch": 1}, path)
    assert read(path)["epoch"] == 1
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert read(path, sets_aside=False) == {}
