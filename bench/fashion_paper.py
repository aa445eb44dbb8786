"""Table 3 of the Fashion-MNIST paper (arXiv:1708.07747): published, scikit-learn today, and `+sweeps=fashion_paper`.

scikit-learn's own MLPClassifier is trained with ten seeds a cell, by the paper's protocol: all 60,000 images, each
pixel standardised, batches of 200, Adam, α = 1e-4, at most 200 epochs, an end after three epochs in a row that don't
lower the mean training loss by 1e-4 (`n_iter_no_change=2`, which scikit-learn of 2017 had; today's default is 10), in
float32, as it computes where its inputs are that.

    python -m bench.fashion_paper [--sweep outputs/fashion_paper] [--results bench/results]

Trains what neither fashion_paper.json nor the sweep's folders hold, and writes fashion_paper.json, .md and .png there.
Equivalence is two one-sided Welch tests of ± 0.5 points at 5 %; the interval is Student's for one more repeat.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from actsweep.data import fashion_mnist
from actsweep.results.provenance import provenance
from actsweep.results.reading import read_runs
from actsweep.statistics.power import equivalent, one_more

Array = npt.NDArray[Any]
Found = dict[str, dict[str, dict[str, float]]]  # cell → seed → what was found
SEEDS = range(10)
PATIENCE = 2  # scikit-learn's n_iter_no_change: it stops at the epoch after so many, 3 in a row
MARGIN = 0.5  # points
PROTOCOL = {"n_iter_no_change": PATIENCE, "tol": 1e-4, "max_iter": 200, "alpha": 1e-4, "batch_size": 200}


@dataclass(frozen=True)
class Cell:
    act: str
    hidden: tuple[int, ...]
    published: float

    @property
    def name(self) -> str:
        return f"{self.act} {list(self.hidden)}" if self.hidden else "no hidden layer"


CELLS = [
    *(Cell("relu", (100,), 0.871), Cell("tanh", (100,), 0.868)),
    *(Cell("relu", (100, 10), 0.870), Cell("tanh", (100, 10), 0.863)),
    *(Cell("relu", (10, 10), 0.850), Cell("tanh", (10, 10), 0.841)),
    *(Cell("relu", (10,), 0.848), Cell("tanh", (10,), 0.840)),
    Cell("relu", (), 0.841),  # logistic regression, C = 1, l2; 0.842 with l1
]


@cache
def images() -> tuple[Array, Array, Array, Array]:
    """Training images and labels, test images and labels, standardised, in float32."""
    data = fashion_mnist.load("data")
    assert data.test is not None
    scaler = StandardScaler().fit(data.pool.inputs.numpy().astype(np.float64))
    training, test = (scaler.transform(part.inputs.numpy()).astype(np.float32) for part in (data.pool, data.test))
    return training, data.pool.labels.numpy(), test, data.test.labels.numpy()


def in_scikit_learn(cell: Cell, seed: int) -> dict[str, float]:
    """Test accuracy, epochs and seconds of CPU of one MLPClassifier."""
    inputs, labels, test, answers = images()
    started = time.process_time()
    model = MLPClassifier(cell.hidden, activation=cell.act, random_state=seed, **PROTOCOL)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # 200 epochs are the protocol's end
        model.fit(inputs, labels)
    seconds = round(time.process_time() - started, 1)
    return {
        "accuracy": model.score(test, answers),
        "epochs": model.n_iter_,
        "loss": float(model.loss_),
        "cpu_s": seconds,
    }


def scikit_learn(path: Path) -> Found:
    """What MLPClassifier found, all of it kept in the file, from which it goes on."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found: Found = kept.get("scikit-learn", {})
    for seed in SEEDS:
        for cell in CELLS:
            of_cell = found.setdefault(cell.name, {})
            if str(seed) not in of_cell:
                of_cell[str(seed)] = in_scikit_learn(cell, seed)
                own = {"version": sklearn.__version__, "protocol": PROTOCOL, "scikit-learn": found}
                path.write_text(json.dumps(kept | own, indent=1) + "\n")
                print(cell.name, seed, of_cell[str(seed)], flush=True)
    return found


def actsweep(folders: Sequence[Path]) -> Found:
    """What the study's runs found, which the command trains as far as they are not there."""
    command = [sys.executable, "-m", "src.train", "+sweeps=fashion_paper", f"hydra.sweep.dir={folders[0]}"]
    if not [*folders[0].glob("results.csv")]:
        subprocess.run(command, check=True)
    found: Found = {}
    for run in read_runs(folders):
        for cell in CELLS:
            if (run["act"], tuple(run["hidden_sizes"])) == (cell.act, cell.hidden) and run["status"] == "completed":
                numbers = {"accuracy": run["test_accuracy"], "epochs": run["epochs"]}
                found.setdefault(cell.name, {})[str(run["seed"])] = numbers
    return found


