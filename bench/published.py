"""docs/published.md: every number that others published and that this project recomputes, theirs beside ours.

What takes seconds is computed; the rest is read from bench/results, where the benches leave it.

    python -m bench.published

Writes docs/published.md, against which tests/test_published.py holds every row.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pandas as pd
import torch
from scipy.optimize import brentq  # type: ignore[import-untyped]
from torch import nn

from actsweep import composition, one_run
from actsweep.config.schema import Settings
from actsweep.data.datamodule import DataModule, open_data
from actsweep.diagnostics.gradients import grad_max_abs, grad_norm
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.units import count_over
from actsweep.network import activations
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.places import REPOSITORY
from actsweep.report.figures import dead_units, published_accuracy
from actsweep.results import run_folder
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import MeanField, layers, limit
from bench import spiral
from tests.theory.test_published_theory import DEPTH_SCALES, ON_THE_EDGE

PAGE, RESULTS = REPOSITORY / "docs/published.md", REPOSITORY / "bench/results"
GRADIENTS = {  # UvA Tutorial 3's network, seed 42, first 256 training images: norm and largest magnitude by layer
    "sigmoid": ([1.54e-3, 4.39e-3, 2.15e-2, 1.56e-1, 8.38e-1], [1.4e-5, 5.7e-5, 3.8e-4, 2.9e-3, 7.8e-2]),
    "tanh": ([3.01e-1, 2.33e-1, 1.65e-1, 1.70e-1, 1.24e-1], [3.0e-3, 5.9e-3, 3.8e-3, 5.7e-3, 1.5e-2]),
    "relu": ([9.49e-2, 7.11e-2, 4.87e-2, 4.78e-2, 3.57e-2], [1.1e-3, 2.5e-3, 2.7e-3, 4.7e-3, 4.7e-3]),
    "swish": ([2.79e-2, 2.07e-2, 1.41e-2, 1.55e-2, 1.80e-2], [4.1e-4, 8.8e-4, 4.5e-4, 5.5e-4, 1.9e-3]),
}
SHRINKAGE = {"sigmoid": 0.141, "tanh": 0.576, "relu": 0.408, "leakyrelu": 0.41, "elu": 0.568, "swish": 0.289}  # √χ₁
MEASURED = {"tanh": 0.568, "relu": 0.402, "leakyrelu": 0.405, "elu": 0.560}
UVA, JAX = "UvA Tutorial 3, PyTorch edition", "UvA Tutorial 3, JAX edition"
SCHOENHOLZ, HANIN, PAPER = "Schoenholz et al. 2017", "Hanin & Nica 2020", "Fashion-MNIST paper, Table 3"
HAYOU = "Hayou, Doucet & Rousseau 2019, points evaluated by independent quadrature"
WHERE = {
    UVA: "https://uvadlc-notebooks.readthedocs.io, the notebook in PyTorch",
    JAX: "https://uvadlc-notebooks.readthedocs.io, the notebook in JAX",
    SCHOENHOLZ: "Deep information propagation, arXiv:1611.01232",
    HAYOU: "On the impact of the activation function on deep neural networks training, arXiv:1902.06853",
    HANIN: "Products of many large random matrices and gradients in deep neural networks, arXiv:1812.05994",
    PAPER: "arXiv:1708.07747, MLPClassifier; no hidden layer: LogisticRegression, l2 (l1: 84.2)",
}
OTHER_NUMBERS = "no: drawn by another generator"


@dataclass(frozen=True)
class Row:
    """A published number, or several of one kind. `agrees` begins with yes or no."""

    source: str
    what: str
    command: str
    theirs: str
    ours: str
    agrees: str

    @property
    def line(self) -> str:
        return f"| {self.what} | {self.theirs} | {self.ours} | {self.agrees} | {self.command} |"


def numbers(values: Iterable[float], form: str) -> str:
    return ", ".join(f"{value:{form}}" for value in values)


def digits(theirs: Sequence[float], ours: Sequence[float], form: str) -> tuple[str, str, str]:
    """Both as they are printed, and whether all that is printed is the same."""
    printed = numbers(theirs, form), numbers(ours, form)
    return *printed, "yes, every digit" if printed[0] == printed[1] else "no"


@cache
def tutorial(*overrides: str) -> tuple[Settings, Classifier, DataModule]:
    """The tutorial's untrained network of seed 42 and its images."""
    settings = composition.read(composition.composed(["seed=42", *overrides]))
    data = open_data(settings.data, 42)
    return settings, build_network(settings, data.dataset.input_size, 10), data


