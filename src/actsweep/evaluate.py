"""Measure any checkpoint: `python -m src.evaluate CHECKPOINT…`.

Reads this project's `.ckpt` files and the UvA tutorials' pairs of NAME.config and NAME.tar, of both editions. All are
data: tensors and plain values are read from them, an activation is built from torch.nn or this project by name, and
nothing in them is executed.
"""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from pydantic import ValidationError
from torch import Tensor

from actsweep.config.descriptions import flat, targets
from actsweep.config.schema import Data
from actsweep.data.datamodule import DataModule, open_data
from actsweep.diagnostics.gradients import grad_max_abs, grad_norm
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.units import count_over
from actsweep.errors import UserError
from actsweep.network import from_file, tutorial_pair
from actsweep.network.losses import LOSSES, Loss, outputs_for
from actsweep.network.mlp import MLP
from actsweep.places import REPOSITORY, door
from actsweep.results import run_folder

PROBE = 1024
PAIR = {".config", ".tar"}
TRAINING = {"batch_size", "replacement", "steps_per_epoch", "standardise", "source.root"}  # don't say what is measured


def load(path: Path, allowed: tuple[str, ...] = ()) -> tuple[MLP, str, str]:
    """The network in a .ckpt, or in a tutorial's pair named by either of its files, its data set's and loss's names."""
    if path.suffix in PAIR:
        return tutorial_pair.load(path.with_suffix(".config")), "fashion_mnist", "cross_entropy"
    return from_file.load_checkpoint(path, allowed)


@torch.no_grad()
def _correct(network: MLP, loss: Loss, batches: Any, labels: Tensor) -> Tensor:
    """1 or 0 for each example; of a network that has diverged NaN, as its run has no accuracy either."""
    outputs = torch.cat([network(inputs) for inputs, _ in batches])
    found = (loss.predict(outputs) == labels).double()
    return found if outputs.isfinite().all() else found.fill_(math.nan)


def measure(network: MLP, data: DataModule, loss: str = "cross_entropy") -> dict[str, Any]:
    """Accuracies as fractions, and per layer from the input: dead units on the training split, gradient norms.

    Gradients are those of the mean loss over the first 1,024 training examples.
    """
    network.eval()
    outputs_for(loss, data.dataset)
    labels, objective = data.test.labels, LOSSES[loss]
    correct = _correct(network, objective, data.test_dataloader(), labels)
    by_class = {name: correct[labels == number].mean() for number, name in enumerate(data.dataset.classes)}
    inputs, targets = data.probe(PROBE)
    layers = observe(network, lambda: objective.value(network(inputs), targets))
    counts = count_over(network, data.all_training_batches())
    gradients = [layer.gradient for layer in layers if layer.gradient is not None]
    return {
        "test_accuracy": _number(correct.mean()),
        "class_accuracy": {name: _number(accuracy) for name, accuracy in by_class.items()},
        "hidden_sizes": [layer.weight.shape[2] for layer in layers[1:]],
        "outputs": layers[-1].weight.shape[1],
        "dead_outputs": [int(counts[name]["dead_outputs"]) for name in counts],
        "dead_units": [int(each["dead_units"]) if "dead_units" in each else None for each in counts.values()],
        "grad_norm": [_number(grad_norm(each)) for each in gradients],
        "grad_max_abs": [_number(grad_max_abs(each)) for each in gradients],
    }


def _number(value: Tensor) -> float | None:
    """None for what JSON has no number for, such as the accuracy in a class without examples."""
    number = value.item()
    return number if math.isfinite(number) else None


def open_named(name: str, root: str | None = None) -> DataModule:
    """The data set of conf/data/NAME.yaml. Raises UserError if there is no such file or no such data."""
    known = described()
    if name not in known:
        raise UserError(f"data={name}: must be one of {', '.join(sorted(known))}")
    return _opened(name, known[name], root)


def described() -> dict[str, dict[str, Any]]:
    """What conf/data/ says of each data set."""
    files = (REPOSITORY / "conf" / "data").glob("*.yaml")
    return {path.stem: OmegaConf.to_container(OmegaConf.load(path), resolve=True) for path in files}  # type: ignore[misc]


def _opened(name: str, description: dict[str, Any], root: str | None) -> DataModule:
    source = description["source"]
    if root is not None:
        if "root" not in source:
            raise UserError(f"--root: data={name} lies in no folder")
        description = description | {"source": source | {"root": root}}
    return open_data(Data.model_validate(description), seed=0)


