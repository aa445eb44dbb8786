"""Interrupt a sweep again and again, at random moments, repeat the same command, and compare with an undisturbed sweep.

Each attempt gets SIGKILL, SIGTERM, SIGINT or SIGUSR1 after a random time of work, or dies by SIGKILL as a file is about
to be forced to disk: itself, or one of its processes, which costs it nothing. Attempts are forks of this process, which
imports everything once: what dies is at work. Whenever the sweep is complete after all, and after the last
interruption, every run must have the weights, the tables and the metrics of the undisturbed sweep, and no result, once
there, may have been written again. The undisturbed sweep and the last attempt are commands as they are typed.

    python -m bench.chaos [--kills 50] [--launcher sweep] [--seed 0] [--json bench/results/chaos.json]

Last line: JSON.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch

from actsweep import jobs
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.threads import wait_briefly
from bench.epoch import machine

GRID = ["-m", "data=digits", "trainer=cpu", "trainer.enable_progress_bar=false", "depth=2", "width=16", "threads=1",
        "act=relu,tanh", "seed=0,1,2", "report=false", "figures=[]", "optim.lr=0.05",
        "diagnostics=[gradients,updates,histograms,units,predictions]"]  # fmt: skip
STACKS = ["trainer.max_epochs=60", "patience=12", "hydra.launcher.save_every=0"]  # it saves as often as it may
# Epochs, and what else makes interruptions hit all that there is.
OF_LAUNCHER = {
    "basic": ["trainer.max_epochs=16", "patience=5"],
    "sweep": [*STACKS, "hydra.launcher.processes=1"],  # an attempt, in one thread, would cut no other stacks than that
    "sweep_processes": [*STACKS, "hydra.launcher.processes=2"],
    "sweep_singles": [
        "trainer.max_epochs=16",
        "patience=5",
        "hydra.launcher.processes=2",
        "hydra.launcher.max_members=1",
    ],
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
EXPECTED = {number: (128 + number, -number) for number in SIGNALS} | {signal.SIGKILL: (-9,)}  # below 0: at the start
MOST_SAVES = 200
FORK = multiprocessing.get_context("fork")


def arguments(folder: Path, launcher: str) -> list[str]:
    return [*GRID, *OF_LAUNCHER[launcher], f"hydra/launcher={launcher.partition('_')[0]}", f"hydra.sweep.dir={folder}"]


def typed(folder: Path, launcher: str) -> int:
    """The sweep's command in a process of its own; returns its exit code."""
    with folder.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", "src.train", *arguments(folder, launcher)]
        return subprocess.run(command, cwd=REPOSITORY, stdout=log, stderr=log, check=False).returncode


def attempt(folder: Path, launcher: str, saves: Any = None) -> BaseProcess:
    """The same in a fork of this process; with a number, whoever makes its so-manieth save dies in it."""
    process = FORK.Process(target=_sweep, args=(folder, launcher, saves))
    process.start()
    return process


def _sweep(folder: Path, launcher: str, saves: Any) -> None:
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(REPOSITORY)
    if saves:
        _die_in_save(saves)
    sys.argv = ["train", *arguments(folder, launcher)]
    jobs.main()


def _die_in_save(saves: Any) -> None:
    fsync = os.fsync

    def deadly(file: int) -> None:
        with saves:
            saves.value -= 1
            is_last = saves.value == 0
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync = deadly  # type: ignore[assignment]


def undisturbed(folder: Path, launcher: str) -> float:
    """Run the sweep to its end; returns the seconds that took."""
    began = time.perf_counter()
    if code := typed(folder, launcher):
        raise SystemExit(f"the undisturbed sweep ended with exit code {code}, see {folder.with_suffix('.log')}")
    return time.perf_counter() - began


def whole(folder: Path, launcher: str) -> float:
    """The processor's seconds of an attempt that nothing interrupts, and of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    attempt(folder, launcher).join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(folder)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def interrupt(folder: Path, launcher: str, choice: random.Random, at_most: float) -> tuple[str, int]:
    """One attempt: what interrupted it, or one of its processes, "" if it was done before; and its exit code."""
    if choice.random() < 0.4:
        saves = FORK.Value("i", int(MOST_SAVES ** choice.random()))
        process = attempt(folder, launcher, saves)
        process.join()
        of = "" if process.exitcode else " of one of its processes"
        return f"SIGKILL in a save{of}" if saves.value <= 0 else "", process.exitcode or 0
    number = choice.choice(SIGNALS)
    process = attempt(folder, launcher)
    _let_work(process, choice.uniform(0, at_most))
    if process.exitcode is not None:
        return "nothing" if process.exitcode else "", process.exitcode
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(120)
    if process.exitcode is None:
        process.kill()
        process.join()
        return f"{number.name}, ignored", process.exitcode or 0
    if process.exitcode == 0:
        return "", 0
    return (
        number.name if process.exitcode in EXPECTED[number] else f"{number.name}, exit code {process.exitcode}",
        process.exitcode,
    )


def _let_work(process: BaseProcess, seconds: float) -> None:
    """Wait until it has ended, or it and its children have had so much of a processor, which may be busy otherwise."""
    root = psutil.Process(process.pid)
    while process.exitcode is None:
        time.sleep(0.01)
        with contextlib.suppress(psutil.Error):  # one of them has ended meanwhile
            family = [root, *root.children(recursive=True)]
            if sum(sum(each.cpu_times()[:2]) for each in family) >= seconds:
                return


def digest(value: Any) -> str:
    """SHA-256 of tensors and plain values, nested."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return digest([(str(key), digest(each)) for key, each in value.items()])
    if isinstance(value, list | tuple):
        return digest("".join(map(digest, value)))
    return hashlib.sha256(repr(value).encode()).hexdigest()


