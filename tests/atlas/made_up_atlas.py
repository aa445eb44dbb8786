"""An atlas whose numbers are known, without any training: the tables that the study leaves."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

X = np.linspace(-4, 4, 49)
SIX: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leakyrelu": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "swish": lambda x: x / (1 + np.exp(-x)),
}
MEANS = {"sigmoid": 0.1, "tanh": 0.93, "relu": 0.91, "leakyrelu": 0.92, "elu": 0.935, "swish": 0.2}


def joined(values: np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def shape(values: np.ndarray) -> dict[str, object]:
    slopes, low, high = np.diff(values) / np.diff(X), values[0], values[-1]
    parities = {"odd": -values[::-1], "even": values[::-1], "neither": values}
    return {
        "low": values.min() if abs(low) < 3.5 else -math.inf,
        "high": values.max() if high < 3.5 else math.inf,
        "monotone": "increasing" if (slopes >= -1e-9).all() else "no",
        "slope_low": slopes.min(),
        "slope_high": slopes.max(),
        "parity": next(name for name, mirrored in parities.items() if np.allclose(values, mirrored)),
        "curve": joined(values),
    }


def row(act: str, init: str, values: np.ndarray, mean: float, seeds: np.ndarray) -> dict[str, object]:
    """A measured function; what a seed adds is common to all in part, so that pairs agree."""
    accuracies = np.clip(mean + seeds, 0, 1).round(4)
    package = act.rpartition(".")[0] or "actsweep"
    return shape(values) | {
        "act": act, "package": package, "learnt": 0, "same_as": None, "init": init, "status": "measured",
        "reason": None, "jumps": None, "kinks": "0" if act.endswith("relu") else None, "cost": 1.2,
        "weight_variance": 1 / 3, "bias_variance": 0.005, "q": 0.1, "chi": 0.2 + mean / 2,
        "depth_scale": math.inf if init == "critical" else 10 * mean**3, "gradient_scale": 10 * mean**3, "lr": 0.1,
        "rates": "0.1 0.2 0.3 0.4 0.9", "accuracies": joined(accuracies), "diverged": None,
        "trained": float(np.mean(accuracies > 0.19)), "dead": 0.01, "saturated": 0.5, "gradient_ratio": 0.003,
        "gradient_ratio_trained": 0.4, "protocol": "0123abcd",
    }  # fmt: skip


def atlas(functions: int = 40) -> pd.DataFrame:
    """The six, a copy of ReLU, and curves of sines up to so many; each function at both initialisations."""
    rng = np.random.default_rng(0)
    rows = []
    for init in ("default", "critical"):
        common = rng.normal(scale=0.004, size=16)
        for place in range(functions):
            own = common + rng.normal(scale=0.004, size=16)
            if place < len(SIX):
                act = list(SIX)[place]
                rows.append(row(act, init, SIX[act](X), MEANS[act] + 0.01 * (init == "critical"), own))
                if act == "relu":
                    rows.append(rows[-1] | {"act": "torch.nn.ReLU", "package": "torch", "same_as": "relu"})
            else:
                values = np.sin(place * X / functions) + rng.random() * X * (place % 2)
                found = row(
                    f"torch_activation.Made{place:03d}",
                    init,
                    values,
                    0.94 * rng.random() ** 0.2,
                    own,
                )
                rows.append(found | {"learnt": int(place % 4 == 0)})
    table = pd.DataFrame(rows)
    edgeless = (table["act"] == "torch_activation.Made007") & (table["init"] == "critical")
    table.loc[edgeless, ["status", "reason", "accuracies"]] = ["no edge", "no gradient passes", None]
    return table


def excluded() -> pd.DataFrame:
    """One function a kind."""
    rows = [("RReLU", "random", "draws random numbers"), ("GLU", "changes the shape", "turns 64 numbers into <32>")]
    return pd.DataFrame(
        [("torch_activation." + name, "torch_activation", kind, why) for name, kind, why in rows],
        columns=["act", "package", "kind", "reason"],
    )


def fashion(table: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    accuracies = [joined(0.88 + 0.002 * place + rng.normal(scale=0.002, size=10)) for place in range(18)]
    acts = table["act"].drop_duplicates()[:18]
    return pd.DataFrame({"act": acts, "accuracies": accuracies, "diverged": None, "epochs": 10})