def silent_units(model: str, study: str) -> list[Row]:
    settings, network, data = tutorial(f"model={model}", "act=relu")
    ours = [int(count["dead_outputs"]) for count in count_over(network, data.all_training_batches()).values()]
    theirs, other = dead_units.PUBLISHED[tuple(settings.layer_sizes), "untrained"]
    what = f"ReLU units whose output is 0 on all training images, {len(ours)} hidden layers, untrained"
    command = f"`python -m src.train +sweeps={study}`"
    found = digits(theirs, ours, "d")
    return [
        Row(UVA, what + ", seed 42", command, *found),
        Row(JAX, what, command, numbers(other, "d"), found[1], OTHER_NUMBERS),
    ]


def gradients_of(network: Classifier, data: DataModule) -> list[torch.Tensor]:
    """Of each layer's weights, on the first 256 training images."""
    batch = data.probe(256)
    seen = observe(network, lambda: network.loss(batch))
    return [layer.gradient for layer in seen if layer.gradient is not None]


def gradients(act: str) -> list[Row]:
    _, network, data = tutorial(f"act={act}")
    seen, command = gradients_of(network, data), "`python -m src.train +sweeps=blog`"
    norms, largest = ([measure(each).item() for each in seen] for measure in (grad_norm, grad_max_abs))
    what = f"weight gradients of untrained {act}, layer 1 to 5, seed 42"
    rows = [
        Row(UVA, f"norms of {what}", command, *digits(GRADIENTS[act][0], norms, ".2e")),
        Row(UVA, f"largest magnitudes of {what}", command, *digits(GRADIENTS[act][1], largest, ".1e")),
    ]
    if act == "sigmoid":
        agrees = "yes, in order of magnitude" if 0.03 < largest[-1] < 0.3 and 3e-6 < largest[0] < 3e-5 else "no"
        ours = numbers([largest[-1], largest[0]], ".1e")
        where = "largest gradients of untrained sigmoid, last and first layer"
        rows.append(Row("Blog post on vanishing gradients", where, command, "up to 0.1, near 1e-5", ours, agrees))
    return rows


def shrinkage() -> list[Row]:
    ours = []
    for act in SHRINKAGE:
        phi = Function(activations.build(composition.composed([f"act={act}"]).act))
        ours.append(math.sqrt(limit(MeanField(phi, 1 / 3, 1 / (3 * 256))).chi))
    found = digits([*SHRINKAGE.values()], ours, ".3f")
    what = f"√χ₁ at torch's initialisation, width 256: {', '.join(SHRINKAGE)}"
    command = "`python -m src.theory act=tanh init=default`"
    return [Row(SCHOENHOLZ, what, command, *found)]


def fifty_layers() -> list[Row]:
    """From the middle of the network: at the ends, few images and ten outputs have a say."""
    ours = []
    for act in MEASURED:
        _, network, data = tutorial(f"act={act}", "depth=50")
        norms = [grad_norm(each).item() for each in gradients_of(network, data)]
        ours.append((norms[10] / norms[40]) ** (1 / 30))
    found = digits([*MEASURED.values()], ours, ".3f")
    what = f"factor of the gradient per layer, measured in 50 untrained layers of 256: {', '.join(MEASURED)}"
    command = "`python -m src.train act=tanh depth=50 untrained=true`"
    return [Row(SCHOENHOLZ, what, command, *found)]


def within(theirs: float, ours: float, most: float) -> str:
    """Relatively."""
    off = abs(ours / theirs - 1)
    return f"{'yes' if off <= most else 'no'}, within {math.ceil(1e4 * off) / 100:g} %"


