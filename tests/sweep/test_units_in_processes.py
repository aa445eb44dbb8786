"""Units in processes beside each other leave what this process leaves; a process that dies costs no other run."""

import csv
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import pytorch_lightning as L
import torch

from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.results import run_folder
from actsweep.results.provenance import provenance
from actsweep.sweep.composing import Composing
from actsweep.sweep.executors import Processes
from actsweep.sweep.units import Unit
from actsweep.threads import all_threads
from actsweep.training.progress import Unseen
from actsweep.training.stack import stacks
from actsweep.training.stack.stacks import Saving
from tests import processes
from tests.conftest import SMALL, weights_of
from tests.sweep.test_stacked_launcher import STACKED, Command, statuses, tree
from tests.training.stack.test_stack import CPU, Make, several

PIPE = 2**16  # bytes that fit into one
TWO = ["-m", "hydra.launcher.processes=2", *SMALL]


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


class NotesItsDevice(L.Callback):
    """Leaves a file that says which process this is, which GPU it sees, and how many threads are its own."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), all_threads(), os.environ["OMP_NUM_THREADS"]
        Path(str(trainer.default_root_dir), "device").write_text(" ".join(map(str, seen)))


class WaitsForTheFirst(L.Callback):
    """Has the run of seed 1 begin when Hydra's part of the one of seed 0 is done."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        folder, deadline = Path(trainer.default_root_dir), time.monotonic() + 300
        if not folder.name.endswith("-s1"):
            return
        first = folder.with_name(folder.name.replace("-s1", "-s0")) / ".hydra" / "overrides.yaml"
        while not first.exists():
            assert time.monotonic() < deadline, "it is done when all runs have ended"
            time.sleep(0.01)


def epochs_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "epochs.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_two_processes_take_units_from_one_queue_see_a_gpu_each_and_say_how_far_they_are(
    settings_for: Make, tmp_path: Path
) -> None:
    settings = several(settings_for, acts=["relu", "tanh"])
    noting = settings_for(*SMALL, "+diagnostics.notes._target_=tests.sweep.test_units_in_processes.NotesItsDevice")
    together, shared = ([(each, tmp_path / name / str(row)) for row, each in enumerate(settings)] for name in "ab")
    stacks.train_group(together, CPU)
    units = [
        Unit(part, Saving(tmp_path / ".stacks" / f"{row}.ckpt", 60))
        for row, part in enumerate((shared[:2], shared[2:]))
    ]
    units += [Unit([(noting, tmp_path / "c" / str(row))], seconds=100 * row) for row in range(4)]
    heard, environment = Heard(), dict(os.environ)
    done = list(Processes(2, 3, ["4", "7"], heard, lambda: False).map(units, tmp_path))
    assert dict(os.environ) == environment
    assert sorted(done) == [(place, None) for place in range(len(units))]
    assert sorted(heard.folders) == sorted(folder for unit in units for _, folder in unit.jobs)
    assert heard.folders[0].name in "32"  # the longest first
    assert heard.at_work
    seen = {path.read_text() for path in tmp_path.glob("c/*/device")}
    assert {tuple(each.split()[1:]) for each in seen} == {("4", "3", "3"), ("7", "3", "3")}
    assert len(seen) == 2
    for (_, one), (_, two) in zip(together, shared, strict=True):
        assert tree(one) == tree(two)
        for ours, theirs in zip(epochs_of(one), epochs_of(two), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)


ONE_BY_ONE = ["hydra.launcher.max_members=1", "seed=0,1", "threads=1"]


