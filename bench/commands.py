"""What whole commands cost, from first import to last file: the default, `basic`, an older commit, scikit-learn.

Every contender is a process of its own with an empty folder. The contenders of a case take turns; medians count. CPU
seconds are the command's and its children's, so that they can be compared on a busy machine too.

    card       FashionMNIST, six activations × three seeds, 5 epochs, default network
    tiny       digits, 2 hidden layers of 32, six activations × ten seeds, 20 epochs
    many       the same with 667 seeds: 4,002 runs; only the default
    fixed      FashionMNIST, six activations, one step: what a sweep in two processes takes besides training
    help       `--help`
    mistake    an unknown key

    git worktree add ../older 5ac43ca    # with a .venv of its own, or the packages of this one on its path
    python -m bench.commands card tiny [--older ../older] [--busy] [--rounds 3] [--trainer gpu]
        [--json bench/results/commands.json]

`--busy`: beside a loop that occupies a core. Member-epochs per second are those of the whole command. `share` is the
part of its wall time that the matrix products alone would take, at the rate measured here, float32 and bfloat16.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from actsweep.data import datamodule
from actsweep.places import REPOSITORY
from bench.busy import machine, neighbours
from bench.grid import settings_for, sizes_of

ACTS = "act=sigmoid,tanh,relu,leakyrelu,elu,swish"
QUIET = ["trainer.enable_progress_bar=false"]
SCIKIT = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}  # the activations that both have
PRODUCTS = 3  # of each weight and example; the first layer's inputs need no gradient


class Case(NamedTuple):
    """A grid, and how many runs of how many epochs it has."""

    overrides: list[str]
    runs: int = 0
    epochs: int = 0


TINY = [ACTS, "data=digits", "depth=2", "width=32", "trainer.max_epochs=20", "patience=null"]
CASES = {
    "card": Case([ACTS, "seed=0,1,2", "trainer.max_epochs=5"], 18, 5),
    "tiny": Case([*TINY, "seed=range(0,10)"], 60, 20),
    "many": Case([*TINY, "seed=range(0,667)"], 4002, 20),
    "fixed": Case(
        [ACTS, "trainer.max_epochs=1", "data.steps_per_epoch=1", "hydra.launcher.processes=2"], runs=6, epochs=1
    ),
    "help": Case(["--help"]),
    "mistake": Case(["data=digits", "no_such_key=1"]),
}


class Spent(NamedTuple):
    """Of a command: seconds, also of the processor, and the most memory of any process so far, this one too."""

    wall: float
    cpu: float
    peak_bytes: int


def _children() -> tuple[float, int]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def run(command: Sequence[str], place: Path, fails: bool) -> Spent:
    before, started = _children()[0], time.perf_counter()
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    wall = time.perf_counter() - started
    if bool(done.returncode) is not fails:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    cpu, peak = _children()
    return Spent(wall, cpu - before, peak)


def trained(place: Path, case: str, trainer: str, *more: str) -> Callable[[], Spent]:
    """The command as typed in this checkout."""
    own = place / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    of = CASES[case]

    def contender() -> Spent:
        with tempfile.TemporaryDirectory() as folder:
            sweep = ["-m", *QUIET, f"trainer={trainer}", f"hydra.sweep.dir={folder}/sweep"] if of.runs else []
            command = [python, "-m", "src.train", *sweep, *of.overrides, *more]
            return run(command, place, fails=case == "mistake")

    return contender


def scikit_learn(case: str) -> Callable[[], Spent]:
    """MLPClassifier, one after another; three of the six activations, twice over."""
    of = CASES[case]
    return lambda: run([sys.executable, "-m", "bench.commands", "--scikit", case], REPOSITORY, fails=not of.runs)


def train_scikit(case: str) -> None:
    """What the contender runs: as many networks as the case has, with its epochs, batches and step size."""
    from sklearn.neural_network import MLPClassifier

    of = CASES[case]
    settings = settings_for(*(each for each in of.overrides if not each.startswith(("act=", "seed="))))
    data = datamodule.open_data(settings.data, 0)
    inputs, labels = data.dataset.scale(data.train.inputs).numpy(), data.train.labels.numpy()
    for number in range(of.runs):
        network = MLPClassifier(
            tuple(settings.layer_sizes), activation=[*SCIKIT.values()][number % 3], solver="sgd", momentum=0.9,
            nesterovs_momentum=False, learning_rate_init=settings.optim.plain()["lr"], alpha=0, max_iter=of.epochs,
            batch_size=data.examples_per_step, random_state=number, n_iter_no_change=of.epochs + 1,
        )  # fmt: skip
        network.fit(inputs, labels)


def product_seconds(case: str, dtype: torch.dtype) -> float:
    """What the products of all training steps of a case take alone, at the best of five measured rates."""
    of = CASES[case]
    settings = settings_for(*(each for each in of.overrides if not each.startswith(("act=", "seed="))))
    data = datamodule.open_data(settings.data, 0)
    first, last = sizes_of(data)
    sizes = [first, *settings.layer_sizes, last]
    weights = [a * b for a, b in pairwise(sizes)]
    multiplied = PRODUCTS * sum(weights) - weights[0]
    steps = data.sampling.steps(len(data.train)) * of.epochs * of.runs
    return 2 * multiplied * data.examples_per_step * steps / product_rate(dtype)


def product_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Floating-point operations per second of a square product on all cores."""
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        for _ in range(10):
            torch.mm(a, b)
        seconds.append((time.perf_counter() - started) / 10)
    return 2 * size**3 / min(seconds[1:])


