"""The CS231n notebook's two nets, 50,000 steps each: actsweep's run beside the same algorithm in plain NumPy.

The two take turns, net by net. Ours is the whole run of `+sweeps=spiral`: gradients of every step recorded, tables,
checkpoints and the test included; NumPy's is the loop alone. All losses are compared, step by step, and those that the
notebook printed with both.

    python -m bench.spiral [--steps 50000] [--json FILE] [--states FILE]

Last line: {"numpy_s": …, "ours_s": …, "ours_over_numpy": …, "largest_difference": …, "from_published": …,
"accuracy": …} as JSON. Exit code 1 where a published loss is missed by more than half of its last digit.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep import composition, one_run
from actsweep.config.command_line import quiet_libraries
from actsweep.data import spiral
from actsweep.places import REPOSITORY
from actsweep.results import run_folder

Array = npt.NDArray[np.float64]
STEP, DECAY, UNITS, EPOCH = 0.1, 1e-3, 50, 1000
STEPS, HALF_A_DIGIT = 50_000, 5e-7  # published
STATES = (24_000, 49_000)  # after so many steps tests/test_studies.py goes on
USED_BEFORE = {"sigmoid": 300, "relu": 3050}  # numbers drawn from the one stream before a net's weights


@dataclass(frozen=True)
class Trained:
    """What the steps gave: loss with penalty and magnitudes of the hidden layers' gradients, before each step."""

    losses: Array  # (steps,)
    magnitudes: Array  # (steps, 2)
    accuracy: float
    seconds: float
    states: dict[int, list[Array]]  # by the steps done: weights (in, out) and biases (out,), layer by layer


def initial(act: str) -> list[Array]:
    """The notebook's weights (in, out), and biases (out,), in turn."""
    stream = spiral.after_the_data(0, USED_BEFORE[act])
    weights = [0.1 * stream.randn(a, b) for a, b in ((2, UNITS), (UNITS, UNITS), (UNITS, 3))]
    return [array for weight in weights for array in (weight, np.zeros(weight.shape[1]))]


def in_numpy(act: str, steps: int, start: list[Array] | None = None, keep: Sequence[int] = ()) -> Trained:
    """The plain loop: forward, loss, backward by hand, update. `keep`: the states after so many steps."""
    data = spiral.load(seed=0).pool
    inputs, labels = data.inputs.numpy(), data.labels.numpy()
    state = [array.copy() for array in start or initial(act)]
    weights, biases, states = state[::2], state[1::2], {}
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
        if step in keep:
            states[step] = [array.copy() for array in state]
        first, second, scores = forward()
        exponentials = np.exp(scores)
        delta = exponentials / exponentials.sum(axis=1, keepdims=True)
        penalty = 0.5 * DECAY * sum(np.sum(weight * weight) for weight in weights)
        losses[step] = -np.log(delta[examples, labels]).sum() / len(labels) + penalty
        delta[examples, labels] -= 1
        delta /= len(labels)
        gradients: list[tuple[Array, Array]] = []
        for below, weight in ((second, weights[2]), (first, weights[1]), (inputs, weights[0])):
            gradients.insert(0, (below.T @ delta, delta.sum(axis=0)))
            if below is not inputs:
                delta = through(delta @ weight.T, below)
        for layer in (0, 1):
            magnitudes[step, layer] = np.abs(gradients[layer][0]).sum() / sum(weights[layer].shape)
        for weight, bias, (by_weight, by_bias) in zip(weights, biases, gradients, strict=True):
            weight -= STEP * (by_weight + DECAY * weight)
            bias -= STEP * by_bias
    seconds = time.perf_counter() - started
    return Trained(losses, magnitudes, float(np.mean(forward()[2].argmax(axis=1) == labels)), seconds, states)


def in_actsweep(act: str, folder: Path, *overrides: str) -> Trained:
    """The run that `python -m src.train +sweeps=spiral act=…` makes."""
    own = ["+sweeps=spiral", f"act={act}", "seed=0", "trainer=cpu", "trainer.enable_progress_bar=false"]
    composed = composition.composed([*own, *overrides])
    started = time.perf_counter()
    result = one_run.train(composition.read(composed), folder)
    seconds = time.perf_counter() - started
    table = pd.read_csv(run_folder.table(folder, "steps"))
    magnitudes = table[["grad_magnitude/layer_01", "grad_magnitude/layer_02"]].to_numpy()
    return Trained((table["loss"] + table["penalty"]).to_numpy(), magnitudes, result["test_accuracy"], seconds, {})


def published() -> pd.DataFrame:
    """The losses that the notebook printed: every thousandth step's, of both nets."""
    return pd.read_csv(REPOSITORY / "tests" / "spiral_losses.csv")


def compare(steps: int, folder: Path) -> tuple[dict[str, tuple[Trained, Trained]], dict[str, Any]]:
    """NumPy's training of both nets and ours, and the summary."""
    quiet_libraries()
    printed = published()
    printed = printed[printed["iteration"] < steps]
    epochs = f"trainer.max_epochs={steps // EPOCH}"
    pairs = {act: (in_numpy(act, steps, keep=STATES), in_actsweep(act, folder / act, epochs)) for act in USED_BEFORE}
    numpy_s, ours_s = (sum(pair[which].seconds for pair in pairs.values()) for which in (0, 1))
    differences = [float(np.abs(theirs.losses - ours.losses).max()) for theirs, ours in pairs.values()]
    missed = [float(np.abs(ours.losses[printed["iteration"]] - printed[act]).max()) for act, (_, ours) in pairs.items()]
    summary = {
        "numpy_s": round(numpy_s, 2),
        "ours_s": round(ours_s, 2),
        "ours_over_numpy": round(ours_s / numpy_s, 3),
        "largest_difference": max(differences),
        "from_published": max(missed),
        "accuracy": {act: round(ours.accuracy, 4) for act, (_, ours) in pairs.items()},
    }
    return pairs, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=STEPS, help="a multiple of 1,000 (default: 50,000)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--states", type=Path, help="where to write NumPy's weights, for tests/spiral_states.npz")
    arguments = parser.parse_args()
    composition.register()
    with tempfile.TemporaryDirectory() as folder:
        pairs, summary = compare(arguments.steps, Path(folder))
    for act, (theirs, ours) in pairs.items():
        print(f"{act}: accuracy {ours.accuracy:.4f} (NumPy {theirs.accuracy:.4f}), last loss {ours.losses[-1]:.6f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"steps": arguments.steps} | summary, indent=2) + "\n")
    if arguments.states:
        states = {f"{act}-{step}-{place}": array for act, (theirs, _) in pairs.items()
                  for step, state in theirs.states.items() for place, array in enumerate(state)}  # fmt: skip
        np.savez_compressed(arguments.states, **states)  # type: ignore[arg-type]
    print(json.dumps(summary))
    if summary["from_published"] > HALF_A_DIGIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
