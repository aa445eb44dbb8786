"""A disk without room or right to write costs nothing that is there already."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from src import results
from tests.conftest import SMALL
from tests.test_resume import Command, assert_same_run, environment


def can_mount() -> bool:
    """Whether this user may: root, outside of most containers."""
    with tempfile.TemporaryDirectory() as place:
        try:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", place], check=True)
        return True


MOUNTS = can_mount()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.skipif(not MOUNTS, reason="needs the right to mount a file system")
def test_a_full_disk_costs_neither_the_old_checkpoints_nor_other_runs_and_with_room_the_run_goes_on(
    command: Command, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *SMALL, "width=512,16", "trainer.max_epochs=2", "diagnostics=[]"]  # checkpoints of 2.4 MB and 30 kB
    assert command(*sweep, f"hydra.sweep.dir={small_disk}/sweep") == 1
    shown = capsys.readouterr().err
    assert "1 of 2 runs failed" in shown
    assert "Traceback" not in shown
    wide, narrow = sorted((small_disk / "sweep").glob("*width*"), key=lambda path: "=16" in path.name)
    reason = json.loads((wide / results.RESULT).read_text())
    assert (reason["status"], "No space left on device" in reason["error"]) == ("failed", True)
    assert json.loads((narrow / results.RESULT).read_text())["status"] == "completed"
    for name in (results.BEST, results.LAST):
        assert torch.load(wide / name, weights_only=True)["epoch"] == 0
    assert not list(small_disk.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    assert command(*sweep, f"hydra.sweep.dir={small_disk}/sweep") == 0
    assert f"{wide.name} goes on after epoch 1\n" in capsys.readouterr().out
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/whole") == 0
    assert_same_run(tmp_path / "whole" / wide.name, wide)


@pytest.mark.skipif(not MOUNTS, reason="needs the right to mount a file system")
@pytest.mark.parametrize("many", [True, False])
def test_a_disk_that_cant_be_written_is_named(
    many: bool, command: Command, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    place = f"hydra.sweep.dir={small_disk}/out" if many else f"hydra.run.dir={small_disk}/out"
    assert command(*(["-m", "seed=0,1"] if many else []), *SMALL, place) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in line
    assert str(small_disk) in line


@pytest.mark.skipif(MOUNTS, reason="a full disk shows more")
def test_a_file_that_grows_too_large_costs_no_other_run(tmp_path: Path) -> None:
    overrides = ["-m", *SMALL, "depth=1", "width=16,512", "trainer.max_epochs=2", "diagnostics=[]"]
    limit = ["bash", "-c", 'ulimit -f 100; exec "$@"', "-"]  # no file of more than 100 kB, as on a disk without room
    command = [sys.executable, "-m", "src.train", *overrides, f"hydra.sweep.dir={tmp_path}"]
    ended = subprocess.run([*limit, *command], capture_output=True, text=True, env=environment(), timeout=120)
    assert ended.returncode == 1
    assert "1 of 2 runs failed" in ended.stderr
    assert "Traceback" not in ended.stderr
    found = {json.loads(path.read_text())["hidden_sizes"][0]: json.loads(path.read_text())
             for path in tmp_path.glob("*/result.json")}  # fmt: skip
    assert (found[16]["status"], found[512]["status"]) == ("completed", "failed")
    assert "File too large" in found[512]["error"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_checkpoint_that_cant_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    script = """
import resource, sys, torch
from src.checkpoints import WholeFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
WholeFiles().save_checkpoint({"x": torch.zeros(100)}, sys.argv[1])
WholeFiles().save_checkpoint({"x": torch.zeros(100_000)}, sys.argv[1])
"""
    ended = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120)
    assert "File too large" in ended.stderr
    assert len(torch.load(path, weights_only=True)["x"]) == 100
    assert list(tmp_path.iterdir()) == [path]