def fingerprint(folder: Path) -> dict[str, str]:
    """Of all that a run leaves, apart from times: weights and optimisers, tables, result."""
    result = {key: value for key, value in (run_folder.read_result(folder) or {}).items() if key != "seconds"}
    prints = {run_folder.RESULT: digest(result)}
    for path in (run_folder.LAST, run_folder.BEST):
        checkpoint = torch.load(folder / path, weights_only=True)
        prints[str(path)] = digest(
            [checkpoint[key] for key in sorted({*checkpoint} & {"state_dict", "optimizer_states"})]
        )
    return prints | {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.csv"))}


def written(folder: Path) -> dict[str, int]:
    """When each result was written, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(folder.glob(f"*/{run_folder.RESULT}"))}


def compare(calm: dict[str, dict[str, str]], wild: Path) -> tuple[list[str], list[str]]:
    """Runs that the disturbed sweep has lost, and run/file pairs that differ from the undisturbed one's prints."""
    lost, different = [], []
    for name, theirs in calm.items():
        if not (wild / name / run_folder.RESULT).exists():
            lost.append(name)
            continue
        ours = fingerprint(wild / name)
        different += [f"{name}/{key}" for key in ours | theirs if ours.get(key) != theirs.get(key)]
    return lost, different


class Chaos:
    """A sweep that is interrupted `kills` times; each time that it is complete it is compared, and begun anew."""

    def __init__(self, calm: Path, wild: Path, launcher: str, kills: int, seed: int, longest: float) -> None:
        self.wild, self.launcher, self.kills, self.longest = wild, launcher, kills, longest
        self.calm = {name: fingerprint(calm / name) for name in written(calm)}
        self.choice = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.sweeps, self.unreadable, self.compared = 0, 0, 0
        self.lost: list[str] = []
        self.left_over: list[str] = []
        self.different: list[str] = []
        self.twice: list[str] = []
        self.done: dict[str, int] = {}

    def run(self) -> None:
        while self.happened.total() < self.kills:
            what, code = interrupt(self.wild, self.launcher, self.choice, self.longest)
            self._note_results()
            if what:
                self.happened[what] += 1
                print(f"{self.happened.total()}: {what}, exit code {code}, {len(self.done)} done", flush=True)
            if code == 0:
                self._complete()
        if code := typed(self.wild, self.launcher):
            self.happened[f"the last attempt ended with exit code {code}"] += 1
        self._note_results()
        self._complete()

    def _note_results(self) -> None:
        after = written(self.wild)
        self.twice += [name for name, when in self.done.items() if after.get(name) != when]
        self.done = after

    def _complete(self) -> None:
        lost, different = compare(self.calm, self.wild)
        self.lost += lost
        self.different += different
        self.sweeps += 1
        self.compared += len(self.calm) - len(lost)
        self.left_over += [
            str(path.relative_to(self.wild)) for kind in ("**/*.tmp", ".stacks/*") for path in self.wild.glob(kind)
        ]
        self.unreadable += len(list(self.wild.rglob("*.unreadable")))
        print(f"a sweep is complete: {len(lost)} runs lost, {len(different)} files differ", flush=True)
        if not (lost or different):
            shutil.rmtree(self.wild)
        else:
            self.wild.rename(self.wild.with_name(f"wild-{self.sweeps}"))
        self.done = {}


def measure(work: Path, launcher: str, kills: int, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    calm, wild = work / "calm", work / "wild"
    seconds = undisturbed(calm, launcher)
    print(f"undisturbed: {len(written(calm))} runs in {seconds:.0f} s", flush=True)
    chaos = Chaos(calm, wild, launcher, kills, seed, whole(work / "whole", launcher))
    chaos.run()
    log = wild.with_suffix(".log").read_text(errors="replace")
    return {
        "launcher": launcher, "runs": len(chaos.calm), "interruptions": chaos.happened.total(),
        "by": dict(chaos.happened), "sweeps_completed": chaos.sweeps, "runs_compared": chaos.compared,
        "lost": chaos.lost, "different": chaos.different, "run_again_after_completion": chaos.twice,
        "resumed_in_the_middle": len(re.findall(r"(?:resumes|resuming) after epoch", log)),
        "tracebacks": log.count("Traceback"), "unreadable": chaos.unreadable, "left_over": chaos.left_over,
        "seconds_undisturbed": round(seconds, 1), "seconds": round(time.perf_counter() - began),
        "command": " ".join(arguments(Path("FOLDER"), launcher)), "seed": seed, "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Interrupt a sweep at random moments, and compare what comes out.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--launcher", choices=OF_LAUNCHER, default="sweep")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave everything there")
    chosen = parser.parse_args()
    wait_briefly()  # as the command does: a result says how threads wait
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what they start with & ignore it
    torch.set_num_threads(1)  # a process with threads can't be forked
    with tempfile.TemporaryDirectory() as work:
        found = measure(chosen.keep or Path(work), chosen.launcher, chosen.kills, chosen.seed)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    if found["lost"] or found["different"] or found["run_again_after_completion"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
