"""Measure any checkpoint: `python -m src.evaluate CHECKPOINT…`.

Flow: a checkpoint, instead of training, before **diagnostics**. Reads this project's `.ckpt` files and the UvA
tutorials' pairs of NAME.config (JSON) and NAME.tar (a state dict). Both are data: tensors and plain values are read
from them, an activation is built from torch.nn or this project by name, and nothing in them is executed.
"""

import argparse
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from src import REPOSITORY, activations
from src.command_line import one_line_errors
from src.config import Data
from src.data.datamodule import DataModule, open_data
from src.diagnostics.gradients import grad_max_abs, grad_norm
from src.diagnostics.observation import observe
from src.diagnostics.units import count_over
from src.losses import LOSSES, Loss, outputs_for
from src.mlp import MLP

PROBE = 1024
PLAIN_ACTIVATIONS: dict[str, dict[str, Any]] = {  # the tutorials' class names
    "sigmoid": {"_target_": "torch.nn.Sigmoid"},
    "tanh": {"_target_": "torch.nn.Tanh"},
    "relu": {"_target_": "torch.nn.ReLU"},
    "leakyrelu": {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1},
    "elu": {"_target_": "torch.nn.ELU"},
    "swish": {"_target_": "torch.nn.SiLU"},
}


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # about old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a checkpoint that can be read safely ({reason})") from error


def _fill(arguments: dict[str, Any], state: Any, path: Path) -> MLP:
    """The network with these weights. It is built without memory of its own: a description may claim any size."""
    try:
        with torch.device("meta"):
            network = MLP(**arguments)
        network.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: its weights don't fit the network that it describes") from error
    return network


def load_checkpoint(path: Path, allowed: tuple[str, ...] = ()) -> tuple[MLP, str, str]:
    """The network in one of this project's checkpoints, its data set's name and its loss's. Raises ValueError for
    anything else.

    `allowed`: dotted paths of activation classes outside torch.nn and this project that may be imported.
    """
    checkpoint = _load(path)
    try:
        described = checkpoint["hyper_parameters"]
        arguments, data, loss = dict(described["network"]), str(described["data"]), str(described["loss"])
        state = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
        activations.refuse_foreign(arguments["act"], allowed)
        LOSSES[loss]  # a KeyError if the file names something else
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a checkpoint of this project ({error} is missing or of another kind)") from error
    return _fill(arguments, state, path), data, loss


def load_tutorial_pair(config_path: Path) -> MLP:
    """The network in a tutorial's NAME.config and NAME.tar. Raises ValueError where they don't fit the format."""
    try:
        described = json.loads(config_path.read_text(encoding="utf-8"))
        act = dict(described["act_fn"])
        activation = dict(PLAIN_ACTIVATIONS[str(act["name"]).lower()])
        if "alpha" in act and "negative_slope" in activation:
            activation["negative_slope"] = float(act["alpha"])
        sizes = [int(described["input_size"]), *map(int, described["hidden_sizes"]), int(described["num_classes"])]
        if min(sizes) < 1 or max(sizes) > 1_000_000 or len(sizes) > 10_000:
            raise ValueError(f"{len(sizes)} layer sizes up to {max(sizes)}")
    except FileNotFoundError as error:
        raise ValueError(f"{config_path}: no such file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{config_path}: not a tutorial's .config ({type(error).__name__}: {error})") from error
    state = _load(config_path.with_suffix(".tar"))
    arguments = {"input_size": sizes[0], "hidden_sizes": sizes[1:-1], "output_size": sizes[-1], "act": activation}
    return _fill(arguments, state, config_path.with_suffix(".tar"))


def load(path: Path, allowed: tuple[str, ...] = ()) -> tuple[MLP, str, str]:
    """The network in a .ckpt, or in a tutorial's pair named by either of its files, its data set's and loss's names."""
    if path.suffix in {".config", ".tar"}:
        return load_tutorial_pair(path.with_suffix(".config")), "fashion_mnist", "cross_entropy"
    return load_checkpoint(path, allowed)


@torch.no_grad()
def _predictions(network: MLP, loss: Loss, batches: Any) -> Tensor:
    return torch.cat([loss.predict(network(inputs)) for inputs, _ in batches])


