"""Runs whose processes die: as many returns as jobs, in the jobs' order, and only those that die twice have failed."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn

from actsweep.results import run_folder
from actsweep.sweep import executors, launcher, side_by_side
from tests.conftest import SMALL

pytestmark = pytest.mark.usefixtures("warm")
Command = Callable[..., int]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", "hydra.sweep.subdir=s${seed}"]


@pytest.fixture
def pool_in_which(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A pool whose processes are this one, and that breaks as joblib's does when runs of these seeds begin; `once`: the
    first time only; `unbegun`: before they do. What it takes to start real ones is in tests/test_side_by_side.py."""

    def make(dead: Sequence[int], once: bool = False, unbegun: bool = False) -> None:
        deaths: Counter[int] = Counter()

        def pool(self: side_by_side.SideBySideLaunch, jobs: list[Any], count: int, threads: int) -> Iterator[JobReturn]:
            silent = side_by_side.silent(self.hydra_context)
            shared = self.gpus, self.claims, silent, self.task_function, Singleton.get_state()
            for number, _ in jobs:
                side_by_side._begun(self.claims, number).unlink(missing_ok=True)
            for start in range(0, len(jobs), count):
                together = jobs[start : start + count]  # all of them have begun when one dies
                for number, _ in together if not unbegun else ():
                    side_by_side._begun(self.claims, number).touch()
                for number, _ in together:
                    deaths[number] += number in dead
                    if number in dead and not (once and deaths[number] > 1):
                        raise BrokenProcessPool
                for job in together:
                    yield side_by_side.run(side_by_side.composed(self.hydra_context, self.config, *job), *shared)

        monkeypatch.setattr(side_by_side.SideBySideLaunch, "_pool", pool)

    return make


def statuses(sweep: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["status"] for path in sorted(sweep.glob("*/result.json"))}


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[JobReturn]:
    """What the launchers return."""
    found: list[JobReturn] = []
    for owner in (side_by_side.SideBySideLaunch, launcher.StackedLaunch):
        call = owner.__call__

        def spy(self: Any, *arguments: Any, call: Any = call) -> Any:
            found.extend(call(self, *arguments))
            return found

        monkeypatch.setattr(owner, "__call__", spy)
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
    ("jobs", "at_a_time", "dead", "once", "failed"),
    [
        (6, 2, [1, 3], False, [1, 3]),
        (4, 2, [0, 1], True, []),
        (1, 1, [0], False, [0]),
    ],
)
def test_every_run_beside_others_returns_and_dies_twice_before_it_has_failed(
    command: Command, tmp_path: Path, returned: list[JobReturn], pool_in_which: Callable[..., None],
    jobs: int, at_a_time: int, dead: list[int], once: bool, failed: list[int],
) -> None:  # fmt: skip
    pool_in_which(dead, once)
    sweep = tmp_path / "sweep"
    beside = ["-m", "hydra/launcher=side_by_side", f"hydra.launcher.n_jobs={at_a_time}", f"hydra.sweep.dir={sweep}"]
    seeds = ",".join(map(str, range(jobs)))
    assert command(*beside, *QUICK, f"seed={seeds}") == bool(failed)
    assert statuses(sweep) == {f"s{seed}": "failed" if seed in failed else "completed" for seed in range(jobs)}
    for seed in failed:
        assert "its process died, twice" in (sweep / f"s{seed}" / run_folder.ERROR).read_text()
    assert_paired(returned, sweep, range(jobs))


def test_where_no_process_can_start_every_run_has_failed(
    command: Command, tmp_path: Path, returned: list[JobReturn], pool_in_which: Callable[..., None]
) -> None:
    pool_in_which([0, 1, 2], unbegun=True)
    sweep = tmp_path / "sweep"
    beside = ["-m", "hydra/launcher=side_by_side", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={sweep}"]
    assert command(*beside, *QUICK, "seed=0,1,2") == 1
    assert statuses(sweep) == dict.fromkeys(["s0", "s1", "s2"], "failed")
    assert_paired(returned, sweep, range(3))


def test_a_run_that_ended_before_its_process_died_keeps_its_result(
    command: Command, tmp_path: Path, returned: list[JobReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweep"
    beside = ["-m", "hydra/launcher=side_by_side", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={sweep}"]
    monkeypatch.setattr(side_by_side, "run", _run_and_die)
    assert command(*beside, *QUICK, "rerun=all", "seed=0,1,2") == 0
    assert statuses(sweep) == dict.fromkeys(["s0", "s1", "s2"], "completed")
    assert_paired(returned, sweep, range(3))


_run = side_by_side.run


def _run_and_die(*arguments: Any) -> JobReturn:
    _run(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
    return JobReturn()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stack_returns_as_many_as_jobs_and_in_order_whatever_ends_early(
    command: Command, tmp_path: Path, returned: list[JobReturn], processes: int
) -> None:
    sweep = tmp_path / "sweep"
    faulty = "+diagnostics.faulty._target_=tests.test_stacked_launcher.FailsForSeedOne"
    stacked = ["-m", "hydra/launcher=stacked", f"hydra.launcher.processes={processes}", f"hydra.sweep.dir={sweep}"]
    assert command(*stacked, *QUICK, "seed=3,1,2,0", faulty) == 1
    assert statuses(sweep) == {f"s{seed}": "failed" if seed == 1 else "completed" for seed in range(4)}
    assert_paired(returned, sweep, [3, 1, 2, 0])


def test_an_engine_returns_as_many_as_jobs_and_in_order_whichever_unit_is_lost(
    command: Command, tmp_path: Path, returned: list[JobReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(self: executors.Submitit, units: list[executors.Unit], sweep: Path) -> Any:
        yield 2, units[2]()
        yield 0, RuntimeError("lost")
        yield 1, units[1]()

    monkeypatch.setattr(executors.Submitit, "map", mapped)
    sweep = tmp_path / "sweep"
    away = ["-m", "hydra/launcher=stacked_slurm", "hydra.launcher.max_members=2", f"hydra.sweep.dir={sweep}"]
    assert command(*away, *QUICK, "seed=3,1,2,0,5,4") == 1
    assert statuses(sweep) == dict.fromkeys(["s0", "s2", "s4", "s5"], "completed")
    assert_paired(returned, sweep, [3, 1, 2, 0, 5, 4])