def contenders(case: str, older: Path | None, trainer: str) -> dict[str, Callable[[], Spent]]:
    of = CASES[case]
    found = {"default": trained(REPOSITORY, case, trainer)}
    if of.runs and case not in {"fixed", "many"}:
        found["basic"] = trained(REPOSITORY, case, trainer, "hydra/launcher=basic")
        found["scikit-learn"] = scikit_learn(case)
    if older and case != "many":
        if case != "fixed":  # whose launcher has processes
            found["older"] = trained(older.resolve(), case, trainer)
        if of.runs:
            found["older, stacked"] = trained(older.resolve(), case, trainer, "hydra/launcher=stacked")
    return found


def measure(case: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """By contender: medians, all walls, and ratios to the default."""
    of, found = CASES[case], contenders(case, arguments.older, arguments.trainer)
    chosen = {name: contender for name, contender in found.items() if name not in arguments.without}
    spent: dict[str, list[Spent]] = {name: [] for name in chosen}
    with neighbours(int(arguments.busy)):
        for number in range(arguments.rounds):
            for name, contender in chosen.items():
                spent[name].append(contender())
                print(f"round {number + 1}: {case}: {name}: {spent[name][-1]}", flush=True)
    walls = {name: median(each.wall for each in of_all) for name, of_all in spent.items()}
    cpus = {name: median(each.cpu for each in of_all) for name, of_all in spent.items()}
    rates = {str(dtype): product_seconds(case, dtype) for dtype in (torch.float32, torch.bfloat16)} if of.runs else {}
    return {
        name: {
            "wall_s": walls[name], "walls_s": [each.wall for each in spent[name]], "cpu_s": cpus[name],
            "wall_over_default": walls[name] / walls["default"], "cpu_over_default": cpus[name] / cpus["default"],
            "member_epochs_per_s": of.runs * of.epochs / walls[name],
            "share": {dtype: seconds / walls[name] for dtype, seconds in rates.items()},
            "peak_bytes": max(each.peak_bytes for each in spent[name]),
        }
        for name in chosen
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="card and tiny unless named")
    parser.add_argument("--older", type=Path, help="a worktree of an older commit")
    parser.add_argument("--trainer", choices=["cpu", "gpu", "auto"], default="cpu")
    parser.add_argument("--without", nargs="*", default=[], metavar="CONTENDER")
    parser.add_argument("--busy", action="store_true", help="beside a busy loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scikit", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scikit:
        train_scikit(arguments.scikit)
        return
    cases = {case: measure(case, arguments) for case in arguments.cases or ("card", "tiny")}
    command = " ".join(["python", *sys.argv])
    found = machine() | {"command": command, "busy": arguments.busy, "load": os.getloadavg(), "cases": cases}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
