"""The default launcher: the same folders, results and returns as one run after another."""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch
from omegaconf import OmegaConf

from actsweep import evaluate, one_run
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.network.classifier import Classifier
from actsweep.results import run_folder
from actsweep.sweep import launcher
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.training import Training
from tests.conftest import SMALL, names_in
from tests.training.stack.test_stack import CPU, Make, several

STACKED = ["-m", *SMALL, "report=false", "figures=[]"]
Command = Callable[..., int]


def test_every_activation_of_the_project_can_be_stacked(settings_for: Make) -> None:
    settings = several(settings_for, acts=names_in("act"), seeds=(0,))
    assert {each.names.act: grouping.reason_against(each) for each in settings} == dict.fromkeys(names_in("act"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (["act=torch.nn.RReLU"], "torch.nn.RReLU draws random numbers"),
        (["act=torch.nn.Softmin", "+act.dim=-1"], "torch.nn.Softmin is not a function of one unit at a time"),
        (["optim=rmsprop", "+optim.centered=true"], "torch.optim.RMSprop: centered is not written per member"),
        (["+optim.dampening=0.1"], "torch.optim.SGD: dampening is not written per member"),
        (["diagnostics=[per_example]"], "diagnostics=per_example: on_train_batch_start is not called in a stack"),
        (
            ["+diagnostics.asks._target_=tests.sweep.test_stacked_launcher.AsksTheTrainer"],
            "diagnostics=asks: on_train_start may ask for more of a trainer than a stack has",
        ),
        (["trainer.devices=2"], "trainer.devices=2: a stack trains on one device"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed is not known to the stack"),
        (["+trainer.limit_train_batches=3"], "trainer.limit_train_batches is not known to the stack"),
        (["untrained=true"], "untrained=true: nothing to train"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_its_reason(
    settings_for: Make, override: list[str], reason: str
) -> None:
    assert grouping.reason_against(settings_for(*SMALL, *override)) == reason


def test_only_what_a_member_has_for_itself_may_differ_within_a_stack(settings_for: Make) -> None:
    base = grouping.signature(settings_for(*SMALL))
    for alike in ("seed=7", "act=prelu", "optim.lr=0.5", "optim.momentum=0", "optim.weight_decay=0.1", "init=xavier"):
        assert grouping.signature(settings_for(*SMALL, alike)) == base, alike
    for other in ("depth=3", "data.batch_size=32", "act=maxout", "optim=adam", "patience=1", "norm=layer", "test=last"):
        assert grouping.signature(settings_for(*SMALL, other)) != base, other


def test_a_stacks_members_take_as_many_numbers_for_a_unit_whatever_they_say(settings_for: Make) -> None:
    acts = ("relu", "tests.network.own_activations.Pieces", "maxout", "tests.network.own_activations.Larger")
    each = [settings_for(*SMALL, f"act={act}") for act in acts]
    assert [grouping.reason_against(settings) for settings in each] == [None] * 4
    one, another, two, two_more = (grouping.signature(settings) for settings in each)
    assert one == another != two == two_more


def rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix().split(".tfevents.")[0] for path in folder.rglob("*"))


def test_a_stacks_folders_hold_what_lone_runs_leave(settings_for: Make, tmp_path: Path) -> None:
    overrides = ["trainer.max_epochs=5", "patience=1", "optim.lr=0.05", "norm=layer"]
    settings = several(settings_for, *overrides, acts=["sigmoid", "prelu"])
    Training([(each, tmp_path / f"stack{row}") for row, each in enumerate(settings)], CPU).run()
    for row, each in enumerate(settings):
        stacked, alone = tmp_path / f"stack{row}", tmp_path / f"alone{row}"
        expected = one_run.train(each, alone)
        found = json.loads((stacked / run_folder.RESULT).read_text())
        assert tree(stacked) == tree(alone)
        assert list(found) == list(expected)
        differ = {"name", "seconds", "val_loss", "test_loss", "initial", *run_folder.SUMMARY}
        assert {key: found[key] for key in found if key not in differ} == {
            key: value for key, value in expected.items() if key not in differ
        }
        assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-4)
        for name in (run_folder.QUANTITIES, "curves.csv"):
            assert (stacked / name).read_text() == (alone / name).read_text()
        for name in (run_folder.LAYERS, run_folder.HISTOGRAMS):
            columns = ("epoch", "step", "layer", "quantity")
            assert rows(stacked / name, columns) == rows(alone / name, columns)
        for name, column in (
            (run_folder.LAYERS, "value"),
            (run_folder.EPOCHS, "val_loss"),
            ("predictions.csv", "loss"),
        ):
            numbers = [[float(value) for (value,) in rows(folder / name, [column])] for folder in (stacked, alone)]
            assert numbers[0] == pytest.approx(numbers[1], rel=2e-3, abs=1e-4)


def test_checkpoints_of_a_stack_load_as_a_lone_runs(settings_for: Make, tmp_path: Path) -> None:
    settings = several(settings_for, acts=["prelu", "relu"], seeds=(0,))
    Training([(each, tmp_path / each.names.act) for each in settings], CPU).run()
    for each in settings:
        folder = tmp_path / each.names.act
        loaded = Classifier.load_from_checkpoint(folder / run_folder.BEST, weights_only=True)
        assert loaded.hparams["network"]["act"] == each.act.plain()
        network, data, loss = evaluate.load(folder / run_folder.BEST)
        measured = evaluate.measure(network, evaluate.open_named(data), loss)
        assert measured["test_accuracy"] == json.loads((folder / run_folder.RESULT).read_text())["test_accuracy"]


class AsksTheTrainer(L.Callback):
    """As callbacks of Lightning's and of other people's do."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.max_epochs
        assert trainer.optimizers


class FailsForSeedOne(Diagnostic):
    """A callback with a fault that one run meets."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.hparams["seed"] == 1:
            raise RuntimeError("seed 1 is unlucky")


def statuses(sweep: Path) -> dict[str, str]:
    found = [json.loads(path.read_text()) for path in sweep.glob("*/result.json")]
    return {f"{each['act']}-d{each['depth']}-{each['norm']}-s{each['seed']}": each["status"] for each in found}


def test_a_mixed_grid_runs_whole_and_returns_in_order(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    returned: list[Any] = []
    asked: list[list[str]] = []
    inner = launcher.SweepLaunch.__call__

    def spy(self: launcher.SweepLaunch, *arguments: Any) -> Any:
        asked.extend([part for part in overrides if not part.startswith("hydra")] for overrides in arguments[0])
        returned.extend(inner(self, *arguments))
        return returned

    monkeypatch.setattr(launcher.SweepLaunch, "__call__", spy)
    quick = ["data.steps_per_epoch=4", "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}"]
    assert command(*STACKED, *quick, "act=relu,torch.nn.RReLU", "depth=1,2", "data=digits,spiral", "seed=0,1") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    summary = "4 stacks of 2, 8 single runs in this process (one by one: hydra/launcher=basic)"
    assert first == f"16 runs → {tmp_path}: {summary}"
    assert second == "8 runs one by one: torch.nn.RReLU draws random numbers"
    assert len({tuple(each.overrides) for each in returned}) == 16
    assert [each.overrides for each in returned] == asked
    folders = {tuple(OmegaConf.load(path)): path.parent.parent for path in tmp_path.glob("*/.hydra/overrides.yaml")}
    for each in returned:
        folder = folders[tuple(each.overrides)]
        assert each.return_value == json.loads((folder / run_folder.RESULT).read_text())["val_accuracy"]
        assert {".hydra/config.yaml", "train.log", "checkpoints/best.ckpt"} <= set(tree(folder))
    assert set(statuses(tmp_path).values()) == {"completed"}


def test_a_repeated_command_repeats_no_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*STACKED, "act=relu,tanh", "seed=0", f"hydra.sweep.dir={tmp_path}"]
    assert command(*grid) == 0
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert len(written) == 2
    capsys.readouterr()
    assert command(*grid) == 0
    assert capsys.readouterr().out.startswith(f"2 runs → {tmp_path}: all done already\n")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")} == written


def test_a_member_whose_callback_fails_fails_alone(command: Command, tmp_path: Path) -> None:
    faulty = "+diagnostics.faulty._target_=tests.sweep.test_stacked_launcher.FailsForSeedOne"
    grid = ["act=relu,tanh", "seed=0,1", "norm=none", faulty, f"hydra.sweep.dir={tmp_path}"]
    assert command(*STACKED, *grid) == 1
    assert statuses(tmp_path) == {
        f"{act}-d2-none-s{seed}": "failed" if seed else "completed" for act in ("relu", "tanh") for seed in (0, 1)
    }
    errors = [path.read_text() for path in tmp_path.glob("*/error.txt")]
    assert ["seed 1 is unlucky" in error for error in errors] == [True, True]


class ExitsForSeedOne(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.hparams["seed"] == 1:
            sys.exit()


@pytest.mark.parametrize("members", [1, 64])
def test_code_of_a_persons_own_that_exits_fails_its_run_alone(command: Command, tmp_path: Path, members: int) -> None:
    exits = "+diagnostics.exits._target_=tests.sweep.test_stacked_launcher.ExitsForSeedOne"
    how = ["diagnostics=[]", f"hydra.launcher.max_members={members}", exits]
    assert command(*STACKED, *how, "seed=0,1,2", f"hydra.sweep.dir={tmp_path}") == 1
    assert list(statuses(tmp_path).values()).count("failed") == 1
    [error] = tmp_path.glob("*/error.txt")
    assert "RuntimeError: sys.exit() was called" in error.read_text()
    assert command(*SMALL, "diagnostics=[]", exits, "seed=1", f"hydra.run.dir={tmp_path}/alone") == 1


def test_a_stack_holds_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 10_000_000_000)
    weights, units = 566_000, 1162  # the default network's
    each = 4 * (6 * weights + 256 * (784 + 4 * units) + 2048 * 8 * units)
    assert grouping.most_members(weights, units, 784, 256, CPU) == int(0.7 * 10_000_000_000 / each) == 73
    monkeypatch.setattr(grouping, "free_bytes", lambda _: 0)
    assert grouping.most_members(weights, units, 784, 256, CPU) == 1


def test_out_of_memory_halves_the_stack_and_goes_on(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, run = [], Training.run

    def small_machine(self: Training, *save: Any) -> None:
        tried.append(self.jobs)
        if self.jobs > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        run(self, *save)

    monkeypatch.setattr(Training, "run", small_machine)
    settings = several(settings_for, acts=["relu", "tanh"]) + several(settings_for, acts=["elu"], seeds=(0,))
    jobs = [(each, tmp_path / str(number)) for number, each in enumerate(settings)]
    stacks.train_group(jobs, CPU)
    assert tried == [5, 3, 2, 1, 2]
    assert stacks.unfinished(jobs) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("hydra.launcher.max_members=0", "hydra.launcher.max_members=0: must be at least 1"),
        ("hydra.launcher.max_members=x", "hydra.launcher.max_members=x: must be at least 1"),
        ("hydra.launcher.processes=0", "hydra.launcher.processes=0: must be at least 1"),
        ("hydra.launcher.devices=[99]", "hydra.launcher.devices=[99]: torch finds"),
        ("hydra.launcher.devices=[]", "hydra.launcher.devices=[]: torch finds"),
        ("hydra.launcher.devices=0", "hydra.launcher.devices=0: must be a list, such as [0,1], or null"),
        ("+hydra.launcher.nosuch=1", "hydra.launcher.nosuch: there is no such key; there are max_members, devices"),
        ("hydra.launcher.save_every=-1", "hydra.launcher.save_every=-1: must be a number of seconds"),
    ],
)
def test_bad_input_ends_with_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str, message: str
) -> None:
    assert command(*STACKED, argument, "act=relu,tanh", f"hydra.sweep.dir={tmp_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_nothing_to_stack_runs_plain_and_says_why(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*STACKED, "depth=1,2", "act=torch.nn.RReLU,relu", "seed=0", f"hydra.sweep.dir={tmp_path}") == 0
    said = capsys.readouterr().out
    assert "2 runs one by one: torch.nn.RReLU draws random numbers" in said
    assert "2 runs one by one: no other run of its shape" in said
    assert len(statuses(tmp_path)) == 4


def test_a_diverging_member_ends_as_it_would_alone_and_the_others_go_on(settings_for: Make, tmp_path: Path) -> None:
    settings = several(settings_for, acts=["relu"])
    wild = settings[1].optim.model_copy(update={"lr": 1e12})
    settings[1] = settings[1].model_copy(update={"optim": wild})
    Training([(each, tmp_path / f"stack{row}") for row, each in enumerate(settings)], CPU).run()
    for row, status in enumerate(["completed", "diverged"]):
        found, alone = (
            run_folder.read_result(tmp_path / f"stack{row}"),
            one_run.train(settings[row], tmp_path / f"alone{row}"),
        )
        assert found is not None
        assert (found["status"], found["epochs"], found["test_accuracy"]) == (
            status, alone["epochs"], alone["test_accuracy"],
        )  # fmt: skip
        assert tree(tmp_path / f"stack{row}") == tree(tmp_path / f"alone{row}")