def depth_scales() -> list[Row]:
    tanh = Function(nn.Tanh())
    ours = [limit(MeanField(tanh, variance, 0.05)).correlation_scale for variance in DEPTH_SCALES]
    worst = max(abs(one / other - 1) for one, other in zip(ours, DEPTH_SCALES.values(), strict=True))
    edge = brentq(lambda variance: limit(MeanField(tanh, variance, 0.05)).chi - 1, 1.5, 2.0, xtol=1e-8)
    source = "ghliu/mean-field-fcdnn, of Schoenholz et al. 2017"
    command = "`python -m src.theory act=tanh init=variance init.bias_variance=0.05`"
    what = f"ξ_c of tanh, σ_b² = 0.05, σ_w² = {numbers(DEPTH_SCALES, '.6g')}"
    where, found = "critical σ_w² of tanh, σ_b² = 0.05", digits([1.76], [edge], ".2f")
    scales = numbers(DEPTH_SCALES.values(), ".5g"), numbers(ours, ".5g"), within(1, 1 + worst, 0.002)
    return [
        Row(source, what, command, *scales),
        Row(source, where, command, "1.7604", f"{edge:.4f}", within(1.7604, edge, 5e-4)),
        Row(SCHOENHOLZ, where, command, *found),
    ]


def edges() -> list[Row]:
    rows = []
    for act, bias, weight, chi, q in ON_THE_EDGE:
        found = limit(MeanField(Function(act), weight**2, bias**2))
        name = type(act).__name__
        what = f"{name} at σ_b = {bias:g}, σ_w = {weight:.4g}, on the edge of chaos to their rounding: χ₁"
        command = f"`python -m src.theory act=torch.nn.{name} init=variance`"
        rows.append(Row(HAYOU, what, command, *digits([chi], [found.chi], ".4f")))
        if q is not None:
            rows.append(Row(HAYOU, what.replace("χ₁", "q*"), command, *digits([q], [found.q], ".3f")))
    return rows


def spread() -> list[Row]:
    variances, widths = [2.0] * 21, [64] * 21
    beta = float(layers(Function(nn.ReLU()), 1.0, variances, [0.0] * 21, widths).log_variances[0])
    found = digits([1.5625], [beta], ".4f")
    what = "β, the variance of ln ‖J u‖² of a critical ReLU network, 20 layers of 64"
    return [Row(HANIN, what, "`python -m src.theory init=kaiming`", *found)]


def slopes() -> list[Row]:
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64, requires_grad=True)
    steepest = [float(torch.autograd.grad(f(z).sum(), z)[0].max()) for f in (torch.sigmoid, torch.tanh)]
    found = digits([0.25, 1.0], steepest, "g")
    command = "`python -m src.train act=sigmoid diagnostics=[curve]`"
    return [Row("Course notes 05", "largest slope of sigmoid, tanh", command, *found)]


def iris() -> list[Row]:
    own = ["+sweeps=iris", "act=tanh", "seed=0", "trainer=cpu", "trainer.enable_progress_bar=false", "figures=[]"]
    with tempfile.TemporaryDirectory() as folder:
        one_run.train(composition.read(composition.composed(own)), Path(folder))
        accuracy = 100 * float(pd.read_csv(Path(folder, run_folder.EPOCHS))["val_accuracy"].iloc[-1])
    what = "training accuracy in % after 100 steps, ten tanh units, seed 0"
    found = digits([100], [accuracy], ".0f")
    return [Row("deep.TEACHING", what, "`python -m src.train +sweeps=iris`", *found)]


def notebook() -> list[Row]:
    """Read: bench/spiral.py takes minutes; tests/test_spiral.py makes 6,000 of the 100,000 steps."""
    stored = json.loads((RESULTS / "spiral-busy.json").read_text())
    missed, printed = stored["from_published"], spiral.published()
    what = f"{2 * len(printed)} losses, sigmoid and ReLU net, iteration 0 to {printed['iteration'].iloc[-1]:,}"
    agrees = "yes, every digit" if missed <= spiral.HALF_A_DIGIT else "no"
    ends = [f"{printed[act].iloc[0]:.6f} … {printed[act].iloc[-1]:.6f}" for act in spiral.USED_BEFORE]
    command = "`python -m src.train +sweeps=spiral`, `bench/spiral.py`"
    rows = [Row("CS231n notebook", what, command, "; ".join(ends), f"at most {missed:.1g} away", agrees)]
    for act, theirs in (("sigmoid", 0.97), ("relu", 0.99)):
        found = digits([theirs], [stored["accuracy"][act]], ".2f")
        rows.append(Row("CS231n notebook", f"training accuracy of the {act} net", command, *found))
    return rows


