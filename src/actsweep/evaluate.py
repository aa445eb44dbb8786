"""Measure any checkpoint: `python -m src.evaluate CHECKPOINT…`.

Reads this project's `.ckpt` files and the UvA tutorials' pairs of NAME.config (JSON) and NAME.tar (a state dict). Both
are data: tensors and plain values are read from them, an activation is built from torch.nn or this project by name, and
nothing in them is executed.
"""

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from omegaconf import OmegaConf
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor

from actsweep.config.schema import Data, Section, Size
from actsweep.data.datamodule import DataModule, open_data
from actsweep.diagnostics.gradients import grad_max_abs, grad_norm
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.units import count_over
from actsweep.errors import UserError
from actsweep.network import activations
from actsweep.network.losses import LOSSES, Loss, outputs_for
from actsweep.network.mlp import MLP
from actsweep.places import REPOSITORY, door

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
    except OSError as error:
        raise _unread(path, error) from error
    except Exception as error:  # torch's, of many kinds, for the many ways in which a file can be damaged or malicious
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a checkpoint that can be read safely ({reason})") from error


def _unread(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror or error}")


class Network(Section):
    """What a checkpoint says of its network: the arguments of MLP."""

    model_config = ConfigDict(strict=True, extra="allow")
    input_size: Size
    hidden_sizes: Annotated[list[Size], Field(max_length=10_000)]
    output_size: Size
    act: dict[str, Any]
    norm: Literal["none", "batch", "layer"] = "none"


class Described(Section):
    """What evaluate needs of a checkpoint's hyper-parameters, among others."""

    model_config = ConfigDict(strict=True, extra="ignore")
    network: Network
    data: str
    loss: Literal["cross_entropy", "bce", "mse"]


def _fill(arguments: dict[str, Any], state: Any, path: Path) -> MLP:
    """The network with these weights, tried once. It is built without memory: a description may claim any size."""
    try:
        with torch.device("meta"):
            network = MLP(**arguments)
        network.load_state_dict(state, assign=True)
        network.eval()(torch.zeros(2, arguments["input_size"]))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its weights don't fit the network that it describes") from error
    return network


def load_checkpoint(path: Path, allowed: tuple[str, ...] = ()) -> tuple[MLP, str, str]:
    """The network in one of this project's checkpoints, its data set's name and its loss's. Raises UserError for
    anything else.

    `allowed`: dotted paths of activation classes outside torch.nn and this project that may be imported.
    """
    checkpoint = _load(path)
    try:
        described = Described.model_validate(checkpoint["hyper_parameters"])
        state = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(f"{path}: not a checkpoint of this project ({wrong})") from error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a checkpoint of this project ({error} is missing or of another kind)") from error
    activations.refuse_foreign(described.network.act, allowed)
    return _fill(described.network.plain(), state, path), described.data, described.loss


def load_tutorial_pair(config_path: Path) -> MLP:
    """The network in a tutorial's NAME.config and NAME.tar. Raises UserError where they don't fit the format."""
    try:
        described = json.loads(config_path.read_text(encoding="utf-8"))
        act = dict(described["act_fn"])
        activation = dict(PLAIN_ACTIVATIONS[str(act["name"]).lower()])
        if "alpha" in act and "negative_slope" in activation:
            activation["negative_slope"] = float(act["alpha"])
        sizes = [int(described["input_size"]), *map(int, described["hidden_sizes"]), int(described["num_classes"])]
        if min(sizes) < 1 or max(sizes) > 1_000_000 or len(sizes) > 10_000:
            raise UserError(f"{len(sizes)} layer sizes up to {max(sizes)}")
    except OSError as error:
        raise _unread(config_path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{config_path}: not a tutorial's .config ({type(error).__name__}: {error})") from error
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
        "test_accuracy": _number(correct.double().mean()),
        "class_accuracy": {
            data.dataset.classes[number]: _number(correct[labels == number].double().mean()) for number in classes
        },
        "hidden_sizes": [layer.weight.shape[2] for layer in layers[1:]],
        "dead_outputs": [int(counts[name]["dead_outputs"]) for name in counts],
        "dead_units": [int(each["dead_units"]) if "dead_units" in each else None for each in counts.values()],
        "grad_norm": [_number(grad_norm(layer.gradient)) for layer in layers],
        "grad_max_abs": [_number(grad_max_abs(layer.gradient)) for layer in layers],
    }


def _number(value: Tensor) -> float | None:
    """None for what JSON has no number for, such as the accuracy in a class without examples."""
    number = value.item()
    return number if math.isfinite(number) else None


def open_named(name: str, root: str | None = None) -> DataModule:
    """The data set of conf/data/NAME.yaml. Raises UserError if there is no such file or no such data."""
    known = sorted(path.stem for path in (REPOSITORY / "conf" / "data").glob("*.yaml"))
    if name not in known:
        raise UserError(f"data={name}: must be one of {', '.join(known)}")
    description = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "conf" / "data" / f"{name}.yaml"), resolve=True)
    assert isinstance(description, dict)
    if root is not None and "root" in description["source"]:
        description["source"]["root"] = root
    return open_data(Data.model_validate(description), seed=0)


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{fraction:.2%}"


def describe(found: dict[str, Any]) -> str:
    """What was measured, for a person."""
    rows = [f"{found['checkpoint']}", f"  test accuracy {_percent(found['test_accuracy'])}"]
    rows += [f"    {_percent(accuracy):>7} {name}" for name, accuracy in found["class_accuracy"].items()]
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
    parser = argparse.ArgumentParser(prog=door("evaluate"), description="Measure checkpoints.")
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
            raise UserError(f"{path} is a regression: evaluate measures classifiers")
        taps, given = network.taps(), data.dataset.input_size
        expected, outputs = taps[0].linear.weight.shape[1], taps[-1].linear.weight.shape[0]
        if expected != given:
            raise UserError(f"{path} takes {expected} inputs, the data set has {given}; name another with --data")
        if outputs != (needed := outputs_for(loss, data.dataset)):
            raise UserError(f"{path} has {outputs} outputs, the data set needs {needed}; name another with --data")
        found = {"checkpoint": str(path)} | measure(network, data, loss)
        print(json.dumps(found) if arguments.json else describe(found), flush=True)
