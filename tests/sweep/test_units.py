"""A grid in units: how it is cut for what can work at once, and for whom."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch

from actsweep.config.schema import Settings
from actsweep.results import run_folder
from actsweep.sweep import units
from actsweep.sweep.executors import Processes
from actsweep.sweep.search import Limits
from actsweep.sweep.units import ToCut, Unit, cut, share_out
from actsweep.training.stack import grouping
from actsweep.training.stack.grouping import Shape
from tests.conftest import SMALL
from tests.sweep.test_stacked_launcher import STACKED, Command, statuses
from tests.training.stack.test_stack import CPU, Make

LONG, SHORT = 100, 1  # epochs
GPU = torch.device("cuda", 0)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores with memory for all of them."""
    monkeypatch.setattr(units, "all_threads", lambda: 8)
    monkeypatch.setattr(units, "forkable", lambda: False)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 100 * grouping.PROCESS_BYTES)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them; a process is to see them as 3 and 5."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(grouping, "device_for", lambda _: GPU)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 10**12)


def shape(
    settings_for: Make, epochs: int, weights: int = 600_000, device: torch.device = CPU, most: int = 999, *words: str
) -> Shape:
    settings = settings_for(f"trainer.max_epochs={epochs}", *words)
    return Shape(settings, device, most, weights, steps=195, examples=256, units=10)


@pytest.mark.usefixtures("cores")
def test_a_grid_is_cut_for_the_cores(settings_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = shape(settings_for, LONG), shape(settings_for, SHORT, weights=100)
    assert share_out([long], [40], Limits()) == (8, [8])
    assert share_out([long], [200], Limits()) == (8, [24])  # so many that smaller stacks hardly cost more
    assert share_out([long], [6], Limits()) == (3, [3])  # stacks of two at least
    assert share_out([long], [1], Limits()) == (1, [1])
    assert share_out([long], [6], Limits(max_members=1)) == (6, [6])
    assert share_out([long] * 5, [1] * 5, Limits()) == (5, [1] * 5)  # single runs
    assert share_out([short], [40], Limits()) == (1, [1])  # not worth a process
    assert share_out([short], [40], Limits(processes=4))[0] == 4
    assert share_out([long], [40], Limits(max_members=3)) == (8, [14])
    assert share_out([replace(long, units=900)] * 2, [64, 8], Limits(processes=1)) == (1, [4, 1])  # 16 are enough
    assert share_out([], [], Limits(), begun=[(CPU, 100.0)] * 2) == (2, [])
    assert share_out([shape(settings_for, LONG, 600_000, CPU, 999, "threads=4")], [40], Limits())[0] == 2
    brief = shape(settings_for, SHORT, weights=20_000)
    assert share_out([brief], [40], Limits()) == (1, [1])
    with monkeypatch.context() as patched:
        patched.setattr(units, "forkable", lambda: True)
        assert share_out([brief], [40], Limits())[0] == 8  # which start in no time
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 5 * grouping.PROCESS_BYTES)
    assert share_out([long], [40], Limits())[0] == 3


@pytest.mark.usefixtures("cores")
def test_longer_shapes_are_cut_into_more_pieces(settings_for: Make) -> None:
    small, large = shape(settings_for, LONG), shape(settings_for, LONG, weights=1_800_000)
    assert share_out([small, large], [40, 40], Limits()) == (8, [7, 18])  # about three for each process


@pytest.mark.usefixtures("gpus")
def test_gpus_get_work_each(settings_for: Make) -> None:
    short, long = (shape(settings_for, epochs, device=GPU) for epochs in (SHORT, LONG))
    assert share_out([short], [5], Limits(devices=[0, 1])) == (2, [2])  # as asked
    assert share_out([short], [5], Limits()) == (1, [1])  # not worth a process
    assert share_out([long], [5], Limits()) == (2, [2])
    assert share_out([long] * 3, [1] * 3, Limits()) == (2, [1] * 3)  # single runs
    assert share_out([shape(settings_for, LONG, device=GPU, most=2)], [5], Limits(devices=[1])) == (1, [3])
    assert share_out([], [], Limits(), begun=[(GPU, 100.0)] * 4) == (2, [])


