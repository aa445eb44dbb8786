"""What a report costs: seconds, memory and page size for 10, 100 and 1,000 runs.

The runs are copies of a real one (six activations, six learning rates, as many seeds as it takes) with other numbers in
result.json, so that tables are as long as real ones. Each size is reported in a process of its own.

    python bench/report.py RUN [--sizes 10 100 1000] [--json bench/results/report.json]

RUN: the folder of a completed run. Last line: seconds, peak memory and page size by number of runs, as JSON.
"""

import argparse
import itertools
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from src import REPOSITORY, results

ACTS = ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def varied(result: dict[str, Any], act: str, lr: float, seed: int) -> dict[str, Any]:
    """The result of a run like this one with another activation, learning rate and seed; its accuracy is made up."""
    generator = random.Random(f"{act} {lr} {seed}")
    accuracy = 0.1 if act == "sigmoid" else generator.gauss(0.88 - abs(lr - 0.01), 0.004)
    config = result["config"]
    config |= {"seed": seed, "names": config["names"] | {"act": act}, "optim": config["optim"] | {"lr": lr}}
    name = {"name": f"{act}-d4-s{seed}-lr={lr}", "act": act, "seed": seed}
    return result | name | {"test_accuracy": accuracy, "val_accuracy": accuracy, "config": dict(config)}


def make(run: Path, count: int, folder: Path) -> None:
    """`count` run folders; the tables are hard links, as they are only read."""
    result = results.read_result(run)
    assert result, f"{run} holds no {results.RESULT}"
    rates = RATES[: math.ceil(count / (len(ACTS) * 3))]  # at least three seeds, as in the main sweep
    seeds = math.ceil(count / (len(ACTS) * len(rates)))
    for seed, lr, act in itertools.islice(itertools.product(range(seeds), rates, ACTS), count):
        other = varied(result, act, lr, seed)
        target = folder / other["name"]
        shutil.copytree(run, target, copy_function=os.link, ignore=_only_tables)
        results.write_atomically(target / results.RESULT, json.dumps(other))


def _only_tables(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith((".csv", "quantities.json"))}


def measure(folder: Path) -> dict[str, float]:
    """Report on the folder in a fresh process."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "src.report", str(folder.resolve())],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child so far
    page = (folder / "report.html").stat().st_size / 1e6
    return {"seconds": round(seconds, 1), "peak_memory_MB": round(peak), "page_MB": round(page, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of a completed run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="numbers of runs, ascending")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    found = {}
    for size in sorted(arguments.sizes):
        with tempfile.TemporaryDirectory() as folder:
            make(arguments.run, size, Path(folder))
            found[size] = measure(Path(folder))
        print(f"{size} runs: {found[size]}", flush=True)
    if arguments.json:
        results.write_atomically(arguments.json, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
