"""What a kill, a signal or a full disk interrupts goes on where it stopped, and ends as if nothing had happened."""

import errno
import json
import os
import pickle
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep import one_run
from actsweep.config.command_line import ended_by_signals, one_line_errors
from actsweep.config.schema import Settings
from actsweep.results import locks, run_folder
from actsweep.sweep.callback import _guarded
from actsweep.training import checkpoints
from tests import processes
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
Command = Callable[..., int]
# Everything with a state of its own: momenta, running means, random slopes, dead units, schedules in steps and epochs.
RICH = [*SMALL, "act=torch.nn.RReLU", "norm=batch", "optim=adam", "trainer.max_epochs=6", "patience=2", "seed=4",
        "diagnostics=[gradients,updates,units,curve,steps,predictions,samples]",
        "diagnostics.gradients.every_n_steps=7", "diagnostics.units.every_n_epochs=2"]  # fmt: skip
MOMENTS = [
    "actsweep.network.classifier:Classifier.training_step:2",  # before the first checkpoint
    "actsweep.network.classifier:Classifier.training_step:50",  # in the middle of an epoch
    "actsweep.results.tables:Tables._append:9",
    "actsweep.results.files:replace:5",  # a checkpoint is written, but has not taken its place
    "actsweep.results.files:replace:6",  # best.ckpt has taken its place, last.ckpt not yet
    "actsweep.diagnostics.predictions:confidence:1",  # in the test, when nothing is left to train
    "actsweep.results.run_folder:write_result:1",
]


def equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints' parts are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser, early stopping, best score, tables and result are the same; times may differ."""
    for name in (run_folder.LAST, run_folder.BEST):
        first, second = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        for part in ("state_dict", "optimizer_states", "callbacks", "epoch", "global_step"):
            assert equal(first[part], second[part]), (name, part)
    assert run_folder.table_sizes(one) == run_folder.table_sizes(other)
    for table in run_folder.table_sizes(one):
        assert (one / table).read_bytes() == (other / table).read_bytes(), table
    first, second = (json.loads((folder / run_folder.RESULT).read_text()) for folder in (one, other))
    assert {k: v for k, v in first.items() if k not in {"seconds", "name"}} == {
        k: v for k, v in second.items() if k not in {"seconds", "name"}
    }


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than temporary files, where there is one."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and memory.stat().st_dev != tmp_path.stat().st_dev:
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield Path(folder)
    else:
        yield tmp_path


def test_a_killed_run_goes_on_bit_for_bit_also_on_another_file_system_than_temporary_files(
    settings_for: SettingsFor, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "tests.training.killed", str(elsewhere), *MOMENTS, "--", *RICH]
    (tmp_path / "temporary").mkdir()
    ended = processes.run(command, {"TMPDIR": str(tmp_path / "temporary")})
    assert ended.returncode == 0, ended.stderr
    assert not list((tmp_path / "temporary").iterdir())
    settings = settings_for(*RICH)
    result = one_run.train(settings, tmp_path / "whole")
    assert capsys.readouterr().out == ""
    for place, moment in enumerate(MOMENTS):
        folder = elsewhere / str(place)
        assert not (folder / run_folder.RESULT).exists()
        had_a_checkpoint = (folder / run_folder.LAST).exists() or (folder / run_folder.BEST).exists()
        one_run.train(settings, folder)
        assert ("resumes after epoch" in capsys.readouterr().out) == had_a_checkpoint == (place > 0), moment
        assert_same_run(tmp_path / "whole", folder)
        assert not list(folder.rglob("*.tmp")), moment
    assert result["epochs"] >= 3


