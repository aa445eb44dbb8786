"""The CS231n notebook's two nets, 50,000 steps each: actsweep's run beside the same algorithm in plain NumPy.

The two take turns, net by net. Ours is the whole run of `+sweeps=spiral`: gradients of every step recorded, tables,
checkpoints and the test included; NumPy's is the loop alone.

    python bench/spiral.py [--steps 50000] [--json FILE]

Last line: {"numpy_s": …, "ours_s": …, "ours_over_numpy": …, "largest_difference": …} as JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from src import REPOSITORY, config, naming, results, train
from src.command_line import quiet_libraries
from src.data import spiral

Array = npt.NDArray[np.float64]
STEP, DECAY, UNITS, EPOCH = 0.1, 1e-3, 50, 1000
USED_BEFORE = {"sigmoid": 300, "relu": 3050}  # numbers drawn from the one stream before a net's weights


@dataclass(frozen=True)
class Trained:
    """What the steps gave: loss with penalty and magnitudes of the hidden layers' gradients, before each step."""

    losses: Array  # (steps,)
    magnitudes: Array  # (steps, 2)
    accuracy: float
    seconds: float


def in_numpy(act: str, steps: int) -> Trained:
    """The plain loop: forward, loss, backward by hand, update."""
    data = spiral.load(seed=0).pool
    inputs, labels = data.inputs.numpy(), data.labels.numpy()
    stream = spiral.after_the_data(0, USED_BEFORE[act])
    weights = [0.1 * stream.randn(a, b) for a, b in ((2, UNITS), (UNITS, UNITS), (UNITS, 3))]
    biases = [np.zeros((1, weight.shape[1])) for weight in weights]
    examples = np.arange(len(labels))
    losses, magnitudes = np.empty(steps), np.empty((steps, 2))

    def activate(z: Array) -> Array:
        return 1 / (1 + np.exp(-z)) if act == "sigmoid" else np.maximum(0, z)

    def forward() -> tuple[Array, Array, Array]:
        first = activate(inputs @ weights[0] + biases[0])
        second = activate(first @ weights[1] + biases[1])
        return first, second, second @ weights[2] + biases[2]

    def through(gradient: Array, output: Array) -> Array:
        return gradient * (output * (1 - output) if act == "sigmoid" else output > 0)

    started = time.perf_counter()
    for step in range(steps):
        first, second, scores = forward()
        exponentials = np.exp(scores)
        delta = exponentials / exponentials.sum(axis=1, keepdims=True)
        penalty = 0.5 * DECAY * sum(np.sum(weight * weight) for weight in weights)
        losses[step] = -np.log(delta[examples, labels]).sum() / len(labels) + penalty
        delta[examples, labels] -= 1
        delta /= len(labels)
        gradients: list[tuple[Array, Array]] = []
        for below, weight in ((second, weights[2]), (first, weights[1]), (inputs, weights[0])):
            gradients.insert(0, (below.T @ delta, delta.sum(axis=0, keepdims=True)))
            if below is not inputs:
                delta = through(delta @ weight.T, below)
        for layer in (0, 1):
            magnitudes[step, layer] = np.abs(gradients[layer][0]).sum() / sum(weights[layer].shape)
        for weight, bias, (by_weight, by_bias) in zip(weights, biases, gradients, strict=True):
            weight -= STEP * (by_weight + DECAY * weight)
            bias -= STEP * by_bias
    seconds = time.perf_counter() - started
    return Trained(losses, magnitudes, float(np.mean(forward()[2].argmax(axis=1) == labels)), seconds)


def in_actsweep(act: str, steps: int, folder: Path) -> Trained:
    """The run that `python -m src.train +sweeps=spiral act=…` makes."""
    overrides = ["+sweeps=spiral", f"act={act}", "seed=0", "trainer=cpu", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose(
            "config",
            [*overrides, "trainer.precision=64-true", f"trainer.max_epochs={steps // EPOCH}"],
            return_hydra_config=True,
        )
    HydraConfig.instance().set_config(composed)
    started = time.perf_counter()
    result = train.train(config.read(composed), folder)
    seconds = time.perf_counter() - started
    table = pd.read_csv(results.table(folder, "steps"))
    magnitudes = table[["grad_magnitude/layer_01", "grad_magnitude/layer_02"]].to_numpy()
    return Trained((table["loss"] + table["penalty"]).to_numpy(), magnitudes, result["test_accuracy"], seconds)


def compare(
    steps: int, folder: Path, numpy_steps: int | None = None
) -> tuple[dict[str, tuple[Trained, Trained]], dict[str, float]]:
    """NumPy's training of both nets, of fewer steps if so asked, and ours; and the summary."""
    quiet_libraries()
    compared = numpy_steps or steps
    pairs = {act: (in_numpy(act, compared), in_actsweep(act, steps, folder / act)) for act in USED_BEFORE}
    numpy_s, ours_s = (sum(pair[which].seconds for pair in pairs.values()) for which in (0, 1))
    difference = max(float(np.abs(theirs.losses - ours.losses[:compared]).max()) for theirs, ours in pairs.values())
    summary = {
        "numpy_s": round(numpy_s, 2),
        "ours_s": round(ours_s, 2),
        "ours_over_numpy": round(ours_s / numpy_s * compared / steps, 3),
        "largest_difference": difference,
    }
    return pairs, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=50_000, help="a multiple of 1,000 (default: 50,000)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    naming.register()
    with tempfile.TemporaryDirectory() as folder:
        pairs, summary = compare(arguments.steps, Path(folder))
    for act, (theirs, ours) in pairs.items():
        print(f"{act}: accuracy {ours.accuracy:.4f} (NumPy {theirs.accuracy:.4f}), last loss {ours.losses[-1]:.6f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"steps": arguments.steps} | summary, indent=2) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
