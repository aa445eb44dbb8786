"""Table 3 of the Fashion-MNIST paper (arXiv:1708.07747): published, scikit-learn today, and `+sweeps=fashion_paper`.

scikit-learn's own MLPClassifier is trained with ten seeds a cell, by the paper's protocol: all 60,000 images, each
pixel standardised, batches of 200, Adam, α = 1e-4, at most 200 epochs, an end after three epochs in a row that don't
lower the mean training loss by 1e-4 (`n_iter_no_change=2`, which scikit-learn of 2017 had; today's default is 10).

    python -m bench.fashion_paper [--sweep outputs/fashion_paper] [--results bench/results]

Trains what neither the results nor the sweep's folder hold, and writes fashion_paper.json and fashion_paper.md.
"""

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from actsweep.data import fashion_mnist

Array = npt.NDArray[Any]
SEEDS = range(10)
PATIENCE = 2  # scikit-learn's n_iter_no_change: it stops at the epoch after so many, 3 in a row
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
    return {"accuracy": model.score(test, answers), "epochs": model.n_iter_, "loss": model.loss_, "cpu_s": seconds}


def scikit_learn(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Cell → seed → what was found, all of it kept in the file, from which it goes on."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, dict[str, dict[str, float]]] = kept.get("scikit-learn", {})
    for seed in SEEDS:
        for cell in CELLS:
            of_cell = found.setdefault(cell.name, {})
            if str(seed) not in of_cell:
                of_cell[str(seed)] = in_scikit_learn(cell, seed)
                version = {"version": sklearn.__version__, "protocol": PROTOCOL}
                path.write_text(json.dumps(kept | version | {"scikit-learn": found}, indent=1) + "\n")
                print(cell.name, seed, of_cell[str(seed)], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweep", type=Path, default=Path("outputs/fashion_paper"))
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    arguments = parser.parse_args()
    scikit_learn(arguments.results / "fashion_paper.json")


if __name__ == "__main__":
    main()
