"""Does the atlas' table come out again, and do the six functions of the main studies land where `fair_fresh` puts them?

Twelve functions, drawn by a fixed generator among those of atlas.csv, are measured anew by the study's own command; all
that the table says of them must come out again as text, but for `cost`, which is a time. With --fair, the folder of
`+sweeps=fair_fresh`: the tuned runs' means beside the atlas', in standard errors, and on the seeds that both have. Exit
code 1 where a value differs, or a mean by more than 3 standard errors.

    python -m bench.atlas_again outputs/atlas [--fair outputs/fair_fresh] [--json bench/results/atlas_again.json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report import writing
from bench.equal import MOST_ERRORS, in_errors

DRAWN, SEED = 12, 20261128
KEY, A_TIME = ["act", "init"], "cost"


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "atlas.csv", dtype=str, keep_default_na=False).set_index(KEY).drop(columns=A_TIME)


def again(table: pd.DataFrame) -> dict[str, Any]:
    """The functions drawn, and the cells in which they differ when they are measured again."""
    known = sorted(set(table.index.get_level_values("act")))
    acts = sorted(np.random.default_rng(SEED).choice(known, DRAWN, replace=False).tolist())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "src.train", "+sweeps=atlas", f"act={','.join(acts)}"]
        subprocess.run([*command, f"hydra.sweep.dir={folder}/atlas", "report=false"], check=True)
        found = read(Path(folder) / "atlas")
    before = table.loc[acts].sort_index().drop(columns="same_as")  # among all
    unequal = found.sort_index().drop(columns="same_as").ne(before)
    cells = [f"{act}, {init}: {column}" for column in unequal for act, init in unequal.index[unequal[column]]]
    return {"acts": acts, "rows": len(before), "cells": int(before.size), "unequal": cells}


def beside(table: pd.DataFrame, fair: Path) -> list[dict[str, Any]]:
    """Each of the six at each initialisation: the atlas' mean over its seeds, fair_fresh's, their difference."""
    tuned: dict[tuple[str, str], dict[int, float]] = {}
    for run in writing.read_runs([fair]):
        if "experiment=tuned" in run["name"]:
            accuracy = run["test_accuracy"] if run["status"] == "completed" else 1 / 10
            tuned.setdefault((run["act"], run["init"]), {})[run["seed"]] = accuracy
    rows = []
    for key, theirs in sorted(tuned.items()):
        accuracies = table.loc[key, "accuracies"]
        ours = {seed: float(each) for seed, each in enumerate(str(accuracies).split(" "))}
        common = [ours[seed] - theirs[seed] for seed in theirs if seed in ours]
        means = {"atlas": fmean(ours.values()), "fair_fresh": fmean(theirs.values()), "paired": fmean(common)}
        rows.append({"act": key[0], "init": key[1], "errors": in_errors(ours, theirs)} | means)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the atlas' study")
    parser.add_argument("--fair", type=Path, help="the folder of +sweeps=fair_fresh")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    given = parser.parse_args()
    table = read(given.folder)
    found: dict[str, Any] = {"again": again(table), "beside": beside(table, given.fair) if given.fair else []}
    text = json.dumps(found, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    far = [row for row in found["beside"] if abs(row["errors"]) > MOST_ERRORS]
    sys.exit(bool(far or found["again"]["unequal"]))


if __name__ == "__main__":
    main()