def open_trained_on(path: Path, name: str, root: str | None = None, allowed: tuple[str, ...] = ()) -> DataModule:
    """The data that a checkpoint's network was trained on, as the run.json of its run describes them; where there is
    none, what conf/data says of a data set of this name. Raises UserError for a source that is neither this project's
    nor allowed: a file doesn't say what is imported."""
    folder = path.absolute().parent.parent
    asked = run_folder.read_run(folder).get("config", {})
    if path.suffix in PAIR or flat(asked).get("names.data") != name:
        return open_named(name, root)
    known, data = described(), asked.get("data")
    named, trusted = list(targets(data)), {each["source"]["_target_"] for each in known.values()}
    if foreign := [each for each in named if each not in {*trusted, *allowed}]:
        raise UserError(
            f"{path} was trained on data of {foreign[0]}: --allow {foreign[0]} if you trust that, or --data NAME"
        )
    try:
        asked_for = Data.model_validate(data).plain()
        opened = _opened(name, asked_for | {"standardise": False}, root)  # the checkpoint knows how its inputs were
    except ValidationError as error:
        raise UserError(f"{folder / run_folder.RUN}: its data section can't be used; --data NAME stands in") from error
    usual, now = flat(known.get(name, {})), {key: value for key, value in flat(data).items() if key not in TRAINING}
    if own := [f"data.{key}={value}" for key, value in now.items() if usual.get(key) != value]:
        print(f"{path}: on the data of its run, {', '.join(own)}", file=sys.stderr)
    if asked.get("content") and asked["content"] != opened.dataset.digest[: len(asked["content"])]:
        print(f"warning: {path}: the data have changed since it was trained on them", file=sys.stderr)
    return opened


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{fraction:.2%}"


def describe(found: dict[str, Any]) -> str:
    """What was measured, for a person."""
    rows = [f"{found['checkpoint']}", f"  test accuracy {_percent(found['test_accuracy'])}"]
    rows += [f"    {_percent(accuracy):>7} {name}" for name, accuracy in found["class_accuracy"].items()]
    rows.append("  layer  units  output always 0  slope always 0  gradient norm")
    sizes = [*found["hidden_sizes"], found["outputs"]]
    for index, (size, norm) in enumerate(zip(sizes, found["grad_norm"], strict=True)):
        hidden = index < len(found["hidden_sizes"])
        silent, dead = (found["dead_outputs"][index], found["dead_units"][index]) if hidden else ("–", "–")
        dead = "–" if dead is None else dead  # units that mix have no slope of their own
        shown = "not finite" if norm is None else f"{norm:.2e}"
        rows.append(f"  {index + 1:5}  {size:5}  {silent:>15}  {dead:>14}  {shown:>13}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog=door("evaluate"), description="Measure checkpoints.")
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help=".ckpt, .config or .tar")
    parser.add_argument("--json", action="store_true", help="one JSON object a checkpoint")
    parser.add_argument("--data", help="a name from conf/data/ (default: the data it was trained on)")
    parser.add_argument("--root", help="where the data lie (default: where they lay)")
    trust = "further activation classes, and sources of data, to trust"
    parser.add_argument("--allow", nargs="*", default=[], metavar="PATH", help=trust)
    arguments = parser.parse_args()
    for path in arguments.checkpoints:
        network, trained_on, loss = load(path, tuple(arguments.allow))
        named = arguments.data and open_named(arguments.data, arguments.root)
        data = named or open_trained_on(path, trained_on, arguments.root, tuple(arguments.allow))
        if not LOSSES[loss].classifies:
            raise UserError(f"{path} is a regression: evaluate measures classifiers")
        taps, given = network.taps(), data.dataset.input_size
        expected, outputs = taps[0].linear.weight.shape[1], taps[-1].linear.weight.shape[0]
        if expected != given:
            raise UserError(f"{path} takes {expected} inputs, the data set has {given}; name another with --data")
        if outputs != (needed := outputs_for(loss, data.dataset)):
            raise UserError(f"{path} has {outputs} outputs, the data set needs {needed}; name another with --data")
        if path.suffix not in PAIR:
            data.dataset = replace(data.dataset, scale=from_file.standardised(path, data.dataset.scale))
        found = {"checkpoint": str(path)} | measure(network, data, loss)
        print(json.dumps(found) if arguments.json else describe(found), flush=True)