def measure(network: MLP, data: DataModule, loss: str = "cross_entropy") -> dict[str, Any]:
    """Accuracies as fractions, and per layer from the input: dead units on the training split, gradient norms.

    Gradients are those of the mean loss over the first 1,024 training examples.
    """
    network.eval()
    outputs_for(loss, data.dataset)
    labels, objective = data.test.labels, LOSSES[loss]
    correct = _predictions(network, objective, data.test_dataloader()) == labels
    classes = range(len(data.dataset.classes))
    inputs, targets = data.probe(PROBE)
    layers = observe(network, lambda: objective.value(network(inputs), targets))
    counts = count_over(network, data.all_training_batches())
    return {
        "test_accuracy": correct.double().mean().item(),
        "class_accuracy": {
            data.dataset.classes[number]: correct[labels == number].double().mean().item() for number in classes
        },
        "hidden_sizes": [layer.weight.shape[2] for layer in layers[1:]],
        "dead_outputs": [int(counts[name]["dead_outputs"]) for name in counts],
        "dead_units": [int(each["dead_units"]) if "dead_units" in each else None for each in counts.values()],
        "grad_norm": [_number(grad_norm(layer.gradient)) for layer in layers],
        "grad_max_abs": [_number(grad_max_abs(layer.gradient)) for layer in layers],
    }


def _number(value: Tensor) -> float | None:
    number = value.item()
    return number if math.isfinite(number) else None


def open_named(name: str, root: str | None = None) -> DataModule:
    """The data set of conf/data/NAME.yaml. Raises ValueError if there is no such file or no such data."""
    known = sorted(path.stem for path in (REPOSITORY / "conf" / "data").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"data={name}: must be one of {', '.join(known)}")
    description = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "data" / f"{name}.yaml"), resolve=True)
    assert isinstance(description, dict)
    if root is not None and "root" in description["source"]:
        description["source"]["root"] = root
    return open_data(Data.model_validate(description), seed=0)


def describe(found: dict[str, Any]) -> str:
    """What was measured, for a person."""
    rows = [f"{found['checkpoint']}", f"  test accuracy {found['test_accuracy']:.2%}"]
    rows += [f"    {accuracy:7.2%} {name}" for name, accuracy in found["class_accuracy"].items()]
    rows.append("  layer  units  output always 0  slope always 0  gradient norm")
    sizes = [*found["hidden_sizes"], len(found["class_accuracy"])]
    for index, (size, norm) in enumerate(zip(sizes, found["grad_norm"], strict=True)):
        hidden = index < len(found["hidden_sizes"])
        silent, dead = (found["dead_outputs"][index], found["dead_units"][index]) if hidden else ("–", "–")
        dead = "–" if dead is None else dead  # units that mix have no slope of their own
        shown = "not finite" if norm is None else f"{norm:.2e}"
        rows.append(f"  {index + 1:5}  {size:5}  {silent:>15}  {dead:>14}  {shown:>13}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.evaluate", description="Measure checkpoints.")
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help=".ckpt, .config or .tar")
    parser.add_argument("--json", action="store_true", help="one JSON object a checkpoint")
    parser.add_argument("--data", help="a name from conf/data/ (default: the data set it was trained on)")
    parser.add_argument("--root", help="where FashionMNIST lies (default: as conf/data says)")
    parser.add_argument("--allow", nargs="*", default=[], metavar="PATH", help="further activation classes to trust")
    arguments = parser.parse_args()
    for path in arguments.checkpoints:
        network, trained_on, loss = load(path, tuple(arguments.allow))
        data = open_named(arguments.data or trained_on, arguments.root)
        if not LOSSES[loss].classifies:
            raise ValueError(f"{path} is a regression: evaluate measures classifiers")
        expected, given = network.taps()[0].linear.weight.shape[1], data.dataset.input_size
        if expected != given:
            raise ValueError(f"{path} takes {expected} inputs, the data set has {given}; name another with --data")
        found = {"checkpoint": str(path)} | measure(network, data, loss)
        print(json.dumps(found) if arguments.json else describe(found), flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
