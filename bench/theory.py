"""How far untrained networks are from mean-field theory: `python -m bench.theory --json bench/results/theory.json`.

Width 1,024, depth 30, Gaussian inputs, and width 256, depth 5 on FashionMNIST; every smooth and piecewise-linear
activation of the project, default and critical initialisation. The theory predicts means of squares over networks, so
a layer's factor is √(mean over seeds of the measured square ÷ the predicted one): of q_{l+1}/q_l and of
‖∂L/∂z_l‖² / ‖∂L/∂z_{l+1}‖². From one network to another these vary by some 1/√width, which S seeds make √S times
smaller: beside each error stands what theory expects of S seeds. Seeds share their draws between activations.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actsweep import composition
from actsweep.config import schema
from actsweep.data.datamodule import open_data
from actsweep.diagnostics.theory import GROUPS, averaged, deltas, measured
from actsweep.network import activations
from actsweep.network.classifier import Classifier
from actsweep.places import REPOSITORY
from actsweep.results.provenance import provenance
from actsweep.theory.critical import critical_of
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import Layers, layers

Floats = NDArray[np.float64]
Inputs = Callable[[int], torch.Tensor]
LEFT_OUT = {"step", "maxout", "silu"}  # no slope, not elementwise, the same as swish
EXAMPLES = 16
WITHIN = {"gaussian": 0.02, "fashion_mnist": 0.05}
NAMES = "pre_activation_rms", "gradient"


def settings_for(*overrides: str) -> schema.Settings:
    return composition.read(composition.composed(list(overrides)))


def combinations() -> dict[str, tuple[dict[str, Any], float, float]]:
    """`act init` → the activation's description, σ_w², and σ_b² or NaN for nn.Linear's 1 / (3 fan_in)."""
    found = {}
    for act in sorted({path.stem for path in (REPOSITORY / "conf" / "act").glob("*.yaml")} - LEFT_OUT):
        described = dict(settings_for(f"act={act}").act.plain())
        found[f"{act} default"] = described, 1 / 3, math.nan
        try:
            point = critical_of(described, 0.1)
        except ValueError:
            continue  # softplus
        found[f"{act} critical"] = described, point.weight_variance, point.bias_variance
    return dict(sorted(found.items(), key=lambda each: "critical" in each[0]))


class Draws:
    """One seed's networks: the same draws under every activation and at every variance."""

    def __init__(self, seed: int, inputs: int, width: int, depth: int) -> None:
        torch.manual_seed(seed)
        network = {"input_size": inputs, "hidden_sizes": [width] * depth, "output_size": 10}
        self.module = Classifier(
            network | {"act": {"_target_": "torch.nn.Tanh"}}, {"_target_": "torch.optim.SGD", "lr": 0.1}
        )
        self.module.requires_grad_(False)  # what is measured are gradients of z
        self.taps = self.module.network.taps()
        self.scales: tuple[float, float] | None = None  # None: nn.Linear's own draws

    def use(self, act: dict[str, Any]) -> None:
        for place in range(len(self.taps) - 1):
            self.module.network.layers[2 * place + 1] = activations.build(act).requires_grad_(False)

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


def prediction(act: Function, weight: float, bias: float, x: torch.Tensor, widths: list[int]) -> Layers:
    """From the inputs' mean squares and the variances that were asked for, not those that came out."""
    fans = [x.shape[1], *widths[:-1]]
    biases = [1 / (3 * fan) if math.isnan(bias) else bias for fan in fans]
    squares = x.detach().double().square().mean(dim=1).sort().values
    groups = [float(part.mean()) for part in squares.tensor_split(GROUPS)]
    return averaged([layers(act, q, [weight] * len(widths), biases, widths) for q in groups])


def squares(lengths: Floats, ratios: Floats) -> list[Floats]:
    """Squared factors between hidden layers: of lengths, to the next one, (L − 1,); of gradients, back from it, (L,).

    Not the output layer's length: ten units say it to a fifth only.
    """
    return [(lengths[1:-1] / lengths[:-2]) ** 2, ratios**2]


