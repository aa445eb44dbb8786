"""A sweep on an engine that others wrote: kill one of its processes, requeue one, repeat the command, compare.

Six activations × three seeds on digits. As soon as two processes are at work and have checkpoints, one of them gets
SIGKILL, and on Slurm (a real one, of one node: bench/slurm.py) another is requeued. The command is repeated until it
ends with exit code 0. Then each run must have the weights, the tables and the metrics of an undisturbed sweep in one
process: of plain runs, or for a stacked launcher of the same stacks.

    python -m bench.scale_out --launcher stacked_slurm --json bench/results/stacked_slurm.json

Launchers: sweep, submitit_slurm, stacked_slurm, ray, stacked_ray, joblib. Last line: JSON.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actsweep.places import REPOSITORY
from actsweep.results import locks, run_folder
from actsweep.training.stack.stacks import FOLDER
from bench.chaos import compare, fingerprint, written
from bench.epoch import machine
from bench.slurm import Slurm, output

GRID = ["-m", "data=digits", "trainer=cpu", "trainer.enable_progress_bar=false", "patience=null", "depth=3", "width=32",
        "trainer.max_epochs=30", "threads=1", "act=sigmoid,tanh,relu,leakyrelu,elu,swish", "seed=0,1,2",
        "report=false", "figures=[]"]  # fmt: skip
STACKS = ["hydra.launcher.max_members=6", "hydra.launcher.save_every=0"]
OF_THE_LAUNCHER = {
    "submitit_slurm": ["hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1"],
    "stacked_slurm": STACKS,
    "stacked_ray": STACKS,
    "ray": ["+hydra.launcher.ray.remote.num_cpus=1"],
    "joblib": ["hydra.launcher.n_jobs=2"],
    "sweep": [*STACKS, "hydra.launcher.processes=2"],
}
PACKAGES = ("hydra-core", "submitit", "hydra-submitit-launcher", "ray", "hydra-ray-launcher", "joblib")
ATTEMPTS = 4


def start(folder: Path, launcher: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "src.train", *GRID, *launcher, f"hydra.sweep.dir={folder}"]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)


def at_work(sweep: Path) -> dict[int, list[str]]:
    """The runs that each living process is training, by its id, where there is a checkpoint of them."""
    found: dict[int, list[str]] = {}
    stacks = stacks_of(sweep)
    for lock in sweep.glob(f"*/{locks.LOCK}"):
        holder = re.match(r"process (\d+) on", lock.read_text())
        is_done, has_checkpoint = (lock.with_name(run_folder.RESULT).exists(), (lock.parent / run_folder.LAST).exists())
        if holder and not is_done and (has_checkpoint or stacks) and Path("/proc", holder[1]).exists():
            found.setdefault(int(holder[1]), []).append(lock.parent.name)
    return found


def slurm_job(process: int) -> str:
    """The job that a process belongs to, as scontrol names it."""
    words = Path("/proc", str(process), "environ").read_bytes().decode().split("\0")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    array, task = given.get("SLURM_ARRAY_JOB_ID"), given.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else given["SLURM_JOB_ID"]


def disturb(sweep: Path, command: "subprocess.Popen[bytes]", is_slurm: bool) -> dict[str, list[str]]:
    """Kill one process, and on Slurm requeue the job of another; returns what runs each was training."""
    happened: dict[str, list[str]] = {}
    while command.poll() is None:
        found = at_work(sweep)
        if len(found) >= 2 and (not is_slurm or not any((sweep / FOLDER).glob("*")) or stacks_of(sweep) >= 2):
            killed, other = sorted(found)[:2]
            if is_slurm:
                job = slurm_job(other)
                subprocess.run(["scontrol", "requeue", job], check=True)
                happened[f"requeued, Slurm's job {job}"] = found[other]
            os.kill(killed, signal.SIGKILL)
            return happened | {"killed": found[killed]}
        time.sleep(0.1)
    raise SystemExit(f"the sweep ended before it could be disturbed, see {sweep.with_suffix('.log')}")


def stacks_of(sweep: Path) -> int:
    return len(list((sweep / FOLDER).glob("*.ckpt")))


def wait_for_the_queue() -> None:
    """Some launchers end while other jobs of theirs go on."""
    while output("squeue", "-h").strip():
        time.sleep(1)


def undisturbed(folder: Path, launcher: str) -> float:
    began = time.perf_counter()
    how = STACKS if set(STACKS) <= set(OF_THE_LAUNCHER[launcher]) else ["hydra/launcher=basic"]
    if code := start(folder, how).wait():
        raise SystemExit(f"the undisturbed sweep ended with exit code {code}, see {folder.with_suffix('.log')}")
    return time.perf_counter() - began


def measure(work: Path, launcher: str) -> dict[str, Any]:
    calm, wild = work / "calm", work / "wild"
    is_slurm = launcher.endswith("_slurm")
    seconds = {"undisturbed": round(undisturbed(calm, launcher), 1)}
    attempts: list[dict[str, Any]] = []
    happened: dict[str, list[str]] = {}
    twice: list[str] = []
    while not attempts or (attempts[-1]["exit_code"] and len(attempts) < ATTEMPTS):
        began, before = time.perf_counter(), written(wild)
        command = start(wild, [f"hydra/launcher={launcher}", *OF_THE_LAUNCHER[launcher]])
        happened = happened or disturb(wild, command, is_slurm)
        code = command.wait()
        if is_slurm:
            wait_for_the_queue()
        after = written(wild)
        twice += [name for name, when in before.items() if after.get(name) != when]
        attempts.append(
            {"exit_code": code, "complete": len(after), "seconds": round(time.perf_counter() - began, 1)}
        )  # fmt: skip
        print(f"{launcher}: {attempts[-1]}", flush=True)
    lost, different = compare({name: fingerprint(calm / name) for name in written(calm)}, wild)
    logs = [path.read_text(errors="replace") for path in wild.glob(".submitit/*/*_log.out")]
    said = "\n".join([wild.with_suffix(".log").read_text(errors="replace"), *logs])
    return {
        "launcher": launcher, "grid": " ".join(GRID), "runs": len(written(calm)), "happened": happened,
        "attempts": attempts, "lost": lost, "different": different, "run_again_after_completion": twice,
        "went_on_from_a_checkpoint": len(re.findall(r"resum(?:es|ing) after epoch", said)),
        "tracebacks_on_the_terminal": wild.with_suffix(".log").read_text().count("Traceback"),
        "jobs_by_state": dict(Counter(output("sacct", "-X", "-n", "-D", "-o", "State%20").split())) if is_slurm else {},
        "seconds": seconds, "machine": machine() | {"cores": os.cpu_count()}, "versions": versions(is_slurm),
    }  # fmt: skip


def versions(is_slurm: bool) -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return found | ({"slurm": output("sinfo", "--version").strip()} if is_slurm else {})


def main() -> None:
    parser = argparse.ArgumentParser(description="Disturb a sweep on an engine that others wrote, repeat, compare.")
    parser.add_argument("--launcher", choices=OF_THE_LAUNCHER, required=True)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--keep", type=Path, help="copy the sweeps' folders there")
    arguments = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM):  # shells have what they start with & ignore the first
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.launcher.endswith("_slurm"):
            stack.enter_context(Slurm())
        try:
            found = measure(work, arguments.launcher)
        finally:
            if arguments.keep:
                shutil.copytree(work, arguments.keep, dirs_exist_ok=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(found, ensure_ascii=False))
    if found["lost"] or found["different"] or found["run_again_after_completion"] or found["attempts"][-1]["exit_code"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