def fashion_paper() -> list[Row]:
    """Read: bench/fashion_paper.py trains 100 networks here and 90 in scikit-learn."""
    stored = json.loads((RESULTS / "fashion_paper.json").read_text())
    rows = []
    for cell in stored["rows"]:
        own, same = cell["actsweep"], cell["equivalence"]
        ours = f"{own['value']:.2f} [{own['low']:.2f}, {own['high']:.2f}], n = {own['n']}"
        theirs = f"scikit-learn {stored['version']} itself {cell['scikit-learn']['value']:.2f}"
        shown = "equivalent to ours" if same["is_shown"] else "equivalence not shown"
        agrees = f"{'yes' if cell['inside'] else 'no'}; {theirs}, {shown}"
        what, command = f"test accuracy in %, {cell['cell']}", "`python -m src.train +sweeps=fashion_paper`"
        rows.append(Row(PAPER, what, command, f"{cell['published']:.1f}", ours, agrees))
    return rows


def accuracies() -> list[Row]:
    """Read: `+sweeps=tutorial3` takes over an hour. Without its numbers the means of three seeds in equal.md stand."""
    lines = [line.split("|") for line in (RESULTS / "equal.md").read_text().splitlines() if ", depth 4" in line]
    means = {cells[1].partition(",")[0].strip(): 100 * float(cells[3]) for cells in lines}
    rows = []
    for edition, theirs in published_accuracy.PUBLISHED.items():
        for act, accuracy in theirs.items():
            what, command = f"test accuracy in %, {act}", "`python -m src.train +sweeps=tutorial3`"
            ours = f"{means[act]:.2f}, mean of seeds 0 to 2"
            agrees = f"not judged: {accuracy - means[act]:+.2f} points, no interval is stored"
            source = UVA if edition.startswith("PyTorch") else JAX
            rows.append(Row(source, what, command, f"{accuracy:.2f}", ours, agrees))
    return rows


QUICK: list[Callable[[], list[Row]]] = [
    *(partial(silent_units, "tutorial", "tutorial3"), partial(silent_units, "deep10", "tutorial3_deep")),
    *(partial(gradients, act) for act in GRADIENTS),
    *(slopes, iris, shrinkage, fifty_layers, depth_scales, edges, spread),
]
STORED: list[Callable[[], list[Row]]] = [accuracies, notebook, fashion_paper]


def page(rows: Sequence[Row]) -> str:
    """Markdown, a table for each source."""
    parts = [HEAD]
    heads = "what", "published", "actsweep", "agrees", "command"
    for source in dict.fromkeys(row.source for row in rows):
        lines = [row.line for row in rows if row.source == source]
        where = [f"{WHERE[source]}.\n"] if source in WHERE else []
        parts.append("\n".join([f"## {source}\n", *where, f"| {' | '.join(heads)} |", "|---" * 5 + "|", *lines]))
    return "\n\n".join(parts) + "\n"


HEAD = """# Published numbers, theirs and ours

Written by `python -m bench.published`. Rows that take seconds are computed; `tests/test_published.py` computes them
again and compares each with its line here. The others are read from [what the benches left](../bench/results).
Brackets hold where one more repeat falls with 95 % probability (Student's prediction interval) over n seeds.
`agrees` is yes where the published number lies in it, or has the same digits. Who has the files that the two editions
of the tutorial offer gets their accuracies from `python -m src.evaluate NAME.config`, exactly."""


def main() -> None:
    composition.register()
    PAGE.write_text(page([row for make in (*QUICK, *STORED) for row in make()]))


if __name__ == "__main__":
    main()