def measure(inputs: Inputs, labels: torch.Tensor, width: int, depth: int, seeds: int, limit: float) -> dict[str, Any]:
    """By `act init`: how far measured factors are from predicted ones."""
    every = combinations()
    functions = {name: Function(activations.build(described)) for name, (described, _, _) in every.items()}
    found: dict[str, list[list[Floats]]] = {name: [] for name in every}
    for seed in range(seeds):
        started, x = time.perf_counter(), inputs(seed)
        draws = Draws(seed, x.shape[1], width, depth)
        for name, (described, weight, bias) in every.items():
            if not math.isnan(bias):
                draws.normal(weight, bias)
            draws.use(described)
            theory = prediction(functions[name], weight, bias, x, [width] * depth + [10])
            _, pre, gradients = deltas(draws.module, (x.requires_grad_(), labels))
            own = squares(*(each.numpy() for each in measured(pre, gradients)))
            expected = squares(np.sqrt(theory.q), np.sqrt(theory.chi))
            found[name].append([one / other for one, other in zip(own, expected, strict=True)])
        print(f"width {width}: seed {seed} took {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return {name: summary(ratios, limit) for name, ratios in found.items()}


def summary(ratios: list[list[Floats]], limit: float) -> dict[str, Any]:
    """Squares, measured ÷ predicted, by seed, quantity and layer → errors of the factors.

    per_layer: of the geometric mean over layers, what a factor per layer compounds to; worst_layer, within: of single
    layers. Standard errors are those that the seeds show; were errors nothing but noise,
    the mean square of their quotient would be (S − 1) / (S − 3).
    """
    result: dict[str, Any] = {}
    for name, of_seeds in zip(NAMES, zip(*ratios, strict=True), strict=True):
        own = np.array(of_seeds)
        seeds, depth = own.shape
        layer = np.sqrt(own.mean(axis=0)) - 1
        noise = np.sqrt(own.std(axis=0, ddof=1) ** 2 / seeds) / 2 / np.sqrt(own.mean(axis=0))
        rates = np.log(own).mean(axis=1) / 2
        result[name] = {
            "per_layer": float(np.expm1(np.log1p(layer).mean())),
            "per_layer_standard_error": float(rates.std(ddof=1) / math.sqrt(seeds)),
            "worst_layer": float(layer[np.abs(layer).argmax()]),
            "typical_standard_error_of_a_layer": float(np.median(noise)),
            "mean_square_of_error_over_standard_error": float(np.mean((layer / noise) ** 2)),
            "layers": depth,
            "layers_within": int((np.abs(layer) <= limit).sum()),
        }
    return result


def condensed(errors: dict[str, Any], limit: float) -> dict[str, Any]:
    """Over all activations and initialisations: how many combinations and layers are within the limit."""
    every = [(name, quantity, found) for name, both in errors.items() for quantity, found in both.items()]
    worst = max(every, key=lambda each: abs(each[2]["per_layer"]))
    layer = max(every, key=lambda each: abs(each[2]["worst_layer"]))
    return {
        "limit": limit,
        "per_layer_within": f"{sum(abs(each['per_layer']) <= limit for _, _, each in every)} of {len(every)}",
        "worst_per_layer": f"{worst[0]} {worst[1]} {worst[2]['per_layer']:+.4f}",
        "layers_within": f"{sum(each['layers_within'] for *_, each in every)} of {sum(e['layers'] for *_, e in every)}",
        "worst_layer": f"{layer[0]} {layer[1]} {layer[2]['worst_layer']:+.4f}",
        "mean_square_of_error_over_standard_error": round(
            float(np.mean([each["mean_square_of_error_over_standard_error"] for *_, each in every])), 3
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=30)
    parser.add_argument("--data", default="data", help="where FashionMNIST lies")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    composition.register()
    started = time.perf_counter()

    def gaussian(seed: int) -> torch.Tensor:
        return torch.randn(EXAMPLES, asked.width, generator=torch.Generator().manual_seed(1000 + seed))

    images, classes = open_data(settings_for(f"data.source.root={asked.data}").data, 0).probe(256)
    plans = {
        "gaussian": (gaussian, torch.arange(EXAMPLES) % 10, asked.width, asked.depth),
        "fashion_mnist": (lambda seed: images.flatten(1), classes, 256, 5),
    }
    report: dict[str, Any] = {"seeds": asked.seeds, "condensed": {}, "errors": {}}
    for name, (inputs, labels, width, depth) in plans.items():
        errors = measure(inputs, labels, width, depth, asked.seeds, WITHIN[name])
        own = {"width": width, "depth": depth, "examples": len(labels)}
        report["condensed"][name] = own | condensed(errors, WITHIN[name])
        report["errors"][name] = errors
        write(report | {"seconds": round(time.perf_counter() - started)} | provenance(), asked.json)


def write(report: dict[str, Any], path: Path | None) -> None:
    text = json.dumps(report, indent=1)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    print(json.dumps(report["condensed"], indent=1))


if __name__ == "__main__":
    main()