@pytest.mark.cold  # whose process number is told
def test_a_second_sweep_in_a_folder_names_the_first_and_a_signal_ends_that_with_the_command_that_resumes(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [
        "-m",
        "hydra/launcher=basic",
        *SMALL,
        "seed=0,1",
        "trainer.max_epochs=1000000",
        "patience=null",
        "diagnostics=[]",
    ]
    sweep += [f"hydra.sweep.dir={tmp_path}/a sweep"]
    program = [sys.executable, "-m", "src.train", *sweep]
    one, other = (tmp_path / "a sweep" / name_of(seed) for seed in (0, 1))
    with processes.running(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        processes.until((one / run_folder.LAST).exists, first)
        assert command(*sweep) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert f"a sweep is in use by process {first.pid} on {socket.gethostname()} since 20" in line
        first.send_signal(signal.SIGTERM)
        shown = first.communicate()[1]
    assert first.returncode == 143
    assert shown.startswith("stopped by SIGTERM; to resume: python -m src.train ")
    assert shlex.join(sweep) in shown
    assert len(shown.splitlines()) == 1
    assert not other.exists()  # the remaining jobs don't start
    with locks.held(tmp_path / "a sweep"):  # its death released it
        checkpoint = torch.load(one / run_folder.LAST, weights_only=True)
    assert checkpoint["global_step"] == 18 * (checkpoint["epoch"] + 1)


def name_of(seed: int) -> str:
    return f"relu-d2-s{seed}-data=digits-trainer=cpu-width=16-patience=null-diagnostics=[]"


class Interrupts(torch.nn.Module):
    """Sends a signal to itself in the third epoch."""

    number = signal.SIGINT
    steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.shape[-2] == 64:  # of a stack, too
            Interrupts.steps += 1
            if Interrupts.steps == 45:
                signal.raise_signal(self.number)  # to this thread: the kernel may let another one get to it late
        return x.clamp(min=0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_in_a_run_leaves_a_whole_checkpoint_and_the_command_that_resumes(
    number: signal.Signals,
    code: int,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Interrupts, "number", number)
    monkeypatch.setattr(Interrupts, "steps", 0)
    once = [*SMALL, f"act={__name__}.Interrupts", "depth=1", "trainer.max_epochs=4", "diagnostics=[gradients]"]
    before = signal.getsignal(number)
    assert command(*once, f"hydra.run.dir={tmp_path}/run") == code
    shown = capsys.readouterr().err
    assert shown.splitlines() == [
        f"stopped by {number.name}; to resume: python -m src.train {shlex.join(sys.argv[1:])}"
    ]
    assert signal.getsignal(number) == before
    assert torch.load(tmp_path / "run" / run_folder.LAST, weights_only=True)["epoch"] == 1
    assert command(*once, f"hydra.run.dir={tmp_path}/run") == 0
    assert "run resumes after epoch 2" in capsys.readouterr().out
    assert command(*once, f"hydra.run.dir={tmp_path}/whole") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def interrupted_while_it_makes_something(*_: Any) -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        raise ValueError("what OmegaConf says of a section that is half made")


@pytest.mark.parametrize("around", [lambda do: do, _guarded], ids=["a run", "a hook of the sweep"])
def test_a_signal_counts_also_where_a_library_puts_an_error_of_its_own_in_its_place(
    around: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, one_line_errors(), ended_by_signals():
        around(interrupted_while_it_makes_something)(None, None)
    assert end.value.code == 143
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("stopped by SIGTERM; to resume: ")


def test_a_run_goes_on_only_from_its_own_checkpoints(settings_for: SettingsFor, tmp_path: Path) -> None:
    one_run.train(settings_for(*SMALL, "optim.lr=0.1"), tmp_path / "run")
    other = settings_for(*SMALL, "optim.lr=0.2", "rerun=all")
    (tmp_path / "run" / run_folder.RESULT).unlink()
    one_run.train(other, tmp_path / "run")
    one_run.train(other, tmp_path / "fresh")
    assert_same_run(tmp_path / "fresh", tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "malicious", "both", "table"])
def test_what_cant_be_read_is_set_aside_and_the_run_goes_on_from_the_best_or_anew(
    damage: str, settings_for: SettingsFor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(*SMALL, "diagnostics=[gradients]", "trainer.max_epochs=3")
    folder = tmp_path / "run"
    one_run.train(settings, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", folder)
    (folder / run_folder.RESULT).write_text('{"status": "compl')
    if damage == "table":  # lost by a power cut: shorter than the checkpoints say
        os.truncate(folder / run_folder.LAYERS, 10)
    elif damage == "malicious":
        (folder / run_folder.LAST).write_bytes(pickle.dumps(Explosive(tmp_path / "exploded")))
    else:
        for name in (run_folder.LAST, run_folder.BEST)[: 2 if damage == "both" else 1]:
            os.truncate(folder / name, 1000)
    assert run_folder.finished(folder, settings) is None
    one_run.train(settings, folder)
    shown = capsys.readouterr()
    assert "result.json can't be read" in shown.err
    assert (folder / "result.json.unreadable").read_text() == '{"status": "compl'
    assert shown.err.count("last.ckpt can't be read") == (damage != "table")
    assert (folder / f"{run_folder.LAST}.unreadable").exists() == (damage != "table")
    assert ("resumes after epoch" in shown.out) == (damage in {"truncated", "malicious"})
    assert ("its tables have lost rows" in shown.out) == (damage == "table")
    assert (folder / run_folder.REPLACED / "1" / run_folder.LAST).exists() == (damage == "table")
    assert not (tmp_path / "exploded").exists()
    assert_same_run(tmp_path / "whole", folder)


@pytest.mark.parametrize("name", [run_folder.RESULT, str(run_folder.LAST), str(run_folder.BEST)])
def test_what_the_system_cant_read_just_now_is_not_taken_for_damaged(
    name: str, settings_for: SettingsFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(*SMALL, "diagnostics=[]", "trainer.max_epochs=1")
    one_run.train(settings, tmp_path / "run")
    if name == str(run_folder.BEST):
        (tmp_path / "run" / run_folder.LAST).unlink()
    there = sorted(tmp_path.rglob("*"))
    opened = Path.open

    def stale(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == tmp_path / "run" / name:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return opened(path, *arguments, **named)

    ask = run_folder.finished if name == run_folder.RESULT else checkpoints.prepare
    monkeypatch.setattr(Path, "open", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        ask(tmp_path / "run", settings)
    monkeypatch.undo()
    assert sorted(tmp_path.rglob("*")) == there


def test_a_checkpoint_for_which_memory_is_lacking_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"epoch": 1}, path := tmp_path / "last.ckpt")

    def lacking(*_: Any, **__: Any) -> None:
        raise RuntimeError("unable to mmap 971 bytes from file <last.ckpt>: Cannot allocate memory (12)")

    monkeypatch.setattr(torch, "load", lacking)
    with pytest.raises(RuntimeError, match="Cannot allocate memory"):
        checkpoints.read(path)
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


class Explosive:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "code from a checkpoint was executed"))


def test_rerun_chooses_which_results_stand(command: Command, tmp_path: Path) -> None:
    failing = "tests.training.test_train.FailsInTraining"
    sweep = ["-m", *SMALL, f"hydra.sweep.dir={tmp_path}", f"act={failing},relu", "diagnostics=[gradients]"]
    assert command(*sweep) == 1
    written = {path.parent.name.partition("-")[0]: path for path in tmp_path.glob("*/result.json")}

    def times() -> dict[str, int]:
        return {act: path.stat().st_mtime_ns for act, path in written.items()}

    for rerun, redone in (("none", set()), ("failed", {failing}), ("all", {failing, "relu"})):
        before = times()
        assert command(*sweep, f"rerun={rerun}") == 1
        assert {act for act, when in times().items() if when != before[act]} == redone
