"""A stack that is done again, as processes, Slurm and Ray do with one that died, leaves what one does at once."""

import re
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from actsweep.results import run_folder
from actsweep.sweep.units import Unit
from actsweep.training.checkpoints import WholeFiles
from actsweep.training.stack import stacks
from actsweep.training.stack.stacks import FOLDER, Saving
from actsweep.training.stack.steps import Steps
from tests.training.stack.test_stack import Make, several
from tests.training.stack.test_stack_resumes import assert_same_runs, results_of

MOMENTS = {  # what dies where: after members have ended, and been dropped from the stack
    "in a step": (Steps, "__call__", 100),
    "in the stack's checkpoint": (WholeFiles, "save_checkpoint", 11),
    "in a member's checkpoint": (WholeFiles, "save_checkpoint", 13),
    "before a result": (run_folder, "write_result", 5),
}


class Killed(BaseException):
    pass


@pytest.fixture
def unit(settings_for: Make) -> Callable[[Path], Unit]:
    """Of eight runs, some of which end early."""
    words = ["patience=1", "trainer.max_epochs=20", "threads=1", "diagnostics.units.every_n_epochs=2"]
    rates = [several(settings_for, *words, f"optim.lr={lr}", acts=["prelu", "tanh"]) for lr in (0.1, 0.4)]

    def make(folder: Path) -> Unit:
        jobs = [(each, folder / str(row)) for row, each in enumerate(chain(*rates))]
        return Unit(jobs, Saving(folder / FOLDER / "one.ckpt", 0))

    return make


@pytest.fixture
def whole(unit: Callable[[Path], Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stacks, "MOST_TIME", 1e9)  # a checkpoint after each epoch
    unit(tmp_path / "whole").train()
    return tmp_path / "whole"


def die(unit: Unit, owner: object, name: str, number: int) -> dict[Path, int]:
    """In this call of it; returns the results it has left, and when they were written."""
    done, do = 0, getattr(owner, name)

    def deadly(*arguments: object) -> None:
        nonlocal done
        done += 1
        if done == number:
            raise Killed
        do(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, deadly)
        with pytest.raises(Killed):
            unit.train()
    return results(unit)


def results(unit: Unit) -> dict[Path, int]:
    files = [folder / run_folder.RESULT for _, folder in unit.jobs]
    return {path: path.stat().st_mtime_ns for path in files if path.exists()}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_unit_that_died_goes_on_bit_for_bit_with_those_that_had_not_ended(
    unit: Callable[[Path], Unit], tmp_path: Path, whole: Path, moment: str,
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    again = tmp_path / "again"
    before = die(unit(again), *MOMENTS[moment])
    assert 0 < len(before) < 8
    unit(again).train()
    assert re.search("[2-6] runs in one stack on cpu, resuming after epoch [2-5]", capsys.readouterr().out)
    assert not caplog.records
    assert_same_runs(whole, again)
    assert before.items() <= results(unit(again)).items()


def test_a_stack_has_a_checkpoint_as_soon_as_one_of_its_runs_has_ended(
    unit: Callable[[Path], Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = unit(tmp_path)
    begun.saving = Saving(tmp_path / FOLDER / "one.ckpt", 600)
    assert die(begun, Steps, "__call__", 100)
    unit(tmp_path).train()
    assert re.search("[2-7] runs in one stack on cpu, resuming after epoch [1-5]", capsys.readouterr().out)


@pytest.mark.parametrize("number", [4, 8])
def test_what_has_stopped_but_was_not_tested_trains_no_more_though_its_stacks_checkpoint_is_lost(
    unit: Callable[[Path], Unit], tmp_path: Path, whole: Path, number: int
) -> None:
    again = tmp_path / "again"
    before = die(unit(again), run_folder, "write_result", number)
    shutil.rmtree(again / FOLDER, ignore_errors=True)
    trained = {folder.name for _, folder in unit(again).jobs if (folder / run_folder.LAST).exists()}
    assert len(trained) > len(before)
    unit(again).train()
    epochs = [{name: each["epochs"] for name, each in results_of(sweep).items()} for sweep in (whole, again)]
    assert epochs[0] == epochs[1]
    for name in epochs[0].keys() - trained:  # they began anew, in a smaller stack
        shutil.rmtree(whole / name)
        shutil.rmtree(again / name)
    assert_same_runs(whole, again)
