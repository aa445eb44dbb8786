"""Runs whose processes die: as many returns as jobs, in the jobs' order, and only those that die twice have failed."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn

from actsweep.results import run_folder
from actsweep.sweep import executors, launcher
from actsweep.sweep.executors import Death, Numbered, Processes
from tests.conftest import SMALL

Command = Callable[..., int]
QUICK = ["-m", *SMALL, "trainer.max_epochs=1", "diagnostics=[]", "hydra.sweep.subdir=s${seed}"]


@pytest.fixture
def processes_in_which(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Processes that are this one, and that die of runs with these seeds; `once`: of each the first time only;
    `late`: when it has ended. Returns the seeds of each unit that is tried. Real ones: test_units_in_processes.py."""

    def make(dead: Sequence[int], once: bool = False, late: bool = False) -> list[list[int]]:
        tried: list[list[int]] = []
        deaths: Counter[int] = Counter()

        def work_off(self: Processes, tasks: Sequence[Numbered], count: int, died: deque[Any]) -> Iterator[Any]:
            for place, unit in tasks:
                seeds = [settings.seed for settings, _ in unit.jobs]
                tried.append(seeds)
                guilty = [seed for seed in seeds if seed in dead and not (once and deaths[seed])]
                deaths.update(guilty)
                if late or not guilty:
                    unit.train(self.watcher)
                if guilty:
                    died.append(Death((place, unit), "killed by SIGKILL"))
                else:
                    yield place, None

        monkeypatch.setattr(Processes, "_work_off", work_off)
        return tried

    return make


def statuses(sweep: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["status"] for path in sorted(sweep.glob("*/result.json"))}


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[JobReturn]:
    """What the launcher returns."""
    found: list[JobReturn] = []
    call = launcher.SweepLaunch.__call__

    def spy(self: Any, *arguments: Any) -> Any:
        found.extend(call(self, *arguments))
        return found

    monkeypatch.setattr(launcher.SweepLaunch, "__call__", spy)
    return found


def assert_paired(returned: Sequence[JobReturn], sweep: Path, seeds: Sequence[int]) -> None:
    """A return for each job, in the jobs' order, and its own score."""
    assert [next(word for word in each.overrides or () if word.startswith("seed=")) for each in returned] == [
        f"seed={seed}" for seed in seeds
    ]
    for each, seed in zip(returned, seeds, strict=True):
        result = run_folder.read_result(sweep / f"s{seed}") or {}
        assert each.return_value == result.get("val_accuracy")


@pytest.mark.parametrize(
    ("members", "dead", "once", "failed", "tried"),
    [
        (1, [1, 3], False, [1, 3], [[3], [1], [2], [0], [3], [1]]),
        (1, [0, 1], True, [], [[3], [1], [2], [0], [1], [0]]),
        (2, [1], False, [1], [[3, 1], [2, 0], [3, 1], [3], [1]]),
        (2, [2], True, [], [[3, 1], [2, 0], [2, 0]]),
        (4, [0, 1, 2, 3], False, [0, 1, 2, 3], None),
    ],
)
def test_every_run_returns_and_its_process_dies_of_it_twice_before_it_has_failed(
    command: Command, tmp_path: Path, returned: list[JobReturn], processes_in_which: Callable[..., list[list[int]]],
    members: int, dead: list[int], once: bool, failed: list[int], tried: list[list[int]] | None,
) -> None:  # fmt: skip
    found, sweep = processes_in_which(dead, once), tmp_path / "sweep"
    limits = ["hydra.launcher.processes=2", f"hydra.launcher.max_members={members}", f"hydra.sweep.dir={sweep}"]
    assert command(*QUICK, *limits, "seed=3,1,2,0") == bool(failed)
    assert statuses(sweep) == {f"s{seed}": "failed" if seed in failed else "completed" for seed in range(4)}
    for seed in failed:
        assert "its process died, twice: killed by SIGKILL" in (sweep / f"s{seed}" / run_folder.ERROR).read_text()
    assert_paired(returned, sweep, [3, 1, 2, 0])
    assert tried is None or found == tried
    processes_in_which([])
    returned.clear()
    assert command(*QUICK, *limits, "seed=3,1,2,0") == 0  # does what failed again
    assert_paired(returned, sweep, [3, 1, 2, 0])


@pytest.mark.parametrize("members", [1, 4])
def test_a_run_that_ended_before_its_process_died_keeps_its_result(
    command: Command, tmp_path: Path, returned: list[JobReturn], members: int,
    processes_in_which: Callable[..., list[list[int]]],
) -> None:  # fmt: skip
    found, sweep = processes_in_which([0, 1, 2, 3], late=True), tmp_path / "sweep"
    limits = ["hydra.launcher.processes=2", f"hydra.launcher.max_members={members}", f"hydra.sweep.dir={sweep}"]
    assert command(*QUICK, *limits, "rerun=all", "seed=0,1,2,3") == 0
    assert sorted(seed for unit in found for seed in unit) == [0, 1, 2, 3]
    assert statuses(sweep) == {f"s{seed}": "completed" for seed in range(4)}
    assert_paired(returned, sweep, range(4))


def test_a_stack_returns_as_many_as_jobs_and_in_order_whatever_ends_early(
    command: Command, tmp_path: Path, returned: list[JobReturn]
) -> None:
    sweep = tmp_path / "sweep"
    faulty = "+diagnostics.faulty._target_=tests.sweep.test_stacked_launcher.FailsForSeedOne"
    assert command(*QUICK, f"hydra.sweep.dir={sweep}", "seed=3,1,2,0", faulty) == 1
    assert statuses(sweep) == {f"s{seed}": "failed" if seed == 1 else "completed" for seed in range(4)}
    assert_paired(returned, sweep, [3, 1, 2, 0])


def test_an_engine_returns_as_many_as_jobs_and_in_order_whichever_unit_is_lost(
    command: Command, tmp_path: Path, returned: list[JobReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(self: executors.Submitit, units: list[Any], sweep: Path) -> Any:
        units[2]()
        yield 2, None
        yield 0, RuntimeError("lost")
        units[1]()
        yield 1, None

    monkeypatch.setattr(executors.Submitit, "map", mapped)
    sweep = tmp_path / "sweep"
    away = ["hydra/launcher=stacked_slurm", "hydra.launcher.max_members=2", f"hydra.sweep.dir={sweep}"]
    assert command(*QUICK, *away, "seed=3,1,2,0,5,4") == 1
    assert statuses(sweep) == dict.fromkeys(["s0", "s2", "s4", "s5"], "completed")
    assert_paired(returned, sweep, [3, 1, 2, 0, 5, 4])
