"""Every way in which a command ends: its exit code, what it says, what is on disk then, and what the same command does.

Signals in runs and sweeps (143, 130), full disks and damaged files: tests/training/test_resume.py.
"""

import errno
import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException

from actsweep.errors import UserError
from actsweep.results import run_folder
from actsweep.sweep.composing import Composing
from tests.conftest import SMALL
from tests.training import test_resume

Command = Callable[..., int]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]"]
FAILS = "tests.training.test_train.FailsInTraining"
KINDS = (ValueError, OSError, KeyError, AttributeError, RuntimeError, TypeError, InstantiationException, AssertionError)


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def ended(command: Command, *arguments: str) -> int:
    """The exit code, 1 for an exception: Python prints its traceback."""
    try:
        return command(*arguments)
    except Exception:
        return 1


def when_written(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


def statuses(folder: Path) -> list[str]:
    return sorted(json.loads(path.read_text())["status"] for path in folder.glob("*/result.json"))


@pytest.mark.parametrize(
    ("overrides", "code", "expected", "repeated"),
    [
        (["seed=0,1"], 0, ["completed", "completed"], 0),
        (["optim.lr=1e30,0.01"], 0, ["completed", "diverged"], 0),
        ([f"act={FAILS},relu"], 1, ["completed", "failed"], 1),
    ],
)
def test_a_sweeps_exit_code_says_whether_runs_failed_and_a_repeat_does_those_again(
    overrides: list[str], code: int, expected: list[str], repeated: int, command: Command, tmp_path: Path
) -> None:
    sweep = ["-m", *QUICK, *overrides, f"hydra.sweep.dir={tmp_path}/sweep"]
    for _ in range(2):
        assert command(*sweep) == code
        assert statuses(tmp_path / "sweep") == expected
        assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 3
    before = when_written(tmp_path / "sweep")
    assert command(*sweep) == code
    assert sum(when != before[name] for name, when in when_written(tmp_path / "sweep").items()) == repeated


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_before_the_first_run_keeps_its_traceback_and_nothing_is_created(
    kind: type[Exception],
    many: bool,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = kind("a defect")
    error.__cause__ = KeyError("within") if kind is InstantiationException else None
    monkeypatch.setattr("actsweep.sweep.check._check_memory", raising(error))
    where = f"hydra.sweep.dir={tmp_path}/out" if many else f"hydra.run.dir={tmp_path}/out"
    assert command(*(["-m", "seed=0,1"] if many else []), *QUICK, where) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "_check_memory" in shown
    assert "error: " not in shown
    assert not (tmp_path / "out").exists()


class Raises(torch.nn.Module):
    """An activation that can't be used."""

    kind: type[Exception]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.kind("no such thing")


@pytest.mark.parametrize("kind", [AttributeError, LookupError, OSError, ArithmeticError, Exception])
def test_whatever_an_activation_raises_when_it_is_tried_no_run_of_the_sweep_begins(
    kind: type[Exception],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Raises, "kind", kind, raising=False)
    sweep = ["-m", *QUICK, f"act=relu,{__name__}.Raises", f"hydra.sweep.dir={tmp_path}/out"]
    assert command(*sweep) in {1, 2}
    assert "no such thing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["actsweep.composition.run_name", "actsweep.statistics.tuned.learning_rate"])
@pytest.mark.parametrize("kind", [UserError, ValueError, KeyError])
def test_what_hydra_makes_of_an_error_of_ours_is_one_line_only_if_it_is_the_persons(
    kind: type[Exception],
    place: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, raising(kind("it can't be so")))
    tuned = [] if "composition" in place else ["+experiment=tuned"]
    code = ended(command, "-m", *QUICK, *tuned, "seed=0,1", f"hydra.sweep.dir={tmp_path}/out")
    shown = capsys.readouterr().err
    assert code == (2 if kind is UserError else 1)
    assert (shown == "error: it can't be so\n") == (kind is UserError)
    assert ("Traceback" in shown) == (kind is not UserError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [*KINDS, UserError])
def test_a_report_that_cant_be_made_is_said_beside_the_runs_that_failed(
    kind: type[Exception],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = ["-m", *QUICK, f"act={FAILS},relu", "report=true", f"hydra.sweep.dir={tmp_path}/sweep"]
    with monkeypatch.context() as broken:
        broken.setattr("actsweep.report.page.write", raising(kind("a broken page")))
        assert command(*sweep) == 1
    shown = capsys.readouterr().err
    assert f"1 of 2 runs failed: {FAILS}" in shown
    assert f"the report could not be written: {kind('a broken page')}; when that is mended, write it with" in shown
    assert ("Traceback" in shown) == (kind is not UserError)
    assert statuses(tmp_path / "sweep") == ["completed", "failed"]
    assert command(*sweep[:-1], "act=relu", sweep[-1]) == 0
    assert (tmp_path / "sweep" / "report.html").exists()


def test_results_that_cant_be_written_are_one_line_and_exit_code_1(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["-m", *QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    (tmp_path / "sweep").mkdir()
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as broken:
        broken.setattr("actsweep.report.writing.table_of", raising(full))
        assert command(*sweep) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "the report could not be written: [Errno 28] No space left on device" in line
    assert statuses(tmp_path / "sweep") == ["completed", "completed"]
    before = when_written(tmp_path / "sweep")
    assert command(*sweep) == 0
    assert when_written(tmp_path / "sweep") == before
    assert (tmp_path / "sweep" / "results.csv").exists()


def test_a_process_that_ends_while_it_draws_does_not_hide_a_run_that_failed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actsweep.report.writing.write", raising(SystemExit(1)))
    assert command("-m", *QUICK, f"act={FAILS},relu", f"hydra.sweep.dir={tmp_path}/sweep") == 1
    shown = capsys.readouterr().err
    assert "1 of 2 runs failed" in shown
    assert "the report is not complete" in shown


@pytest.mark.parametrize("many", [True, False])
def test_a_line_that_cant_be_told_costs_no_run_and_the_end_says_so(
    many: bool, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"hydra.sweep.dir={tmp_path}/out" if many else f"hydra.run.dir={tmp_path}/out/run"
    arguments = [*(["-m", "seed=0,1,2"] if many else []), *QUICK, where]
    with monkeypatch.context() as broken:
        broken.setattr("actsweep.sweep.callback.one_line", raising(KeyError("test_loss")))
        assert command(*arguments) == 1
    shown = capsys.readouterr().err
    assert shown.count("Traceback") == 1
    assert ("the ends of 3 runs could not be reported" in shown) == many
    assert statuses(tmp_path / "out") == ["completed"] * (3 if many else 1)
    assert command(*arguments) == 0


def test_a_run_that_leaves_no_result_is_missing_and_done_by_a_repeat(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["-m", *QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    original = run_folder.write_result
    with monkeypatch.context() as broken:
        broken.setattr(run_folder, "write_result", lambda folder, result: result["seed"] and original(folder, result))
        assert command(*sweep) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "1 of 2 runs left no result: relu-d2-s0" in line
    assert run_folder.ERROR not in line
    assert "missing" in (tmp_path / "sweep" / "results.csv").read_text()
    assert command(*sweep) == 0
    assert statuses(tmp_path / "sweep") == ["completed", "completed"]


def test_a_failure_that_cant_be_noted_costs_no_other_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = run_folder.write_result

    def refusing(folder: Path, result: dict[str, Any]) -> None:
        if result["status"] == "failed":
            raise ValueError("out of range float values are not JSON compliant")
        original(folder, result)

    monkeypatch.setattr(run_folder, "write_result", refusing)
    sweep = ["-m", *QUICK, f"act={FAILS},relu,tanh", "hydra.sweeper.max_batch_size=1"]
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/sweep") == 1
    shown = capsys.readouterr().err
    assert f"1 of 3 runs left no result: {FAILS}" in shown
    assert statuses(tmp_path / "sweep") == ["completed", "completed"]
    assert (tmp_path / "sweep" / "results.csv").exists()


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, UserError])
def test_what_goes_wrong_between_runs_is_kept_and_what_is_there_is_reported(
    kind: type[Exception],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = ["-m", "hydra/launcher=basic", *QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    with monkeypatch.context() as broken:
        original = Composing.load_sweep_config
        broken.setattr(Composing, "load_sweep_config", after(1, kind("the queue is gone"), original))
        assert command(*sweep) == 1
    shown = capsys.readouterr().err
    assert "error: the launcher gave up, see " in shown
    assert "1 of 2 runs left no result" in shown
    assert "the queue is gone" in (tmp_path / "sweep" / run_folder.ERROR).read_text()
    assert (tmp_path / "sweep" / "results.csv").exists()
    assert command(*sweep) == 0


def after(calls: int, error: Exception, original: Callable[..., Any]) -> Callable[..., Any]:
    left = calls

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        return original(*arguments, **named)

    return call


def test_ctrl_c_in_a_sweep_ends_with_130_and_the_same_command_resumes(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_resume.Interrupts, "number", signal.SIGINT)
    monkeypatch.setattr(test_resume.Interrupts, "steps", 0)
    sweep = ["-m", *SMALL, "act=tests.training.test_resume.Interrupts", "depth=1", "trainer.max_epochs=4"]
    sweep += ["diagnostics=[]", "seed=0,1", f"hydra.sweep.dir='{tmp_path}/a $HOME sweep'"]
    assert command(*sweep) == 130
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"stopped by SIGINT; to resume: python -m src.train {shlex.join(sweep)}"
    assert statuses(tmp_path / "a $HOME sweep") == []
    assert command(*sweep) == 0
    assert statuses(tmp_path / "a $HOME sweep") == ["completed", "completed"]


def test_two_commands_in_one_process_don_t_know_of_each_other(command: Command, tmp_path: Path) -> None:
    for place in ("one", "two"):
        assert command("-m", *QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}/{place}") == 0
        assert command(*QUICK, f"hydra.run.dir={tmp_path}/{place}-run/x") == 0
        assert statuses(tmp_path / place) == ["completed", "completed"]
        assert statuses(tmp_path / f"{place}-run") == ["completed"]
