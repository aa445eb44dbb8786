"""Does the report find what is wrong? Sick sweeps, one for each kind, and healthy ones, trained on digits.

    python -m bench.findings --folder outputs/findings --json bench/results/findings.json

Each is trained in stacks, in one process, 10 seeds; each seed is diagnosed alone, as a sweep of one run, except where a
kind is one of several runs: there 10 sweeps are. The first finding counts. Then each sick sweep's first remedy is
trained on one seed; and "how many seeds would do" is held against 2,000 sweeps drawn from real per-seed results.
"""

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.global_hydra import GlobalHydra

from actsweep import jobs
from actsweep.report import trial
from actsweep.results.files import as_json, write_atomically
from actsweep.results.reading import Run, read_runs
from actsweep.statistics import inference
from actsweep.statistics.findings import find
from actsweep.statistics.power import SHOW, effect_of, power, seeds_needed
from actsweep.statistics.setting import settings_of

DIAGNOSTICS = "diagnostics=[gradients,updates,activations,units,theory,curve,taxonomy]"
BASE = (
    "data=digits",
    "depth=4",
    "width=64",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "report=false",
    "figures=[]",
)
KAIMING, CRITICAL = ("act=relu", "init=kaiming"), ("act=tanh", "init=critical")
FOR_LONG = ("patience=null", "trainer.max_epochs=20")
SICK: dict[str, Sequence[str]] = {
    "vanishing_signal": ("act=sigmoid",),
    "exploding_signal": ("act=relu", "init=gain", "init.gain=4", "depth=8"),
    "vanishing_gradient": ("act=step",),
    "exploding_gradient": ("act=tanh", "init=gain", "init.gain=6", "depth=10"),
    "init_misfit": ("act=sigmoid", "init=kaiming", "depth=3"),
    "diverged": (*KAIMING, "optim.lr=100"),
    "step_too_large": (*CRITICAL, "optim.lr=1", *FOR_LONG),
    "step_too_small": (*KAIMING, "optim.lr=1e-6", *FOR_LONG),
    "born_dead": (*KAIMING, "width=2", "depth=16"),
    "dying": (*KAIMING, "optim=adam", "optim.lr=0.03", *FOR_LONG),
    "saturated": ("act=tanh", "init=normal", "init.std=1", "depth=2"),
    "always_linear": ("act=linear",),
    "collapsed": (*CRITICAL, "optim.weight_decay=0.3", *FOR_LONG),
    "stopped_on_plateau": (*KAIMING, "optim.lr=3e-4", "patience=1"),
    "not_finished": (*KAIMING, "trainer.max_epochs=3", "optim.lr=5e-3"),
    "overfitting": (*KAIMING, "data.val_size=1350", "patience=null", "trainer.max_epochs=60"),
    "theory_deviates": (*KAIMING, "width=256", "init.bias._target_=torch.nn.init.constant_", "+init.bias.val=1"),
    "unstable": (*KAIMING, "width=5", "depth=8", "optim.lr=0.03", "trainer.max_epochs=30"),
    "too_few_seeds": ("act=relu,tanh", "init=critical", "optim.lr=0.03"),
}
HEALTHY = {
    act: (f"act={act}", "init=critical", "optim.lr=0.03")
    for act in ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
}
SWEEPS = 10
TOGETHER = {"unstable": 16, "too_few_seeds": 2}  # seeds of each of 10 sweeps
POOL = (
    "act=tanh,relu,elu,swish", "init=critical", "optim.lr=0.005,0.01,0.03",
    "patience=null", "trainer.max_epochs=8", "diagnostics=[]",
)  # fmt: skip
IN_POOL, MOST_SEEDS, FAMILIES, SIMULATED = 40, 40, (1, 6), 2_000


def command(words: Sequence[str]) -> None:
    """`python -m src.train WORDS` in this process, silently."""
    sys.argv = ["train", *words]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            jobs.main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{' '.join(words)}: exit code {end.code}") from end
        finally:
            GlobalHydra.instance().clear()


def sweep(folder: Path, overrides: Sequence[str], seeds: int) -> list[Run]:
    """A sweep's runs; what is there already is not trained again."""
    given = {each.partition("=")[0] for each in overrides}
    base = [each for each in (*BASE, DIAGNOSTICS) if each.partition("=")[0] not in given]
    command(["-m", *base, f"hydra.sweep.dir={folder}", f"seed=range({seeds})", *overrides])
    return read_runs([folder])


