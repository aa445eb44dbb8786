"""How far untrained networks are from mean-field theory: `python bench/theory.py --json bench/results/theory.json`.

Width 1,024, depth 30, Gaussian inputs, and width 256, depth 5 on FashionMNIST; every smooth and piecewise-linear
activation of the project, default and critical initialisation. Per layer: medians over seeds of √(q_{l+1}/q_l) and of
‖∂L/∂z_l‖ / ‖∂L/∂z_{l+1}‖, relative to theory's. Seeds share their random draws between activations.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from src import REPOSITORY, activations, config, naming
from src.classifier import Classifier
from src.data.datamodule import open_data
from src.diagnostics.theory import Theory
from src.results import provenance
from src.theory.critical import critical_of

LEFT_OUT = {"step", "maxout", "silu"}  # no slope, not elementwise, the same as swish
EXAMPLES = 16


def settings_for(*overrides: str) -> config.Settings:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    return config.read(composed)


def acts() -> list[str]:
    return sorted({path.stem for path in (REPOSITORY / "conf" / "act").glob("*.yaml")} - LEFT_OUT)


class Draws:
    """One seed's networks: the same draws under every activation and at every variance."""

    def __init__(self, seed: int, inputs: int, width: int, depth: int) -> None:
        torch.manual_seed(seed)
        network = {"input_size": inputs, "hidden_sizes": [width] * depth, "output_size": 10}
        self.module = Classifier(
            network | {"act": {"_target_": "torch.nn.Tanh"}}, {"_target_": "torch.optim.SGD", "lr": 0.1}
        )
        self.taps = self.module.network.taps()
        self.scales: tuple[float, float] | None = None  # None: nn.Linear's own draws

    def use(self, act: dict[str, Any]) -> None:
        for place in range(len(self.taps) - 1):
            self.module.network.layers[2 * place + 1] = activations.build(act)

    @torch.no_grad()
    def normal(self, weight: float, bias: float) -> None:
        """Weights N(0, weight / fan_in), biases N(0, bias): drawn at the first call, rescaled afterwards."""
        for tap in self.taps:
            if self.scales is None:
                torch.nn.init.normal_(tap.linear.weight, std=tap.linear.weight.shape[1] ** -0.5)
                torch.nn.init.normal_(tap.linear.bias)  # type: ignore[arg-type]
            old = self.scales or (1.0, 1.0)
            tap.linear.weight.mul_((weight / old[0]) ** 0.5)
            tap.linear.bias.mul_((max(bias, 1e-30) / old[1]) ** 0.5)  # type: ignore[union-attr]
        self.scales = weight, max(bias, 1e-30)


def factors(rows: dict[str, dict[str, torch.Tensor]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(2, L): measured / predicted − 1 of hidden layers' length factors (NaN for the first) and gradient factors."""
    hidden = [row for row in rows.values() if "delta_ratio_error" in row]
    lengths = np.array([1 + row["length_error"].item() for row in hidden])
    ratios = [row["delta_ratio_error"].item() for row in hidden]
    return np.array([np.append(np.nan, lengths[1:] / lengths[:-1] - 1), ratios])


def measure(inputs: Any, labels: torch.Tensor, width: int, depth: int, seeds: int) -> dict[str, Any]:
    """By `act init`: errors of the median over seeds."""
    found: dict[str, list[Any]] = {}
    every = {act: dict(settings_for(f"act={act}").act.plain()) for act in acts()}
    for seed in range(seeds):
        x = inputs(seed)
        draws = Draws(seed, x.shape[1], width, depth)
        for init in ("default", "critical"):
            for act, described in every.items():
                if init == "critical":
                    try:
                        point = critical_of(described, 0.1)
                    except ValueError:
                        continue  # softplus
                    draws.normal(point.weight_variance, point.bias_variance)
                draws.use(described)
                rows = Theory().compare(draws.module, (x, labels))
                found.setdefault(f"{act} {init}", []).append(factors(rows))
        print(f"width {width}: seed {seed} done", file=sys.stderr)
    return {name: summary(np.array(values)) for name, values in found.items()}


def summary(errors: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """(S, 2, L) → per factor: of the medians over seeds, the largest and the median over layers; the mean of all."""
    result: dict[str, Any] = {}
    for name, own in zip(("length", "gradient"), np.moveaxis(errors, 1, 0), strict=True):
        own = own[:, 1:] if name == "length" else own
        middle = np.median(own, axis=0)
        result[name] = {
            "mean_over_layers_and_seeds": float(own.mean()),
            "median_layer": float(np.median(np.abs(middle))),
            "worst_layer": float(np.abs(middle).max()),
            "std_of_one_network": float(own.std(axis=0).mean()),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=30)
    parser.add_argument("--data", default="data", help="where FashionMNIST lies")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    naming.register()
    started = time.perf_counter()
    labels = torch.arange(EXAMPLES) % 10

    def gaussian(seed: int) -> torch.Tensor:
        return torch.randn(EXAMPLES, asked.width, generator=torch.Generator().manual_seed(1000 + seed))

    errors: dict[str, Any] = {}
    report = {"seeds": asked.seeds, "width": asked.width, "depth": asked.depth, "examples": EXAMPLES, "errors": errors}
    errors["gaussian"] = measure(gaussian, labels, asked.width, asked.depth, asked.seeds)
    write(report | {"seconds": round(time.perf_counter() - started)} | provenance(), asked.json)
    images, classes = open_data(settings_for(f"data.source.root={asked.data}").data, 0).probe(256)
    errors["fashion_mnist, width 256, depth 5, 256 examples"] = measure(
        lambda seed: images.flatten(1), classes, 256, 5, asked.seeds
    )
    write(report | {"seconds": round(time.perf_counter() - started)} | provenance(), asked.json)


def write(report: dict[str, Any], path: Path | None) -> None:
    text = json.dumps(report, indent=1)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
