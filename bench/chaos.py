"""Interrupt a sweep again and again, at random moments, repeat the same command, and compare with an undisturbed sweep.

Each attempt gets SIGKILL, SIGTERM or SIGINT after a random time, or dies by SIGKILL as a file is about to be forced to
disk. Whenever the sweep is complete after all, and after the last interruption, every run must have the weights, the
tables and the metrics of the undisturbed sweep, and no result, once there, may have been written again.

    python bench/chaos.py [--kills 50] [--launcher basic] [--seed 0] [--json bench/results/chaos.json]

Last line: JSON.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.epoch import machine
from src import REPOSITORY, results

GRID = ["-m", "data=digits", "trainer=cpu", "trainer.enable_progress_bar=false", "patience=null", "depth=3", "width=32",
        "trainer.max_epochs=30", "threads=1", "act=relu,tanh,swish", "seed=0,1,2", "report=false", "figures=[]",
        "diagnostics=[gradients,updates,activations,histograms,units,curve,predictions,samples]"]  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXPECTED = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}  # below 0: while it imported
IN_A_SAVE = """
import os, signal, sys
left, fsync = int(sys.argv.pop(1)), os.fsync
def deadly(file):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)
os.fsync = deadly
from src.train import main
main()
"""


def start(folder: Path, launcher: str, dies_in_save: int | None = None) -> "subprocess.Popen[bytes]":
    """The sweep's command; with a number, in a process that dies in its so-manieth save."""
    program = ["-m", "src.train"] if dies_in_save is None else ["-c", IN_A_SAVE, str(dies_in_save)]
    arguments = [*GRID, f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder}"]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen([sys.executable, *program, *arguments], cwd=REPOSITORY, stdout=log, stderr=log)


def undisturbed(folder: Path, launcher: str) -> float:
    """Run the sweep to its end; returns the seconds that took."""
    began = time.perf_counter()
    if code := start(folder, launcher).wait():
        raise SystemExit(f"the undisturbed sweep ended with exit code {code}, see {folder.with_suffix('.log')}")
    return time.perf_counter() - began


def interrupt(folder: Path, launcher: str, choice: random.Random, at_most: float) -> tuple[str, int] | None:
    """One attempt: what ended it, and its exit code; None if it was done before."""
    if choice.random() < 0.3:
        code = start(folder, launcher, choice.randint(1, 200)).wait()
        return None if code == 0 else ("SIGKILL in a save", code)
    number = choice.choice(SIGNALS)
    process = start(folder, launcher)
    try:
        return None if (code := process.wait(choice.uniform(1, at_most))) == 0 else ("nothing", code)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        try:
            code = process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            return (f"{number.name}, ignored", process.wait())
        if code == 0:
            return None
        return (number.name if code in EXPECTED[number] else f"{number.name}, exit code {code}", code)


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
    result = {key: value for key, value in (results.read_result(folder) or {}).items() if key != "seconds"}
    prints = {results.RESULT: digest(result)}
    for path in (results.LAST, results.BEST):
        checkpoint = torch.load(folder / path, weights_only=True)
        prints[str(path)] = digest(
            [checkpoint[key] for key in sorted({*checkpoint} & {"state_dict", "optimizer_states"})]
        )
    return prints | {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.csv"))}


def written(folder: Path) -> dict[str, int]:
    """When each result was written, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(folder.glob(f"*/{results.RESULT}"))}


def compare(calm: Path, wild: Path) -> tuple[list[str], list[str]]:
    """Runs that the disturbed sweep has lost, and run/file pairs that differ."""
    lost, different = [], []
    for name in written(calm):
        if not (wild / name / results.RESULT).exists():
            lost.append(name)
            continue
        ours, theirs = fingerprint(wild / name), fingerprint(calm / name)
        different += [f"{name}/{key}" for key in ours | theirs if ours.get(key) != theirs.get(key)]
    return lost, different


class Chaos:
    """A sweep that is interrupted `kills` times; each time that it is complete it is compared, and begun anew."""

    def __init__(self, calm: Path, wild: Path, launcher: str, kills: int, seed: int, longest: float) -> None:
        self.calm, self.wild, self.launcher, self.kills, self.longest = calm, wild, launcher, kills, longest
        self.choice = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.sweeps, self.left_over, self.unreadable = 0, 0, 0
        self.lost: list[str] = []
        self.different: list[str] = []
        self.twice: list[str] = []
        self.done: dict[str, int] = {}

    def run(self) -> None:
        while self.happened.total() < self.kills:
            outcome = interrupt(self.wild, self.launcher, self.choice, self.longest)
            self._note_results()
            if outcome is None:
                self._complete()
                continue
            self.happened[outcome[0]] += 1
            print(f"{self.happened.total()}: {outcome[0]}, exit code {outcome[1]}, {len(self.done)} done", flush=True)
        if code := start(self.wild, self.launcher).wait():
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
        self.left_over += len(list(self.wild.rglob("*.tmp")))
        self.unreadable += len(list(self.wild.rglob("*.unreadable")))
        print(f"a sweep is complete: {len(lost)} runs lost, {len(different)} files differ", flush=True)
        shutil.rmtree(self.wild)
        self.done = {}


def measure(work: Path, launcher: str, kills: int, seed: int) -> dict[str, Any]:
    calm, wild = work / "calm", work / "wild"
    seconds = undisturbed(calm, launcher)
    print(f"undisturbed: {len(written(calm))} runs in {seconds:.0f} s", flush=True)
    chaos = Chaos(calm, wild, launcher, kills, seed, longest=max(30.0, seconds / 3))
    chaos.run()
    log = wild.with_suffix(".log").read_text(errors="replace")
    return {
        "launcher": launcher, "runs": len(written(calm)), "interruptions": chaos.happened.total(),
        "by": dict(chaos.happened), "sweeps_completed": chaos.sweeps, "lost": chaos.lost, "different": chaos.different,
        "run_again_after_completion": chaos.twice, "resumed_in_the_middle": log.count("goes on after epoch"),
        "tracebacks": log.count("Traceback"), "unreadable": chaos.unreadable, "left_over": chaos.left_over,
        "seconds_undisturbed": round(seconds, 1), "seed": seed, "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Interrupt a sweep at random moments, and compare what comes out.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--launcher", default="basic", help="basic, or another of hydra/launcher")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what they start with & ignore it
    with tempfile.TemporaryDirectory() as work:
        found = measure(Path(work), arguments.launcher, arguments.kills, arguments.seed)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    if found["lost"] or found["different"] or found["run_again_after_completion"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
