"""A disk without room or right to write costs nothing that is there already."""

import errno
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep.results import run_folder
from actsweep.training.checkpoints import WholeFiles
from actsweep.training.stack import stacks
from actsweep.training.stack.stacks import FOLDER
from actsweep.training.stack.training import Training
from tests import processes
from tests.conftest import SMALL
from tests.training.test_resume import Command, assert_same_run


def mount(*arguments: object) -> bool:
    """Whether it worked: it does for root, outside of most containers."""
    try:
        return processes.run(["mount", *map(str, arguments)]).returncode == 0
    except OSError:  # there is no such program
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", place):
        pytest.skip("needs the right to mount a file system")
    yield place
    assert processes.run(["umount", "--lazy", str(place)]).returncode == 0


def test_a_full_disk_costs_neither_the_old_checkpoints_nor_other_runs_and_with_room_the_run_resumes(
    command: Command, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *SMALL, "width=512,16", "trainer.max_epochs=2", "diagnostics=[]"]  # checkpoints of 2.4 MB and 30 kB
    assert command(*sweep, f"hydra.sweep.dir={small_disk}/sweep") == 1
    shown = capsys.readouterr().err
    assert "1 of 2 runs failed" in shown
    assert "Traceback" not in shown
    wide, narrow = sorted((small_disk / "sweep").glob("*width*"), key=lambda path: "=16" in path.name)
    reason = json.loads((wide / run_folder.RESULT).read_text())
    assert (reason["status"], "No space left on device" in reason["error"]) == ("failed", True)
    assert json.loads((narrow / run_folder.RESULT).read_text())["status"] == "completed"
    for name in (run_folder.BEST, run_folder.LAST):
        assert torch.load(wide / name, weights_only=True)["epoch"] == 0
    assert not list(small_disk.rglob("*.tmp"))
    assert mount("-o", "remount,size=60m", small_disk)
    assert command(*sweep, f"hydra.sweep.dir={small_disk}/sweep") == 0
    assert f"{wide.name} resumes after epoch 1\n" in capsys.readouterr().out
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/whole") == 0
    assert_same_run(tmp_path / "whole" / wide.name, wide)


@pytest.mark.parametrize("many", [True, False])
def test_a_disk_that_cant_be_written_is_named(
    many: bool, command: Command, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mount("-o", "remount,ro", small_disk)
    place = f"hydra.sweep.dir={small_disk}/out" if many else f"hydra.run.dir={small_disk}/out"
    assert command(*(["-m", "seed=0,1"] if many else []), *SMALL, place) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in line
    assert str(small_disk) in line


def test_a_folder_that_a_full_disk_kept_empty_is_still_free(command: Command, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(bytes(6 * 2**20 - 4096 * 8))
    with suppress(OSError), (small_disk / "full").open("ab") as file:
        file.write(bytes(2**20))
    places = {"hydra.run.dir": [], "hydra.sweep.dir": ["-m", "seed=0,1"]}
    assert [command(*words, *SMALL, f"{place}={small_disk}/{place}") for place, words in places.items()] == [2, 2]
    (small_disk / "full").unlink()
    assert [command(*words, *SMALL, f"{place}={small_disk}/{place}") for place, words in places.items()] == [0, 0]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing more into one fails, as on a disk without room; for anybody, root or not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_grows_too_large_costs_no_other_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["-m", *SMALL, "depth=1", "width=16,512", "trainer.max_epochs=2", "diagnostics=[]"]
    with no_file_above(100_000):
        assert command(*overrides, f"hydra.sweep.dir={tmp_path}") == 1
    shown = capsys.readouterr().err
    assert "1 of 2 runs failed" in shown
    assert "Traceback" not in shown
    found = {json.loads(path.read_text())["hidden_sizes"][0]: json.loads(path.read_text())
             for path in tmp_path.glob("*/result.json")}  # fmt: skip
    assert (found[16]["status"], found[512]["status"]) == ("completed", "failed")
    assert "File too large" in found[512]["error"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_checkpoint_that_cant_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"x": torch.zeros(100)}, path)
    with no_file_above(100_000), pytest.raises(OSError, match="File too large"):
        WholeFiles().save_checkpoint({"x": torch.zeros(100_000)}, path)
    assert len(torch.load(path, weights_only=True)["x"]) == 100
    assert sorted(each.name for each in tmp_path.iterdir()) == [".actsweep", "last.ckpt"]


def test_a_stacks_checkpoint_that_cant_be_written_leaves_the_one_before_and_training_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[Any] = []
    epoch, write = Training.epoch, WholeFiles.save_checkpoint

    def full(self: WholeFiles, checkpoint: dict[str, Any], path: Path, *rest: Any) -> None:
        if Path(path).parent.name == FOLDER and checkpoint["epochs"] > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, checkpoint, path, *rest)

    def noted(self: Training, number: int) -> None:
        trained.append((number, [torch.load(path)["epochs"] for path in tmp_path.glob(f"{FOLDER}/*.ckpt")]))
        epoch(self, number)

    monkeypatch.setattr(stacks, "MOST_TIME", 1e9)
    monkeypatch.setattr(WholeFiles, "save_checkpoint", full)
    monkeypatch.setattr(Training, "epoch", noted)
    sweep = ["-m", *SMALL, "seed=0,1", "diagnostics=[]", "trainer.max_epochs=4", "hydra.launcher.save_every=0"]
    assert command(*sweep, "hydra.launcher.processes=1", f"hydra.sweep.dir={tmp_path}") == 0
    assert trained == [(0, []), (1, [1]), (2, [1]), (3, [1])]
    assert "could not be written, its training goes on: [Errno 28] No space left on device" in capsys.readouterr().err