def percent(found: dict[str, dict[str, float]]) -> list[float]:
    return [100 * each["accuracy"] for each in found.values()]


def compared(cell: Cell, theirs: dict[str, dict[str, float]], ours: dict[str, dict[str, float]]) -> dict[str, Any]:
    """One row of the table, in % and points."""
    same = equivalent(percent(ours), percent(theirs), MARGIN)
    one, other = one_more(percent(ours)), one_more(percent(theirs))
    published = 100 * cell.published
    return {
        "cell": cell.name,
        "published": published,
        "scikit-learn": asdict(other),
        "actsweep": asdict(one),
        "inside": one.low <= published <= one.high,
        "inside_scikit-learn": other.low <= published <= other.high,
        "equivalence": asdict(same) | {"is_shown": same.is_shown},
        "epochs": {name: fmean(each["epochs"] for each in found.values())
                   for name, found in (("scikit-learn", theirs), ("actsweep", ours))},
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    ours, theirs, same = row["actsweep"], row["scikit-learn"], row["equivalence"]
    apart = "yes" if row["inside"] else "no, nor in scikit-learn's" if not row["inside_scikit-learn"] else "no"
    numbers = [
        row["cell"],
        f"{row['published']:.1f}",
        f"{theirs['value']:.2f} ({theirs['n']})",
        f"{ours['value']:.2f} ({ours['n']})",
        f"{ours['low']:.2f} – {ours['high']:.2f}",
        apart,
        f"{same['difference']:+.2f} [{same['low']:+.2f}, {same['high']:+.2f}]",
        f"{same['p_value']:.1g}",
        "yes" if same["is_shown"] else "not shown",
        f"{row['epochs']['scikit-learn']:.0f}, {row['epochs']['actsweep']:.0f}",
    ]
    return f"| {' | '.join(numbers)} |"


def table(rows: Sequence[dict[str, Any]], version: str) -> str:
    """Markdown."""
    heads = [
        *("hidden layers", "published", f"scikit-learn {version} (n)", "actsweep (n)", "one more repeat of ours, 95 %"),
        *("published lies in it", "difference [90 %]", "p", f"equivalent, ± {MARGIN}", "epochs: theirs, ours"),
    ]
    shown, outside = sum(row["equivalence"]["is_shown"] for row in rows), [row for row in rows if not row["inside"]]
    alike = [f"{row['cell']}{'' if row['inside_scikit-learn'] else ', as in scikit-learn itself'}" for row in outside]
    summary = (
        f"Test accuracy in %, differences in points. Equivalent: {shown} of {len(rows)}. Published lies in our "
        f"interval: {len(rows) - len(outside)} of {len(rows)}; outside: {'; '.join(alike) or 'none'}."
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(line(row) for row in rows)]
    return "\n".join([*lines, "", summary]) + "\n"


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A line for each cell: our interval of one more repeat, our mean, scikit-learn's, and the published number."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows), 0, -1)
    ends = [(row["actsweep"]["low"], row["actsweep"]["high"]) for row in rows]
    axes.hlines(places, *zip(*ends, strict=True), color="C0", linewidth=3, alpha=0.4, label="one more of ours, 95 %")
    for name, marker in (("actsweep", "C0o"), ("scikit-learn", "C1x")):
        axes.plot([row[name]["value"] for row in rows], places, marker, label=f"{name}, mean of {rows[0][name]['n']}")
    axes.plot([row["published"] for row in rows], places, "kD", markerfacecolor="white", label="published")
    axes.set_yticks(places, [row["cell"] for row in rows])
    axes.set_xlabel("test accuracy (%)")
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweep", type=Path, nargs="+", default=[Path("outputs/fashion_paper")])
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    arguments = parser.parse_args()
    path = arguments.results / "fashion_paper.json"
    ours, theirs = actsweep(arguments.sweep), scikit_learn(path)
    rows = [compared(cell, theirs[cell.name], ours[cell.name]) for cell in CELLS if cell.name in ours]
    kept = json.loads(path.read_text()) | {"actsweep": ours, "rows": rows} | provenance()
    path.write_text(json.dumps(kept, indent=1) + "\n")
    text = table(rows, kept["version"])
    path.with_suffix(".md").write_text(text)
    draw(rows, path.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
