"""File systems that lack locks, cannot put a folder's list of names on disk, or lose a file, lose nobody a run."""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actsweep.results import files, ownership, run_folder
from actsweep.results.tensorboard import TensorBoard
from tests.conftest import SMALL

Command = Callable[..., int]


def test_where_there_are_no_locks_a_command_says_so_and_goes_on(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", lacks)
    quick = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]"]
    assert command("-m", *quick, "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep") == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no folder can be locked here (Function not implemented)")


@pytest.mark.parametrize(("number", "is_lost"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cant_be_synced_is_none_of_a_files_matter(
    number: int, is_lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuses)
    try:
        files.write_atomically(tmp_path / "file", "text")
    except OSError:
        assert is_lost
    else:
        assert not is_lost
    assert (tmp_path / "file").read_text() == "text"


def test_an_interrupted_run_that_no_longer_says_what_it_was_asked_is_moved_aside(
    command: Command, tmp_path: Path
) -> None:
    run = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", f"hydra.run.dir={tmp_path}"]
    assert command(*run) == 0
    (tmp_path / run_folder.RESULT).unlink()
    (tmp_path / run_folder.RUN).write_text("")
    trained = (tmp_path / run_folder.LAST).read_bytes()
    assert command(*run, "optim.lr=0.5") == 0
    assert (tmp_path / run_folder.REPLACED / "1" / run_folder.LAST).read_bytes() == trained


def test_a_name_that_is_no_unicode_costs_no_result(tmp_path: Path) -> None:
    run_folder.write_result(tmp_path, {"status": "completed", "config": {}, "name": os.fsdecode(b"relu-\xff")})
    assert (run_folder.read_result(tmp_path) or {})["name"] == "relu-?"


def test_what_is_written_when_a_runs_folder_was_removed_is_listed_there(tmp_path: Path) -> None:
    written = TensorBoard(tmp_path / "run", {"seed": 0}, [])
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    written.log_metrics({"train_loss": 1.0}, step=0)
    written.save()
    assert written.path.exists()
    assert not list(ownership.foreign(tmp_path / "run"))
