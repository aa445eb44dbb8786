"""Stacks in processes side by side: how a grid is cut and dealt; they leave what one process leaves."""

import csv
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytorch_lightning as L
import torch

from actsweep.sweep import launcher
from actsweep.training.progress import Unseen
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.grouping import Limits, Shape, share_out
from actsweep.training.stack.stack_checkpoint import Saving
from tests import processes
from tests.test_stack import CPU, Make, several
from tests.test_stacked_launcher import STACKED, Command, statuses, tree

LONG, SHORT = 100, 1  # epochs
GPU = torch.device("cuda", 0)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores with memory for all of them."""
    monkeypatch.setattr(grouping, "ALL_THREADS", 8)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 100 * grouping.PROCESS_BYTES)


def shape(
    settings_for: Make, epochs: int, weights: int = 600_000, device: torch.device = CPU, most: int = 999
) -> Shape:
    return Shape(settings_for(f"trainer.max_epochs={epochs}"), device, most, weights, steps=195, examples=256)


@pytest.mark.usefixtures("cores")
def test_a_grid_is_cut_for_the_cores(settings_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = shape(settings_for, LONG), shape(settings_for, SHORT, weights=100)
    assert share_out([long], [40], Limits()) == grouping.Shares(8, [8])
    assert share_out([long], [6], Limits()) == grouping.Shares(3, [3])  # stacks of two at least
    assert share_out([long], [1], Limits()) == grouping.Shares(1, [1])
    assert share_out([short], [40], Limits()) == grouping.Shares(1, [1])  # not worth a process
    assert share_out([short], [40], Limits(processes=4)) == grouping.Shares(4, [4])
    assert share_out([long], [40], Limits(max_members=3)) == grouping.Shares(8, [14])
    assert share_out([], [], Limits(), begun=[(CPU, 100.0)] * 2) == grouping.Shares(2, [])
    assert share_out([], [], Limits(), begun=[(GPU, 100.0)] * 2) == grouping.Shares(1, [])
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 5 * grouping.PROCESS_BYTES)
    assert share_out([long], [40], Limits()) == grouping.Shares(3, [3])


@pytest.mark.usefixtures("cores")
def test_longer_shapes_are_cut_into_more_pieces(settings_for: Make) -> None:
    small, large = shape(settings_for, LONG), shape(settings_for, LONG, weights=1_800_000)
    shares = share_out([small, large], [40, 40], Limits())
    assert shares == grouping.Shares(8, [5, 12])  # about two for each process, of about equal length


def test_gpus_get_a_piece_each_whatever_the_work(settings_for: Make) -> None:
    short = shape(settings_for, SHORT, device=GPU)
    assert share_out([short], [5], Limits(devices=[0, 1])) == grouping.Shares(2, [2])
    assert share_out([short], [5], Limits()) == grouping.Shares(1, [1])
    assert share_out([shape(settings_for, LONG, device=GPU, most=2)], [5], Limits()) == grouping.Shares(1, [3])


def test_a_grid_is_cut_so_that_every_device_gets_some(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def trained(shares: Sequence[Sequence[stacks.Group]], *_: Any) -> None:
        for group in (group for share in shares for group in share):
            seen.append((str(group.device), len(group.jobs)))
            group.trained = True  # its runs run one by one

    monkeypatch.setattr(launcher, "check", lambda *_: None)  # the devices are made up
    monkeypatch.setattr(grouping, "device_for", lambda *_: GPU)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 10**12)
    monkeypatch.setattr(launcher, "train_side_by_side", trained)
    grid = ["act=relu", "seed=0,1,2,3,4", "trainer.max_epochs=1", "diagnostics=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*STACKED, "hydra.launcher.devices=[0,1]", *grid) == 0
    assert seen == [("cuda:0", 3), ("cuda:1", 2)]
    assert len(statuses(tmp_path)) == 5


def test_what_a_shape_is_said_to_take_grows_with_its_members(settings_for: Make) -> None:
    long = shape(settings_for, LONG)
    assert long.seconds(18) > 5 * long.seconds(1) > 0
    assert long.seconds(18, LONG // 2) == pytest.approx(long.seconds(18) / 2)


def test_shares_take_about_as_long(tmp_path: Path) -> None:
    groups = [stacks.Group([], CPU, Saving(tmp_path, 60), seconds) for seconds in (5.0, 9.0, 3.0)]
    assert [[group.seconds for group in share] for share in stacks.deal(groups, 2)] == [[9.0], [5.0, 3.0]]


class Heard(Unseen):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.at_work: list[int] = []

    def ended(self, folder: Path) -> None:
        self.folders.append(folder)

    def reached(self, runs: int, left: float, each: float) -> None:
        assert left >= 0
        assert each > 0
        self.at_work.append(runs)


def epochs_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "epochs.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_two_processes_leave_what_one_leaves_and_say_how_far_they_are(settings_for: Make, tmp_path: Path) -> None:
    settings = several(settings_for, acts=["relu", "tanh"])
    together, shared = ([(each, tmp_path / name / str(row)) for row, each in enumerate(settings)] for name in "ab")
    stacks.train_group(together, CPU)
    groups = [stacks.Group(part, CPU, Saving(tmp_path / f"{len(part)}.ckpt", 60)) for part in (shared[:2], shared[2:])]
    heard, environment = Heard(), dict(os.environ)
    stacks.train_side_by_side([groups[:1], groups[1:]], 1, heard)
    assert dict(os.environ) == environment
    assert all(group.trained for group in groups)
    assert sorted(heard.folders) == sorted(folder for _, folder in shared)
    assert heard.at_work
    for (_, one), (_, two) in zip(together, shared, strict=True):
        assert tree(one) == tree(two)
        for ours, theirs in zip(epochs_of(one), epochs_of(two), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)


class DiesInAChild(L.Callback):
    """Takes its process with it, if another one has started that."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if multiprocessing.parent_process() and trainer.settings.seed == 1:  # type: ignore[attr-defined]
            os._exit(7)


def test_stacks_of_a_process_that_dies_are_trained_here(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dies = f"+diagnostics.dies._target_={__name__}.{DiesInAChild.__name__}"
    grid = ["act=relu", "seed=0,1,2,3", "diagnostics=[]", dies, "hydra.launcher.processes=2"]
    assert command(*STACKED, *grid, f"hydra.sweep.dir={tmp_path}") == 0
    assert "a process with stacks ended early, what it left is trained later: exit code 7" in capsys.readouterr().err
    assert set(statuses(tmp_path).values()) == {"completed"}
    assert len(statuses(tmp_path)) == 4


def children_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    grid = [*STACKED, "seed=0,1,2,3", "trainer.max_epochs=100000", "patience=null", "hydra.launcher.processes=2"]
    every_epoch = "hydra.launcher.save_every=0"
    arguments = [sys.executable, "-m", "src.train", *grid, every_epoch, f"hydra.sweep.dir={tmp_path}"]
    with processes.running(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        processes.until(lambda: len(list(tmp_path.glob("*/epochs.csv"))) == 4, command)
        children = children_of(psutil.Process(command.pid))
        assert len(children) == 2
        command.kill()  # it can't end them itself; where it can, it does
        for child in children:
            while processes.lives(child):
                time.sleep(0.02)
