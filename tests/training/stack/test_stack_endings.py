"""What becomes of a stack's runs where memory ends, a checkpoint is damaged, or a folder is in use."""

import gc
import os
import resource
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as L
import torch

from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.results import locks, run_folder
from actsweep.sweep.launcher import SweepLaunch
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.steps import Steps
from actsweep.training.stack.training import Training
from tests.conftest import SMALL
from tests.training.stack.test_stack import CPU, Make, several
from tests.training.stack.test_stack_resumes import GRID, interrupt_at, results_of

Command = Callable[..., int]
QUICK = ["-m", *SMALL, "diagnostics=[]"]


def raised(do: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011
        do()
    return found.value


def test_every_way_of_saying_that_memory_is_out_is_understood() -> None:
    assert is_out_of_memory(raised(lambda: torch.empty(10**15)))
    assert is_out_of_memory(raised(lambda: np.empty(10**15)))
    assert is_out_of_memory(raised(lambda: bytearray(2**62)))
    for words in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling", "std::bad_alloc",
                  "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."):  # fmt: skip
        assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
    wrapped = RuntimeError("Error in call to target")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    circle = ValueError("a file is missing")
    circle.__context__ = RuntimeError("Error in call to target")
    circle.__context__.__cause__ = circle
    assert not is_out_of_memory(circle)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))


class HungryForSeedOne(Diagnostic):
    """Asks for more memory than there is."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.hparams["seed"] == 1:
            torch.empty(10**15)


def test_memory_that_ends_in_a_callback_halves_the_stack_and_only_a_run_that_can_t_fit_alone_fails(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    run = Training.run

    def noted(self: Training, *save: Any) -> None:
        sizes.append(self.jobs)
        run(self, *save)

    monkeypatch.setattr(Training, "run", noted)
    hungry = f"+diagnostics.hungry._target_={__name__}.{HungryForSeedOne.__name__}"
    assert command(*QUICK, "seed=0,1,2,3", hungry, f"hydra.sweep.dir={tmp_path}") == 1
    assert sizes == [4, 2, 1, 1, 2]
    assert [each["status"] for each in results_of(tmp_path).values()] == ["completed", "failed", *["completed"] * 2]
    (error,) = tmp_path.glob("*/error.txt")
    assert "can't allocate memory" in error.read_text()


@pytest.mark.parametrize("moment", ["Training.__init__", "Steps.__call__", "Training.means"])
def test_a_stack_that_ran_out_of_memory_holds_none_of_it_when_its_halves_begin(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    alive: list[weakref.ref[Any]] = []
    owner, name = {"Training": Training, "Steps": Steps}[moment.split(".")[0]], moment.split(".")[1]
    original = getattr(owner, name)

    def once(self: Any, *arguments: Any, **named: Any) -> Any:
        if not alive:
            alive.append(weakref.ref(self))
            torch.empty(10**15)
        else:
            assert alive[0]() is None
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, once)
    jobs = [(each, tmp_path / str(row)) for row, each in enumerate(several(settings_for, acts=["relu", "tanh"]))]
    stacks.train_group(jobs, CPU)
    gc.collect()
    assert stacks.unfinished(jobs) == []
    assert all(run_folder.read_result(folder) for _, folder in jobs)


def damaged_after_the_first_look(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    units = SweepLaunch.units

    def cut(self: SweepLaunch, *arguments: Any) -> Any:
        found = units(self, *arguments)
        for path in stacks.paths(self.sweep):
            content = path.read_bytes()
            if way == "gone":
                path.unlink()
            elif way == "of others":
                state = torch.load(path, weights_only=True)
                torch.save(state | {"rows": state["rows"][::-1]}, path)
            elif way == "without weights":
                torch.save(torch.load(path, weights_only=True) | {"blocks": []}, path)
            else:
                path.write_bytes(content[: len(content) // 2] if way == "half" else b"no checkpoint")
        return found

    monkeypatch.setattr(SweepLaunch, "units", cut)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one sweep that the tests interrupt once, and copy."""
    return tmp_path_factory.mktemp("interrupted") / "sweep"


