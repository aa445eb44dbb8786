"""`plan=true` counts what the launcher uses at once and what diagnostics cost; that it does nothing: test_bad_input."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import pytorch_lightning as L

from actsweep.config.schema import Settings
from actsweep.sweep import plan
from actsweep.sweep.plan import Cost, Launcher
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
Command = Callable[..., int]
CORES = os.cpu_count() or 1


class Slow(L.Callback):
    """A diagnostic that takes 0.3 s when training starts, 0.1 s an epoch and 1 ms a step, by a clock of its own."""

    now: ClassVar[float] = 0.0

    def takes(self, seconds: float) -> None:
        Slow.now += seconds

    def on_train_start(self, *_: Any) -> None:
        self.takes(0.3)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.takes(0.1)

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.takes(0.001)


SLOW = [*SMALL, "diagnostics=[]", "+diagnostics.slow._target_=tests.sweep.test_plan.Slow"]


@pytest.fixture
def _only_diagnostics_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: Slow.now))


@pytest.mark.usefixtures("_only_diagnostics_take_time")
def test_a_run_costs_what_its_diagnostics_cost_too(settings_for: SettingsFor) -> None:
    runs = [settings_for(*SLOW, f"seed={seed}", "trainer.max_epochs=50") for seed in range(4)]
    [cost] = plan.plan(runs, run_seconds=100)
    assert (cost.runs, cost.together, cost.epochs) == (4, 1, 50)
    assert cost.start_seconds == pytest.approx(100.3)
    assert cost.epoch_seconds == pytest.approx(0.1 + 18 * 0.001)
    assert cost.seconds == pytest.approx(4 * (100.3 + 50 * 0.118))
    assert cost.run_bytes > 2 * 4 * 64 * 16  # two checkpoints of the first layer alone


@pytest.mark.usefixtures("_only_diagnostics_take_time")
def test_a_longer_epoch_costs_more_by_its_steps(settings_for: SettingsFor) -> None:
    few, many = (settings_for(*SLOW, "data.replacement=true", f"data.steps_per_epoch={n}") for n in (10, 100_000))
    short, long = plan.plan([few, many])
    assert short.epoch_seconds == pytest.approx(0.1 + 0.01)
    assert long.epoch_seconds == pytest.approx(0.1 + 100)


@pytest.mark.usefixtures("_only_diagnostics_take_time")
def test_an_epoch_costs_the_batches_that_it_is_limited_to(settings_for: SettingsFor) -> None:
    epoch = ["data.replacement=true", "data.steps_per_epoch=100_000"]
    limits = ["+trainer.limit_train_batches=0.1", "+trainer.limit_train_batches=20", "+trainer.overfit_batches=50"]
    costs = plan.plan([settings_for(*SLOW, *epoch, limit) for limit in limits])
    assert [cost.epoch_seconds for cost in costs] == pytest.approx([0.1 + 10, 0.1 + 0.02, 0.1 + 0.05])


def test_stacks_are_dealt_as_the_launcher_deals_them(settings_for: SettingsFor) -> None:
    runs = [settings_for(*SMALL, f"act={act}", f"seed={seed}") for act in ("relu", "tanh") for seed in range(3)]
    alone = settings_for(*SMALL, "act=torch.nn.RReLU")
    launcher = plan.understood({"_target_": "x.SweepLauncher", "max_members": 4}, [*runs, alone], range(7))
    costs = plan.plan([*runs, alone], launcher)
    assert [(cost.runs, cost.together) for cost in costs] == [(6, 3), (1, 1)]
    assert all(cost.epoch_seconds > 0 and cost.run_bytes > 10_000 for cost in costs)
    summary = "7 runs: 2 stacks, 1 single run, one after another: at most "
    assert plan.summary(costs, launcher).startswith(summary)


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, Launcher(1)),
        ({"_target_": "x.SweepLauncher", "max_members": None, "devices": None}, Launcher(1, [range(12)])),
        ({"_target_": "x.SweepLauncher", "processes": 2}, Launcher(2, [range(6), range(6, 12)])),
        ({"_target_": "x.SweepLauncher", "max_members": 1, "processes": 3}, Launcher(3, [[n] for n in range(12)])),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, Launcher(min(CORES, 12))),
        ({"_target_": "x.submitit_launcher.SlurmLauncher", "array_parallelism": 4}, Launcher(4)),
        ({"_target_": "x.submitit_launcher.LocalLauncher", "array_parallelism": 256}, Launcher(min(CORES, 12))),
        ({"_target_": "x.RayLauncher", "ray": {"init": {"num_cpus": 8}, "remote": {"num_cpus": 2}}}, Launcher(4)),
    ],
)
def test_a_launcher_is_counted_by_what_it_does_at_once(
    launcher: dict[str, Any], expected: Launcher, settings_for: SettingsFor
) -> None:
    found = plan.understood(launcher, [settings_for(*SMALL)] * 12, range(12))
    assert found.at_a_time == expected.at_a_time
    assert [*map(list, found.units or ())] == [*map(list, expected.units or ())]


def test_what_is_left_of_a_grid_is_dealt_as_the_launcher_deals_it(settings_for: SettingsFor) -> None:
    grid = [settings_for(*SMALL, f"seed={seed}") for seed in range(9)]
    found = plan.understood({"_target_": "x.SweepLauncher", "max_members": 3}, grid, [1, *range(3, 9)])
    assert [*map(list, found.units or ())] == [[1, 2, 3], [4, 5, 6], [0]]  # of those that are left


def test_what_goes_at_once_divides_the_time_but_not_that_of_the_longest(settings_for: SettingsFor) -> None:
    settings = settings_for(*SMALL)
    costs = [Cost(settings, 6, 1, 10, 5.0, 1.0, 1e6), Cost(settings, 1, 1, 10, 0.0, 3.0, 0.0)]
    assert plan.summary(costs, Launcher(1)) == (
        "7 runs, one after another: at most 2 min (0.583 epochs a second), about 6 MB"
    )
    assert "2 at a time: at most 60 s" in plan.summary(costs, Launcher(2))
    assert plan.summary(costs[1:], Launcher(1)).startswith("1 run: at most ")
    assert "7 at a time: at most 30 s" in plan.summary(costs, Launcher(7))


def test_a_plan_of_a_sweep_leaves_nothing(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", *SMALL, "seed=0,1,2", "act=relu,tanh", "plan=true"]
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/out") == 0
    shown = capsys.readouterr().out
    assert "│ stack of 6 │" in shown
    assert "6 runs: 1 stack, one after another: at most " in shown
    assert not (tmp_path / "out").exists()


def test_a_plan_is_of_what_is_left(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", *SMALL, "act=relu,tanh", "diagnostics=[]", "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}"]
    assert command(*sweep, "seed=0") == 0
    capsys.readouterr()
    assert command(*sweep, "seed=0,1,2", "plan=true") == 0
    shown = capsys.readouterr().out
    assert "2 of 6 runs are done already" in shown
    assert "4 runs: 1 stack, one after another: at most " in shown
    assert command(*sweep, "seed=0", "plan=true") == 0
    assert capsys.readouterr().out == "2 of 2 runs are done already\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # optuna 2's own
def test_a_plan_of_a_search_counts_its_trials(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=7"]
    space = ["act=choice(relu,tanh,elu)", "plan=true", f"hydra.sweep.dir={tmp_path}/out"]
    assert command(*search, *SMALL, "diagnostics=[]", *space) == 0
    assert "7 runs, one after another: " in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_run_that_cant_be_tried_is_named(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = "act=tests.training.test_train.FailsInTraining"
    assert command(*SMALL, failing, "plan=true", f"hydra.run.dir={tmp_path}/out") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("FailsInTraining: trying a run failed: a defect of this activation")


@pytest.mark.parametrize(
    "words",
    [
        ["+trainer.limit_train_batches=0.1"],
        ["+trainer.overfit_batches=0.3"],
        ["+trainer.val_check_interval=10"],
        ["+trainer.val_check_interval=30", "+trainer.check_val_every_n_epoch=null"],
    ],
)
def test_what_counts_in_an_epochs_batches_is_no_matter_of_a_dry_runs_short_ones(
    words: list[str], settings_for: SettingsFor
) -> None:
    assert plan.measure([settings_for(*SMALL, "diagnostics=[]", *words)]).epoch > 0
