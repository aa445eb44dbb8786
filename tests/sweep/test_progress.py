"""What a person is told while a sweep runs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from actsweep.results import run_folder
from actsweep.sweep.units import Ended
from actsweep.training import progress
from actsweep.training.stack.training import Training
from tests.conftest import SMALL
from tests.training.stack.test_stack import CPU, Make, several

Command = Callable[..., int]


class Listener:
    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []
        self.left: list[float] = []

    def ended(self, folder: Path) -> None:
        result = run_folder.read_result(folder)
        assert result is not None
        self.said.append((folder.name, result["epochs"]))

    def reached(self, runs: float, left: float, each: float) -> None:
        self.said.append(("at work", runs))
        self.left.append(left)


def test_a_stack_tells_of_every_run_when_it_ends_not_when_all_have(settings_for: Make, tmp_path: Path) -> None:
    settings = several(
        settings_for, "patience=1", "trainer.max_epochs=12", "optim.lr=0.4", "diagnostics=[]", acts=["relu", "tanh"]
    )
    listener = Listener()
    Training([(each, tmp_path / str(row)) for row, each in enumerate(settings)], CPU, watcher=listener).run()
    at_work, epoch, ended = len(settings), 1, {}
    for name, number in listener.said:
        if name == "at work":
            assert number == at_work
            epoch += 1
        else:
            ended[name] = number
            assert number == epoch
            at_work -= 1
    assert len(ended) == len(settings)
    assert len(set(ended.values())) > 1, "the test is of runs that end at different times"
    assert all(seconds >= 0 for seconds in listener.left)


def test_a_stacked_sweep_names_each_run_once(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *SMALL, "act=relu,tanh", "diagnostics=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*sweep, "seed=0,1", "hydra/launcher=stacked") == 0
    said = re.findall(r"^(\d)/4(, about )?(?:\d+ s left)?: (\w+)", capsys.readouterr().out, re.MULTILINE)
    about = ", about "
    assert said == [("1", about, "relu"), ("2", about, "relu"), ("3", about, "tanh"), ("4", "", "tanh")]
    assert command(*sweep, "seed=0") == 0
    assert "1/2: relu" in capsys.readouterr().out  # found done: that tells nothing of the time left


@pytest.mark.parametrize("launcher", [[], ["hydra.launcher.processes=2", "hydra.launcher.max_members=1"]])
def test_what_is_done_already_is_told_first_so_that_the_time_left_is_of_the_others(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], launcher: list[str]
) -> None:
    sweep = ["-m", *SMALL, "act=relu,tanh", "diagnostics=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*sweep, "seed=1") == 0
    capsys.readouterr()
    assert command(*sweep, "seed=0,1", *launcher) == 0
    said = re.findall(r"^(\d)/4(.*?): \w+-d2-s(\d)", capsys.readouterr().out, re.MULTILINE)
    assert [(number, seed) for number, _, seed in said] == [("1", "1"), ("2", "1"), ("3", "0"), ("4", "0")]
    assert [time[:8] for _, time, _ in said] == ["", "", ", about ", ""]


def test_time_left_is_of_the_runs_that_were_done_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress.time, "time", lambda: -now)  # a clock that is set meanwhile says nothing of it
    shown = progress.SweepProgress(6)
    for is_new in (False, False):
        shown.ended({"name": "a"}, "found", is_new)
    now += 30
    shown.ended({"name": "b"}, "done", True)
    shown.reached(2, 45.0, 20.0)
    now += 5
    shown.ended({"name": "c"}, "stacked", True)
    assert capsys.readouterr().out.splitlines() == [
        "1/6: found", "2/6: found", "3/6, about 90 s left: done", "4/6, about 60 s left: stacked",
    ]  # fmt: skip


def test_time_left_counts_no_epoch_that_was_done_before(settings_for: Make, tmp_path: Path) -> None:
    two = several(settings_for, "trainer.max_epochs=4", "diagnostics=[]", acts=["relu", "tanh"])
    listener = Listener()
    training = Training([(each, tmp_path / str(row)) for row, each in enumerate(two)], CPU, watcher=listener)
    training.first_epoch = 2
    training.run()
    assert [runs for name, runs in listener.said if name == "at work"] == [
        len(two) / 2,
        0,
    ]  # the last two epochs of four

    listener = Listener()
    sweep = Ended(listener)
    sweep.begun = {Path(name): 0.75 for name in "abcd"}  # two stacks; of the sweep's six runs, two are not begun
    sweep.reached(2 * 0.25, 1.0, 20.0)
    assert listener.said == [("at work", 6 - (2 + 2 * 0.25))]  # the others wait: two, and what is left of c and d