@pytest.mark.parametrize("way", ["half", "no checkpoint", "gone", "of others", "without weights"])
def test_a_checkpoint_that_is_damaged_between_two_looks_costs_no_finished_run(
    command: Command, tmp_path: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch, way: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    six = [*GRID, "trainer.max_epochs=6", "hydra.launcher.save_every=0"]
    if not interrupted.exists():
        with monkeypatch.context() as patch:
            interrupt_at(70, patch)
            assert command(*six, f"hydra.sweep.dir={interrupted}") == 130
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    grid = [*six, f"hydra.sweep.dir={tmp_path}"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert len(before) > 1
    with monkeypatch.context() as patch:
        damaged_after_the_first_look(way, patch)
        assert command(*grid) == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert before.items() <= after.items()
    assert len(after) == 8
    assert "the stack of 0 runs" not in capfd.readouterr().err


@contextmanager
def in_use(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Somebody else is at work there."""
    taken = "locks.take(Path(sys.argv[1])); print(1); input()"
    code = f"import sys; from pathlib import Path; from actsweep.results import locks; {taken}"
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.read(1) == "1"
            yield holder
        finally:
            holder.kill()


@pytest.mark.cold  # whose process number is told
@pytest.mark.parametrize("begun", [False, True], ids=["at the start", "when it goes on"])
def test_a_member_whose_folder_is_in_use_costs_no_other_member_anything(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = [*GRID, "trainer.max_epochs=6", "hydra.launcher.save_every=0"]
    whole, sweep = tmp_path / "whole", tmp_path / "sweep"
    folder = sweep / "tanh-s1-0.1"
    with monkeypatch.context() as patch:
        interrupt_at(30 if begun else 3, patch)
        assert command(*grid, f"hydra.sweep.dir={sweep}") == 130
    with in_use(folder) as holder:
        capfd.readouterr()
        assert command(*grid, f"hydra.sweep.dir={sweep}") == 1
        said = capfd.readouterr().err.splitlines()
        assert [line.partition(" since ")[0] for line in said if "in use" in line] == [
            f"error: {folder} is in use by process {holder.pid} on {os.uname().nodename}"
        ]
        assert sum("1 of 8 runs left no result: tanh-s1-0.1" in line for line in said) == 1
    assert len(results_of(sweep)) == 7
    assert command(*grid, f"hydra.sweep.dir={sweep}") == 0
    assert len(results_of(sweep)) == 8
    if begun:
        assert command(*grid, f"hydra.sweep.dir={whole}") == 0
        first, second = results_of(whole), results_of(sweep)
        first.pop(folder.name), second.pop(folder.name)  # which was trained alone, to rounding the same
        assert first == second


def test_members_are_locked_while_they_train_and_released_when_they_end(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}
    epoch = Training.epoch

    def noted(self: Training, number: int) -> None:
        seen[f"epoch {number}"] = sorted(path.parent.name for path in locks._held)
        epoch(self, number)

    monkeypatch.setattr(Training, "epoch", noted)
    settings = several(settings_for, "trainer.max_epochs=4", "patience=0", acts=["relu"], seeds=(0, 1, 2))
    jobs = [(each, tmp_path / str(row)) for row, each in enumerate(settings)]
    stacks.train_group(jobs, CPU)
    ended = {folder.name: (run_folder.read_result(folder) or {})["epochs"] for _, folder in jobs}
    assert seen == {
        f"epoch {number}": sorted(name for name, epochs in ended.items() if epochs > number)
        for number in range(max(ended.values()))
    }
    assert not locks._held


def test_the_limit_of_open_files_is_raised_and_where_it_can_t_be_stacks_are_smaller(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(100, hard), hard))
        grouping.allow_open_files(50)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == grouping.FILES + 50 * grouping.FILES_OF_A_MEMBER
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 10**15)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert grouping.most_members(100, 10, 2, 8, CPU) == (1024 - grouping.FILES) // grouping.FILES_OF_A_MEMBER == 256


@pytest.mark.parametrize("asked", [["trainer.max_epochs=3"], ["trainer.max_epochs=1", "rerun=all"]])
def test_a_run_that_was_not_done_is_told_although_an_earlier_result_is_there(
    command: Command, tmp_path: Path, asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = [*QUICK, "seed=0,1", "hydra.sweep.subdir=s${seed}", f"hydra.sweep.dir={tmp_path}"]
    assert command(*sweep, "trainer.max_epochs=1") == 0
    with in_use(tmp_path / "s1"):
        capfd.readouterr()
        assert command(*sweep, *asked) == 1
        last = capfd.readouterr().err.splitlines()[-1]
        told = "1 of 2 runs were not done, an earlier command's result is there: s1; the same command does them again"
        assert last == f"error: {told}"
    assert command(*sweep, *asked) == 0