def trials_of(kind: str, runs: Sequence[Run]) -> Iterator[list[Run]]:
    """The runs as sweeps that are diagnosed one by one."""
    size = TOGETHER.get(kind, 1)
    for first in range(0, SWEEPS * size, size):
        yield [run for run in runs if first <= run["seed"] < first + size]


def first_kinds(kind: str, runs: Sequence[Run]) -> Counter[str]:
    """How often which kind is found first."""
    found = [find(settings_of(each)) for each in trials_of(kind, runs)]
    return Counter(each[0].kind if each else "none" for each in found)


def remedy_of(kind: str, runs: Sequence[Run], folder: Path) -> str | None:
    """What came of the first remedy on one seed; None for what takes several."""
    settings = settings_of(next(trials_of(kind, runs)))
    found = [each for each in trial.trials(settings, find(settings), folder) if each.finding.kind == kind]
    return trial.run(found[:1], folder, command)[0] if found else None


def confusion(folder: Path) -> dict[str, Any]:
    """Rows: what was made; columns: what was found first."""
    table: dict[str, Counter[str]] = {}
    remedies: dict[str, str | None] = {}
    layers: dict[str, list[Any]] = {}
    for kind, overrides in SICK.items():
        runs = sweep(folder / kind, overrides, SWEEPS * TOGETHER.get(kind, 1))
        table[kind] = first_kinds(kind, runs)
        together = find(settings_of(runs if kind not in TOGETHER else next(trials_of(kind, runs))))
        layers[kind] = [(each.kind, each.where.layer, each.where.epoch) for each in together[:1]]
        remedies[kind] = remedy_of(kind, runs, folder / kind)
        print(kind, dict(table[kind]), remedies[kind], flush=True)
    for act, overrides in HEALTHY.items():
        runs = sweep(folder / f"healthy_{act}", overrides, SWEEPS)
        table[f"healthy {act}"] = first_kinds(act, runs)
        layers[f"healthy {act}"] = [each.kind for each in find(settings_of(runs))]
        print(act, dict(table[f"healthy {act}"]), layers[f"healthy {act}"], flush=True)
    sick = sum(table[kind].total() for kind in SICK)
    well = sum(table[f"healthy {act}"].total() for act in HEALTHY)
    return {
        "diagonal": sum(table[kind][kind] for kind in SICK) / sick,
        "false_alarms": 1 - sum(table[f"healthy {act}"]["none"] for act in HEALTHY) / well,
        "sick": sick,
        "healthy": well,
        "table": {made: dict(found) for made, found in table.items()},
        "first_of_all_seeds": layers,
        "remedies": remedies,
    }


def promise(differences: Sequence[float], comparisons: int, generator: np.random.Generator) -> dict[str, float] | None:
    """The power promised for the seeds that would do, and the share of so many sweeps in which the test shows it."""
    wanted = seeds_needed(differences, comparisons).value
    if not wanted <= MOST_SEEDS:
        return None
    n, values = int(wanted), np.asarray(differences)
    shape = (values - values.mean()) / values.std() if len(values) >= SHOW else None
    nothing = dict.fromkeys(range(n), 0.0)
    drawn = (generator.choice(values, n).tolist() for _ in range(SIMULATED))
    p_values = [inference.compare(dict(enumerate(each)), nothing).p_value for each in drawn]
    shown = float(np.mean(np.array(p_values) * comparisons <= 0.05))
    return {
        "n": n,
        "comparisons": comparisons,
        "promised": power(effect_of(values.tolist()).value, n, comparisons, shape),
        "shown": shown,
    }


def promises(folder: Path) -> dict[str, Any]:
    """Over all pairs of the pool's settings."""
    generator = np.random.default_rng(1)
    groups = [each.outcomes() for each in settings_of(sweep(folder / "pool", POOL, IN_POOL))]
    found = []
    for one, other in combinations(groups, 2):
        differences = [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
        found += [each for family in FAMILIES if (each := promise(differences, family, generator))]
    errors = np.array([each["shown"] - each["promised"] for each in found])
    return {
        "cases": len(found),
        "within_5_points": float(np.mean(np.abs(errors) <= 0.05)),
        "mean_error": float(errors.mean()),
        "largest_error": float(np.abs(errors).max()),
        "each": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    began = time.process_time()
    found = confusion(given.folder.absolute()) | {"power": promises(given.folder.absolute())}
    found["cpu_seconds"] = round(time.process_time() - began, 1)
    print({key: value for key, value in found.items() if key not in {"table", "power"}}, found["power"] | {"each": "…"})
    if given.json:
        write_atomically(given.json, as_json(found))


if __name__ == "__main__":
    main()