def test_gpus_are_those_that_this_process_may_see(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limits().gpus() == ["3", "5"]
    assert Limits(devices=[1]).gpus() == ["5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert Limits().gpus() == ["0", "1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert Limits().gpus() == []


def test_every_run_is_in_one_unit_and_what_no_stack_takes_is_single_with_its_reason(settings_for: Make) -> None:
    def runs(*words: str, count: int, done: int | None = 0) -> list[ToCut]:
        base: Settings = settings_for(*SMALL, *words)
        return [(base.model_copy(update={"seed": seed}), done) for seed in range(count)]

    grid = [*runs(count=5), *runs("optim=adam", count=1), *runs("act=torch.nn.RReLU", count=2)]
    grid += [*runs(count=2, done=1), *runs(count=1, done=None)]
    found = cut(grid, Limits(max_members=3))
    assert sorted(place for piece in found for place in piece.places) == list(range(len(grid)))
    assert sorted(len(piece.places) for piece in found) == [1, 1, 1, 1, 2, 2, 3]
    assert sorted(piece.reason for piece in found if piece.reason) == [
        "no other run of its shape", "torch.nn.RReLU draws random numbers", "torch.nn.RReLU draws random numbers",
        "trained already",
    ]  # fmt: skip
    assert all(piece.seconds > 0 for piece in found)
    lone = cut(runs(count=3), Limits(max_members=1))
    assert [piece.reason for piece in lone] == ["a stack holds no more than one"] * 3
    away = cut(runs(count=9), Limits(max_members=4), is_away=True)
    assert [len(piece.places) for piece in away] == [3, 3, 3]


def test_devices_that_are_asked_for_get_a_process_each(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def trained(self: Processes, given: Sequence[Unit], sweep: Path) -> Iterator[Any]:
        seen.extend([self.count, self.gpus, sorted(len(unit.jobs) for unit in given)])
        with monkeypatch.context() as patch:
            patch.setattr(grouping, "device_for", lambda _: CPU)
            for place, unit in enumerate(given):
                unit.train(self.watcher)
                yield place, None

    monkeypatch.setattr(Processes, "map", trained)
    monkeypatch.setattr(Limits, "check", lambda _: None)  # the devices are made up
    monkeypatch.setattr(Limits, "gpus", lambda _: ["3", "5"])
    monkeypatch.setattr(grouping, "device_for", lambda _: GPU)
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 10**12)
    grid = ["act=relu", "seed=0,1,2,3,4", "trainer.max_epochs=1", "diagnostics=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*STACKED, "hydra.launcher.devices=[0,1]", *grid) == 0
    assert seen == [2, ["3", "5"], [2, 3]]
    assert ": 2 stacks of 2 to 3 in 2 processes with a GPU each (one by one: " in capsys.readouterr().out
    assert len(statuses(tmp_path)) == 5


def test_what_a_shape_is_said_to_take_grows_with_its_members(settings_for: Make) -> None:
    long = shape(settings_for, LONG)
    assert long.seconds(18) > 5 * long.seconds(1) > 0
    assert long.seconds(18, LONG // 2) == pytest.approx(long.seconds(18) / 2)
    assert shape(settings_for, LONG, 600_000, CPU, 999, "untrained=true").seconds(1) == 0


class NotesItsPlace(L.Callback):
    """Leaves a file in the working directory that holds a variable."""

    def on_train_start(self, *_: Any) -> None:
        Path("place").write_text(os.environ.get("PLACE", "none"))


def test_a_single_run_works_where_and_with_what_hydra_gives_its_job(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_for(
        *SMALL, "diagnostics=[]", "+diagnostics.notes._target_=tests.sweep.test_units.NotesItsPlace"
    )
    Unit([(settings, tmp_path / "run")], surroundings={"PLACE": "here"}, inside=True).train()
    assert (tmp_path / "run" / "place").read_text() == "here"
    assert Path.cwd() == tmp_path
    assert "PLACE" not in os.environ
    assert (run_folder.read_result(tmp_path / "run") or {})["status"] == "completed"