class Logs(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logging.getLogger("mine").debug("seed %s", pl_module.hparams["seed"])


def test_what_a_run_logs_is_in_its_own_log_also_where_another_process_trains_it(
    command: Command, tmp_path: Path
) -> None:
    logs = f"+diagnostics.logs._target_={__name__}.{Logs.__name__}"
    words = ["diagnostics=[]", logs, "hydra.verbose=[mine]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*TWO, *ONE_BY_ONE, *words) == 0
    for path in tmp_path.glob("*/result.json"):
        [line] = path.with_name("train.log").read_text().splitlines()
        assert line.endswith(f"[mine][DEBUG] seed {json.loads(path.read_text())['seed']}")


@pytest.mark.parametrize(
    "name", ["${hydra.sweep.dir}/${hydra.job.num}.log", "${hydra.runtime.output_dir}/of${hydra.job.id}.log"]
)
def test_logs_may_have_their_jobs_numbers_and_are_ours_wherever_they_lie(
    command: Command, tmp_path: Path, name: str
) -> None:
    words = ["diagnostics=[]", f"hydra.job_logging.handlers.file.filename={name}", f"hydra.sweep.dir={tmp_path}"]
    for again in ([], ["rerun=all"]):
        assert command(*TWO, *ONE_BY_ONE, *words, *again) == 0
    assert {path.name for path in tmp_path.rglob("*.log")} in ({"0.log", "1.log"}, {"of0.log", "of1.log"})


def test_hydras_part_of_a_run_is_done_while_others_train(command: Command, tmp_path: Path) -> None:
    waits = "+diagnostics.waits._target_=tests.sweep.test_units_in_processes.WaitsForTheFirst"
    assert command(*TWO, *ONE_BY_ONE, waits, f"hydra.sweep.dir={tmp_path}") == 0
    assert {result["status"] for result in found_in(tmp_path).values()} == {"completed"}


def test_what_goes_wrong_in_hydras_part_of_a_run_costs_no_other_run_its_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Composing, "run", broken)
    assert command(*TWO, *ONE_BY_ONE, f"hydra.sweep.dir={tmp_path}") == 1
    assert "no room" in (tmp_path / "error.txt").read_text()
    assert len(found_in(tmp_path)) == 2


def found_in(sweep: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/result.json")}


def test_single_runs_in_processes_leave_what_one_run_after_another_leaves_and_speak_once(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    provenance.cache_clear()  # read once in a process: another test may have had another environment
    grid = ["act=torch.nn.Tanhshrink,prelu", "seed=0,1", "threads=1"]
    assert command("-m", "hydra/launcher=basic", *SMALL, *grid, f"hydra.sweep.dir={tmp_path / 'one'}") == 0
    capfd.readouterr()
    assert command(*TWO, "hydra.launcher.max_members=1", *grid, f"hydra.sweep.dir={tmp_path / 'two'}") == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert ": 4 single runs in 2 processes of 1 thread (one by one: hydra/launcher=basic)" in lines[0]
    assert [line.split(",")[0].split(":")[0] for line in lines[2:6]] == ["1/4", "2/4", "3/4", "4/4"]
    assert said.out.count("mean test accuracy, %") == 1
    assert said.err == ""
    alone, beside = found_in(tmp_path / "one"), found_in(tmp_path / "two")
    assert len(alone) == 4
    assert {k: v | {"seconds": 0} for k, v in alone.items()} == {k: v | {"seconds": 0} for k, v in beside.items()}
    for name in alone:
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        assert tree(one) == tree(two)
        for file in (run_folder.EPOCHS, run_folder.LAYERS, run_folder.HISTOGRAMS):
            assert (one / file).read_bytes() == (two / file).read_bytes()
        weights = weights_of(two / run_folder.LAST)
        assert all(torch.equal(values, weights[key]) for key, values in weights_of(one / run_folder.LAST).items())


class DiesInAChild(Diagnostic):
    """Takes its process with it, if another one has started that."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if multiprocessing.parent_process() and pl_module.hparams["seed"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_costs_no_other_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dies = f"+diagnostics.dies._target_={__name__}.{DiesInAChild.__name__}"
    grid = ["seed=0,1,2", "diagnostics=[]", "hydra.launcher.max_members=1", dies, f"hydra.sweep.dir={tmp_path}"]
    assert command(*TWO, *grid) == 1
    said = capsys.readouterr()
    assert "what it left is tried again, alone: killed by SIGKILL" in said.err
    assert "a unit of 1 ended early: RuntimeError: its process died, twice: killed by SIGKILL" in said.out
    assert statuses(tmp_path) == {
        "relu-d2-none-s0": "completed", "relu-d2-none-s1": "failed", "relu-d2-none-s2": "completed",
    }  # fmt: skip


def test_processes_that_cant_begin_fail_their_unit_at_once_however_large_it_is(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"  # which each process that is spawned runs first
    script.write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    settings = settings_for(*SMALL)
    folders = [tmp_path.joinpath(*(f"{seed}-{part:0200}" for part in range(16))) for seed in range(30)]
    jobs = [(settings.model_copy(update={"seed": seed}), folder) for seed, folder in enumerate(folders)]
    assert len(pickle.dumps(jobs)) > PIPE
    [(place, error)] = Processes(1, 1, ["0"], Heard(), lambda: False).map([Unit(jobs)], tmp_path)
    assert (place, str(error)) == (0, "its process died, twice: exit code 3 before it began")
    assert all((run_folder.read_result(folder) or {})["status"] == "failed" for folder in folders)


SIGNALLED_IN_A_FORK = """
import os, signal, sys
from actsweep.threads import numpy_starts_none
numpy_starts_none()
from actsweep import jobs
forked = []
os.register_at_fork(after_in_parent=lambda: forked or (forked.append(1), os.kill(os.getpid(), signal.SIGTERM)))
jobs.main()
"""


def test_a_signal_in_the_midst_of_a_fork_is_not_lost(tmp_path: Path) -> None:
    words = [*TWO, "seed=0,1,2,3", "trainer.max_epochs=200", "patience=null", f"hydra.sweep.dir={tmp_path}"]
    ended = processes.run([sys.executable, "-c", SIGNALLED_IN_A_FORK, *words])
    assert ended.returncode == 128 + signal.SIGTERM
    [said] = ended.stderr.splitlines()
    assert said.startswith("stopped by SIGTERM; to resume: ")


@pytest.mark.cold  # its arguments are looked at
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    grid = [
        *STACKED,
        "seed=0,1,2,3",
        "trainer.max_epochs=100000",
        "patience=null",
        "hydra.launcher.processes=2",
        "hydra.launcher.save_every=0",
    ]
    arguments = [sys.executable, "-m", "src.train", *grid, f"hydra.sweep.dir={tmp_path}"]
    with processes.running(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        processes.until(lambda: len(list(tmp_path.glob("*/epochs.csv"))) == 4, command)
        children = [each for each in psutil.Process(command.pid).children() if not processes.of_a_pool(each)]
        assert [child.cmdline() for child in children] == [arguments, arguments]  # forks
        command.kill()  # it can't end them itself; where it can, it does
        for child in children:
            while processes.lives(child):
                time.sleep(0.02)
