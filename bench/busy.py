"""What a busy neighbour costs: epochs of the default run, alone and beside a loop that occupies a core.

Each run is a process of its own. Runs with libgomp's way to wait and with ours take turns, and so do quiet and busy
ones, so that a change in the machine's speed meets them all. An epoch is timed from its start to the next one's start;
the first of each run, which warms up, doesn't count.

    python -m bench.busy [--rounds 3] [--spins 300000 4000] [--neighbours 1] [--json bench/results/busy.json]
    python -m bench.busy --quick          # digits instead of FashionMNIST: whether it works

Last line: the medians, and how many times as long an epoch takes beside the neighbours, as JSON.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as L

from actsweep import threads
from actsweep.places import REPOSITORY

LIBGOMPS = "300000"  # what libgomp does when nobody has chosen
BUSY = ["sh", "-c", "while :; do :; done"]
TIMES = "epoch_seconds.json"
QUICK = ["data=digits", "data.steps_per_epoch=8"]


class Times(L.Callback):
    """In the measured process: leaves the seconds of every epoch but the first and the last one's end."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.starts.append(time.perf_counter())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = [after - before for before, after in pairwise(self.starts[1:])]
        Path(str(trainer.default_root_dir), TIMES).write_text(json.dumps(seconds))


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many busy processes while the context is open."""
    with ExitStack() as ends:
        for _ in range(count):
            process = ends.enter_context(subprocess.Popen(BUSY))
            ends.callback(process.kill)
        yield


def epochs(spin: str, count: int, overrides: Sequence[str]) -> list[float]:
    """Seconds of a run's epochs, with this spin count, beside so many neighbours."""
    others = {name: value for name, value in os.environ.items() if name not in threads.WAITING}
    with tempfile.TemporaryDirectory() as folder, neighbours(count):
        own = ["trainer=cpu", "trainer.enable_progress_bar=false", "report=false", "figures=[]", "patience=null",
               "+diagnostics.times._target_=bench.busy.Times", f"hydra.run.dir={folder}/run"]  # fmt: skip
        command = [sys.executable, "-m", "src.train", *own, *overrides]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, env=others | {"GOMP_SPINCOUNT": spin})
        return list(json.loads(Path(folder, "run", TIMES).read_text()))


def measure(spins: Sequence[str], count: int, rounds: int, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Medians and extremes of the rounds' medians, by spin count."""
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for spin in spins:
            for name, beside in (("quiet", 0), ("busy", count)):
                found.setdefault((spin, name), []).append(median(epochs(spin, beside, overrides)))
                print(f"round {number + 1}: spin count {spin}, {name}: {found[spin, name][-1]:.3f} s", flush=True)
    table: dict[str, dict[str, Any]] = {spin: {} for spin in spins}
    for (spin, name), seconds in found.items():
        table[spin][name] = {"median_s": median(seconds), "from_s": min(seconds), "to_s": max(seconds)}
    for row in table.values():
        row["busy_over_quiet"] = row["busy"]["median_s"] / row["quiet"]["median_s"]
        row["quiet_over_first"] = row["quiet"]["median_s"] / table[spins[0]]["quiet"]["median_s"]
    return table


def machine() -> dict[str, Any]:
    """The processor's name, cores that may be used, versions and date."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(": ")[2] for line in described.splitlines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": cores,
        "torch": version("torch"),
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="timed in each run (default: 3)")
    parser.add_argument("--spins", nargs="+", default=[LIBGOMPS, threads.SPIN], help="GOMP_SPINCOUNT of the contenders")
    parser.add_argument("--neighbours", type=int, default=1, help="busy processes (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a round of short epochs on digits")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    rounds, count = (1 if arguments.quick else arguments.rounds), arguments.neighbours
    overrides = [f"trainer.max_epochs={arguments.epochs + 2}", *(QUICK if arguments.quick else [])]
    table = measure(arguments.spins, count, rounds, overrides)
    found = machine() | {"command": " ".join(["python", *sys.argv]), "rounds": rounds, "neighbours": count}
    found |= {"spin_counts": table}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
