"""Run folders whose numbers are known, without any training: for tests of what is read from run folders."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actsweep.results.reading import Run, read_runs

SOURCES = {
    "digits": {"_target_": "actsweep.data.digits.load"},
    "spiral": {"_target_": "actsweep.data.spiral.load", "seed": 0, "points": 100, "classes": 3, "noise": 0.2},
    "fashion_mnist": {"_target_": "actsweep.data.fashion_mnist.load", "root": "data"},
}
DATA = {"decision_regions": "spiral", "loss_over_steps": "spiral", "published_accuracy": "fashion_mnist"}


def result_of(act: str, sizes: Sequence[int], seed: int, data: str, **more: Any) -> dict[str, Any]:
    """A result.json; gradients shrink tenfold per layer towards the input, and more with a higher seed."""
    depth = len(sizes)
    norms = [(seed + 1) * 10.0 ** (layer - depth) for layer in range(depth + 1)]
    dead = [layer if act == "relu" else 0 for layer in range(depth)]
    batch_size = 256 if data == "fashion_mnist" else "all"
    config = {
        "names": {"act": act, "init": "default", "data": data, "optim": "sgd"},
        "act": {"_target_": f"torch.nn.{act}"},
        "hidden_sizes": list(sizes),
        "data": {"source": SOURCES[data], "val_size": 0, "split_seed": 42, "batch_size": batch_size},
        "optim": {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0},
        "loss": more.pop("loss", "cross_entropy"),
        "init": {"weight_variance": 2.0, "bias_variance": 0.05},
        "seed": seed,
    }
    return {
        "name": f"{act}-d{depth}-s{seed}",
        "act": act,
        "depth": depth,
        "hidden_sizes": list(sizes),
        "init": "default",
        "norm": "none",
        "data": data,
        "optim": "sgd",
        "seed": seed,
        "config": config,
        "status": "completed",
        "epochs": 4,
        "best_epoch": 3,
        "val_accuracy": 0.8,
        "test_accuracy": 0.88 + 0.01 * (seed % 3),
        "test_loss": 0.5,
        "classes": 3 if data == "spiral" else 10,
        "initial": {"grad_norm": norms, "dead_outputs": dead},
        "grad_norm": norms[::-1],
        "dead_outputs": [2 * count for count in dead],
    } | more


def histograms_of(layers: Sequence[str]) -> pd.DataFrame:
    rows = [
        (epoch, 0, layer, quantity, -(10.0**-number), 10.0**-number, "1 2 4 2 1")
        for epoch in (0, 3)
        for number, layer in enumerate(layers)
        for quantity in ("pre_activation", "post_activation", "weight_gradient")
        if quantity != "post_activation" or layer != layers[-1]
    ]
    return pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "low", "high", "counts"])


def steps_of(layers: Sequence[str], steps: int) -> pd.DataFrame:
    step = np.arange(steps)
    frame = pd.DataFrame({"step": step, "loss": np.exp(-step / steps), "penalty": 0.01})
    for number, layer in enumerate(layers):
        frame[f"grad_mean_abs/{layer}"] = 10.0 ** (number - len(layers)) * (1 + 0.5 * np.sin(step / 9))
        frame[f"grad_magnitude/{layer}"] = 10.0 ** (number - len(layers))
    return frame


def tables_of(result: Run, steps: int) -> dict[str, pd.DataFrame]:
    """Every table that a diagnostic writes."""
    layers = [f"layer_{n:02d}" for n in range(1, result["depth"] + 2)]
    x = np.linspace(-4, 4, 41)
    epoch = np.arange(1, 5)
    accuracy = (
        np.array([0.5, 0.7, 1.0, 1.0]) if result["act"] == "relu" else 0.6 + 0.02 * epoch + 0.1 * (result["seed"] % 3)
    )
    chain = [
        (i, v, 1, layer, math.tanh(v) / n, math.exp(-n)) for n, layer in enumerate(layers, 1) for i, v in enumerate(x)
    ]
    plane = [
        (a, b, int(a > 0) + int(b > 0), 0.4 + abs(a) / 4)
        for a in np.linspace(-1, 1, 21)
        for b in np.linspace(-1, 1, 21)
    ]
    logits = np.linspace(-3, 3, 60)
    untrained = [
        (0, 0, layer, f"{name}{end}", 0.5 ** (n + len(end) / 9))
        for n, layer in enumerate(layers)
        for name in ("pre_activation_rms", "delta_ratio")
        for end in ("", "_theory")
    ]
    units = [
        (epoch, 10 * epoch, layer, name, 0.05 * epoch)
        for epoch in range(5)
        for layer in layers[:-1]
        for name in ("always_off", "always_linear", "always_saturated", "collapsed", "units_died", "layer_off")
    ]
    return {
        "layers": pd.DataFrame(untrained + units, columns=["epoch", "step", "layer", "quantity", "value"]),
        "epochs": pd.DataFrame(
            {"epoch": epoch, "step": 10 * epoch, "val_loss": 1 / epoch}
            | dict.fromkeys(("train_accuracy", "val_accuracy"), accuracy)
        ),
        "histograms": histograms_of(layers),
        "curves": pd.DataFrame({"x": x, "value": np.tanh(x), "slope": 1 - np.tanh(x) ** 2}),
        "steps": steps_of(layers, steps),
        "examples": pd.DataFrame(chain, columns=["example", "x", "label", "layer", "activation", "grad_norm"]),
        "regions": pd.DataFrame(plane, columns=["x1", "x2", "prediction", "probability"]),
        "predictions": pd.DataFrame(
            {"example": range(60), "label": [0, 1] * 30, "prediction": logits > 0, "loss": 1.0, "output": logits}
        ).astype({"prediction": int}        ),
    }  # fmt: skip


def sweep(
    folder: Path,
    acts: Sequence[str] = ("tanh", "relu"),
    seeds: Sequence[int] = (0, 1),
    sizes: Sequence[Sequence[int]] = ((8, 8, 8),),
    data: str = "digits",
    steps: int = 40,
    **more: Any,
) -> list[Run]:
    """Run folders of a grid, read back."""
    for act, hidden, seed in ((act, hidden, seed) for act in acts for hidden in sizes for seed in seeds):
        result = result_of(act, hidden, seed, data, **more)
        run = folder / result["name"]
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps(result))
        for name, table in tables_of(result, steps).items():
            table.to_csv(run / f"{name}.csv", index=False)
    return read_runs([folder])


def sweep_for(name: str, folder: Path, **grid: Any) -> list[Run]:
    """Runs from which the named figure can be drawn."""
    sizes = {"sizes": [(512, 256, 256, 128)]} if name == "published_accuracy" else {}
    loss = {"loss": "bce"} if name == "logistic" else {}
    init = {"init": "variance"} if name == "trainability" else {}
    return sweep(folder, data=DATA.get(name, "digits"), **(sizes | loss | init | grid))
