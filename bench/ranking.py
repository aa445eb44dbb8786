"""Do the atlas' statistics hold what they promise? `python -m bench.ranking --json bench/results/ranking.json`

Simulated atlases in which the truth is known: each function of docs/atlas.csv (torch's initialisation, different ones)
has its mean there as the truth, and seeds draw from its own seeds' deviations: skewed and bimodal functions stay
what they are; a normal effect of each seed, as large as the table's, is common to all. Some are copies of ReLU: its
mean and deviations, drawn anew.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from actsweep.places import REPOSITORY
from actsweep.report.atlas.standing import REFERENCE, Standings
from actsweep.results.provenance import provenance
from actsweep.statistics import inference, ranking
from actsweep.statistics.ranking import LEVEL, Floats

FAMILIES = {"20 copies": 20, "half copies": 195, "only copies": 390}
FUNCTIONS = 390


class Simulation:
    """Truths and deviations, in points of test accuracy; ReLU is row 0."""

    def __init__(self, standings: Standings) -> None:
        acts = [REFERENCE, *(act for act in standings.different if act != REFERENCE)]
        table = np.array([list(standings.values[act].values()) for act in acts])
        self.means, self.seeds = table.mean(axis=1), table.shape[1]
        deviations = (table - self.means[:, None]) * math.sqrt(self.seeds / (self.seeds - 1))
        usual = np.median(deviations, axis=0)
        self.common, own = float(usual.std()), deviations - usual
        self.deviations = own - own.mean(axis=1, keepdims=True)

    def drawn(self, rows: np.ndarray, rng: np.random.Generator) -> Floats:
        """(len(rows), seeds): values of these functions over fresh seeds."""
        picks = rng.integers(self.seeds, size=(len(rows), self.seeds))
        own = np.take_along_axis(self.deviations[rows], picks, axis=1)
        return self.means[rows, None] + own + rng.normal(scale=self.common, size=self.seeds)


def named(table: Floats) -> dict[str, dict[int, float]]:
    return {str(row): dict(enumerate(values)) for row, values in enumerate(table.tolist())}


def discoveries(simulation: Simulation, copies: int, times: int, rng: np.random.Generator) -> dict[str, Any]:
    """What three ways to correct make of `copies` copies of ReLU among 390 functions."""
    shares: dict[str, list[float]] = {}
    counts: dict[str, list[float]] = {}
    found: dict[str, list[float]] = {}
    for _ in range(times):
        others = rng.choice(np.arange(1, len(simulation.means)), FUNCTIONS - copies)
        groups = named(simulation.drawn(np.r_[0, np.zeros(copies, dtype=int), others], rng))
        p_values = [pair.p_value for pair in ranking.against(groups.pop("0"), groups).values()]
        ways = {
            "benjamini_hochberg": ranking.discovery_rates(p_values),
            "holm": inference.holm(p_values),
            "none": p_values,
        }
        for way, corrected in ways.items():
            called = np.array(corrected) <= LEVEL
            shares.setdefault(way, []).append(int(called[:copies].sum()) / max(int(called.sum()), 1))
            counts.setdefault(way, []).append(float(called[:copies].mean()))
            found.setdefault(way, []).append(float(called[copies:].mean()) if copies < FUNCTIONS else math.nan)
    return {
        way: {
            "false_among_discoveries": interval(shares[way]),
            "share_of_copies_called": interval(counts[way]),
            "share_of_others_called": interval(found[way]),
        }
        for way in shares
    }


def interval(values: list[float]) -> list[float] | None:
    """Mean, low, high of its 95 % interval."""
    if any(map(math.isnan, values)):
        return None
    found = inference.mean(values)
    return [round(each, 5) for each in (found.value, found.low, found.high)]


def ranks_and_best(simulation: Simulation, times: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often a rank's interval holds the true rank, and the best's the worth of the best of the table."""
    truth = stats.rankdata(-simulation.means.round(9))
    everyone = np.arange(len(truth))
    held, best_held, flattered, fresh_error, covered = [], [], [], [], []
    for _ in range(times):
        table = simulation.drawn(everyone, rng)
        found = ranking.ranks(table)
        inside = np.array([each.low <= rank <= each.high for each, rank in zip(found, truth, strict=True)])
        best = int(table.mean(axis=1).argmax())
        worth = float(simulation.means[best])
        chosen, fresh = ranking.best_on_fresh_seeds(table)
        held.append(float(inside.mean()))
        best_held.append(float(inside[truth <= 20].mean()))
        flattered.append(chosen.value - worth)
        fresh_error.append(fresh.value - worth)
        covered.append(float(fresh.low <= worth <= fresh.high))
    return {
        "rank_intervals_hold_the_rank": interval(held),
        "of_the_true_best_20": interval(best_held),
        "mean_of_the_best_minus_its_truth": interval(flattered),
        "on_fresh_seeds_minus_its_truth": interval(fresh_error),
        "interval_on_fresh_seeds_holds_it": interval(covered),
    }


def spearman(times: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often the interval holds ρ of 390 normal pairs, of which Pearson's is 0.4."""
    truth = 6 / math.pi * math.asin(0.4 / 2)
    held = []
    for _ in range(times):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], size=FUNCTIONS).T
        found = ranking.spearman(x.tolist(), y.tolist())
        held.append(float(found.low <= truth <= found.high))
    return {"interval_holds_rho": interval(held)}


def report(table: pd.DataFrame, times: int, seed: int = 0) -> Mapping[str, Any]:
    simulation, rng, started = (
        Simulation(Standings.of(table, "default")),
        np.random.default_rng(seed),
        time.process_time(),
    )
    return {
        "atlases": times,
        "functions": len(simulation.means),
        "seeds": simulation.seeds,
        "common_effect_of_a_seed": simulation.common,
        "discoveries": {name: discoveries(simulation, copies, times, rng) for name, copies in FAMILIES.items()},
        "ranks_and_best": ranks_and_best(simulation, times, rng),
        "spearman": spearman(times, rng),
        "cpu_seconds": time.process_time() - started,
        "provenance": provenance(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=REPOSITORY / "docs/atlas.csv")
    parser.add_argument("--atlases", type=int, default=200)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = report(pd.read_csv(given.table), given.atlases)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
