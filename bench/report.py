"""What a report costs: seconds, memory and page size for 10, 18, 100 and 1,000 runs, and whether seconds grow linearly.

The runs are copies of a real one with other numbers in result.json, so that tables are as long as real ones: six
activations and, from 19 runs on, several learning rates, with at least `--seeds` seeds each. Each size is reported in a
process of its own. CPU seconds are its user and system time, which a busy machine changes less than wall seconds.

    python -m src.train act=relu seed=0 patience=null data.steps_per_epoch=20 hydra.run.dir=RUN     # 50 epochs
    python -m bench.report RUN [--sizes 10 18 100 1000] [--seeds 3] [--json bench/results/report.json]

RUN: the folder of a completed run. Last line: what was measured, as JSON.
"""

import argparse
import itertools
import json
import math
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.results.provenance import provenance

ACTS = ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
RATES = [round(0.0001 * 1.05**step, 7) for step in range(180)]


def varied(result: dict[str, Any], act: str, lr: float, seed: int) -> dict[str, Any]:
    """The result of a run like this one with another activation, learning rate and seed; its accuracy is made up."""
    generator = random.Random(f"{act} {lr} {seed}")
    accuracy = 0.1 if act == "sigmoid" else generator.gauss(0.88 - 0.02 * abs(math.log10(lr / 0.01)), 0.004)
    config = result["config"]
    config |= {"seed": seed, "names": config["names"] | {"act": act}, "optim": config["optim"] | {"lr": lr}}
    name = {"name": f"{act}-d4-s{seed}-lr={lr}", "act": act, "seed": seed}
    return result | name | {"test_accuracy": accuracy, "val_accuracy": accuracy, "config": dict(config)}


def make(run: Path, count: int, folder: Path, least_seeds: int = 3) -> None:
    """`count` run folders; the tables are hard links, as they are only read."""
    result = run_folder.read_result(run)
    assert result, f"{run} holds no {run_folder.RESULT}"
    rates = RATES[: max(1, count // (len(ACTS) * least_seeds))]
    seeds = math.ceil(count / (len(ACTS) * len(rates)))
    for seed, lr, act in itertools.islice(itertools.product(range(seeds), rates, ACTS), count):
        other = varied(result, act, lr, seed)
        target = folder / other["name"]
        shutil.copytree(run, target, copy_function=os.link, ignore=_only_tables)
        (target / run_folder.RESULT).write_text(json.dumps(other))


def _only_tables(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith((".csv", "quantities.json"))}


def measure(folder: Path) -> dict[str, float]:
    """Report on the folder in a fresh process."""
    load = os.getloadavg()[0]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "src.report", str(folder.resolve())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_memory_MB": round(after.ru_maxrss / 1024),  # of the largest child so far: sizes ascend
        "page_MB": round((folder / "report.html").stat().st_size / 1e6, 2),
        "json_kB": round((folder / "report.json").stat().st_size / 1e3),
        "load_average": round(load, 2),
    }


def growth(found: dict[int, dict[str, float]]) -> dict[str, float]:
    """CPU seconds per run between neighbouring sizes: equal where the cost grows linearly."""
    return {
        f"{few} to {many} runs": round((found[many]["cpu_seconds"] - found[few]["cpu_seconds"]) / (many - few), 4)
        for few, many in itertools.pairwise(found)
    }


def processor() -> str:
    try:
        return re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of a completed run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 18, 100, 1000], help="numbers of runs")
    parser.add_argument("--seeds", type=int, default=3, help="of each setting, at least (default: 3)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    found = {}
    for size in sorted(arguments.sizes):
        with tempfile.TemporaryDirectory(dir=arguments.run.resolve().parent) as folder:  # where hard links can be made
            make(arguments.run, size, Path(folder), arguments.seeds)
            found[size] = measure(Path(folder))
        print(f"{size} runs: {found[size]}", flush=True)
    result = run_folder.read_result(arguments.run) or {}
    summary = {
        "runs": found,
        "cpu_seconds_per_run": growth(found),
        "epochs": result["epochs"],
        "layers": result["depth"] + 1,
        "seeds_per_setting_at_least": arguments.seeds,
        "figures": result["config"]["figures"],
        "processor": processor(),
        "date": time.strftime("%Y-%m-%d"),
    } | provenance()
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
