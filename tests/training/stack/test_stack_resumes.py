"""A stack that is given more epochs, or is moved, goes on from its members' files and its own, bit for bit."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep import one_run
from actsweep.results import run_folder
from actsweep.sweep.launcher import SweepLaunch
from actsweep.training.stack import stacks
from actsweep.training.stack.stacks import FOLDER
from actsweep.training.stack.steps import Steps
from tests.conftest import SMALL
from tests.training.stack.test_stack import CPU, Make, several

Command = Callable[..., int]
# Of these, some stop early before epoch 3, and others have begun to count.
GRID = ["-m", "hydra/launcher=stacked", "hydra.launcher.processes=1", *SMALL, "act=prelu,tanh", "seed=0,1",
        "patience=2", "optim.lr=0.1,0.4", "diagnostics.units.every_n_epochs=2",
        "hydra.sweep.subdir=${hydra.runtime.choices.act}-s${seed}-${optim.lr}"]  # fmt: skip


def results_of(sweep: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(sweep.glob("*/result.json"))}
    return {name: each | {"seconds": 0, "git": ""} for name, each in found.items()}


def assert_equal_checkpoints(one: Any, other: Any, place: str = "") -> None:
    """Bit for bit, but for what can't be: times, hashes of nothing but names."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"seconds", "stopping_reason_message"}:
            assert_equal_checkpoints(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_equal_checkpoints(first, second, f"{place}/{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), place
    else:
        assert one == other, place


def assert_same_runs(one: Path, other: Path) -> None:
    """Weights, optimisers' and callbacks' states, tables and results."""
    assert results_of(one) == results_of(other)
    for folder in sorted(path.parent for path in one.glob("*/result.json")):
        for name in (run_folder.LAST, run_folder.BEST):
            states = [torch.load(each / folder.name / name, weights_only=True) for each in (one, other)]
            assert_equal_checkpoints(*states, place=f"{folder.name}/{name}")
        sizes = run_folder.table_sizes(folder)
        assert sizes == run_folder.table_sizes(other / folder.name)
        for table in sizes:
            assert (folder / table).read_bytes() == (other / folder.name / table).read_bytes(), (folder.name, table)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("six")


@pytest.fixture
def six_at_once(command: Command, six: Path) -> Path:
    if not results_of(six):
        assert command(*GRID, "trainer.max_epochs=6", f"hydra.sweep.dir={six}") == 0
        epochs = [each["epochs"] for each in results_of(six).values()]
        assert min(epochs) < 3
        assert epochs.count(6) > 1
    return six


def test_more_epochs_in_the_same_folder_end_as_so_many_at_once(
    command: Command, tmp_path: Path, six_at_once: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = f"hydra.sweep.dir={tmp_path}"
    assert command(*GRID, "trainer.max_epochs=3", sweep) == 0
    capsys.readouterr()
    assert command(*GRID, "trainer.max_epochs=6", sweep) == 0
    said = capsys.readouterr().out
    assert "runs in one stack on cpu, resuming after epoch 3" in said
    assert "one by one: trained already" in said
    assert_same_runs(six_at_once, tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optim=adam", "trainer.precision=64-true"],
        ["optim.momentum=0.0", "norm=layer", "trainer.gradient_clip_val=1.0", "patience=null"],
        ["optim=rmsprop", "optim.momentum=0.5", "norm=batch", "trainer.precision=64-true"],
    ],
    ids=["adam", "without-momentum", "rmsprop-and-batch-norm"],
)
def test_stacks_and_lone_runs_go_on_from_each_other(settings_for: Make, tmp_path: Path, overrides: list[str]) -> None:
    two, three = (several(settings_for, *overrides, f"trainer.max_epochs={n}", acts=["prelu"]) for n in (2, 3))
    places = ("stack", "stack then stack", "stack then alone", "alone", "alone then stack", "alone then alone")
    jobs = {place: [(each, tmp_path / place / str(row)) for row, each in enumerate(three)] for place in places}
    for place, [*first] in jobs.items():
        begun = [(settings, folder) for settings, (_, folder) in zip(two, first, strict=True)]
        if place.startswith("stack then"):
            stacks.train_group(begun, CPU)
        elif place.startswith("alone then"):
            [one_run.train(*job) for job in begun]
        if place.endswith("stack"):
            stacks.train_group(first, CPU)
        else:
            [one_run.train(*job) for job in first]
    assert_same_runs(tmp_path / "stack", tmp_path / "stack then stack")
    assert_same_runs(tmp_path / "alone", tmp_path / "alone then alone")
    for row in ("0", "1"):
        expected = torch.load(tmp_path / "alone" / row / run_folder.LAST, weights_only=True)
        for place in places:
            found = torch.load(tmp_path / place / row / run_folder.LAST, weights_only=True)
            assert found["callbacks"].keys() == expected["callbacks"].keys()
            assert found["callbacks"]["BestAndLast"] == pytest.approx(expected["callbacks"]["BestAndLast"], rel=1e-4)
            assert (found["epoch"], found["global_step"]) == (2, expected["global_step"])
            for key, values in expected["state_dict"].items():
                torch.testing.assert_close(found["state_dict"][key], values, rtol=1e-3, atol=1e-4)
            pairs = zip(found["optimizer_states"], expected["optimizer_states"], strict=True)
            torch.testing.assert_close(*zip(*pairs, strict=True), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("way", ["moved", "copied", "through a link", "from elsewhere"])
def test_an_interrupted_sweep_goes_on_bit_for_bit_wherever_it_is(
    command: Command, tmp_path: Path, six_at_once: Path, way: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    grid = [*GRID, "trainer.max_epochs=6", "hydra.launcher.save_every=0"]
    sweep, place = tmp_path / "sweep", tmp_path / "other" / "place"
    with monkeypatch.context() as patch:
        interrupt_at(70, patch)
        assert command(*grid, f"hydra.sweep.dir={sweep}") == 130
    (kept,) = (sweep / FOLDER).glob("*.ckpt")
    assert str(tmp_path).encode() not in kept.read_bytes()
    place.parent.mkdir()
    if way == "through a link":
        place.symlink_to(sweep)
    elif way != "from elsewhere":
        (shutil.move if way == "moved" else shutil.copytree)(sweep, place)
    monkeypatch.chdir(tmp_path / "other")
    capsys.readouterr()
    assert command(*grid, f"hydra.sweep.dir={'../sweep' if way == 'from elsewhere' else place}") == 0
    assert "in one stack on cpu, resuming after epoch " in capsys.readouterr().out
    assert_same_runs(six_at_once, sweep if way == "from elsewhere" else place)


def interrupt_at(number: int, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in this optimiser step of a stack."""
    done, step = 0, Steps.__call__

    def interrupted(self: Steps) -> None:
        nonlocal done
        done += 1
        if done == number:
            signal.raise_signal(signal.SIGINT)
        step(self)

    patch.setattr(Steps, "__call__", interrupted)


def test_an_interrupted_stack_is_given_more_epochs(
    command: Command, tmp_path: Path, six_at_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = [f"hydra.sweep.dir={tmp_path}", "hydra.launcher.save_every=0"]
    with monkeypatch.context() as patch:
        interrupt_at(50, patch)
        assert command(*GRID, "trainer.max_epochs=3", *sweep) == 130
    assert command(*GRID, "trainer.max_epochs=6", *sweep) == 0
    assert_same_runs(six_at_once, tmp_path)


def test_what_is_left_of_a_grid_is_cut_as_it_would_have_been(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[list[list[str]]] = []
    units = SweepLaunch.units

    def noted(self: SweepLaunch, *tasks: Any) -> Any:
        found = units(self, *tasks)
        cut.append([[folder.name for _, folder in unit.jobs] for unit in found])
        return found

    monkeypatch.setattr(SweepLaunch, "units", noted)
    grid = ["-m", *SMALL, "seed=range(9)", "diagnostics=[]", "trainer.max_epochs=1", "hydra.sweep.subdir=s${seed}"]
    grid += ["hydra.launcher.max_members=4", f"hydra.sweep.dir={tmp_path}"]
    assert command(*grid) == 0
    for seed in (0, 1, 2, 4):
        (tmp_path / f"s{seed}" / run_folder.RESULT).unlink()
        (tmp_path / f"s{seed}" / run_folder.LAST).unlink()
        (tmp_path / f"s{seed}" / run_folder.BEST).unlink()
    assert command(*grid) == 0
    assert cut == [[["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6", "s7", "s8"]], [["s0", "s1", "s2"], ["s4"]]]


def test_an_interrupted_stack_cant_go_back_to_fewer_epochs(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["-m", *SMALL, "seed=0,1", "diagnostics=[]", "hydra.sweep.subdir=s${seed}", f"hydra.sweep.dir={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(stacks, "MOST_TIME", 1e9)
        interrupt_at(45, patch)
        assert command(*grid, "trainer.max_epochs=9", "hydra.launcher.save_every=0") == 130
    [checkpoint] = (tmp_path / FOLDER).glob("*.ckpt")
    capsys.readouterr()
    assert command(*grid, "trainer.max_epochs=1") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "s0 holds a run with other settings: trainer.max_epochs=1, and it has trained 2 epochs" in line
    assert checkpoint.exists()
    assert command(*grid, "trainer.max_epochs=1", "rerun=all") == 0
