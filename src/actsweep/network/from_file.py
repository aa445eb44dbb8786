"""A checkpoint of this project → its network: tensors and plain values are read, nothing in the file is executed."""

import errno
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor

from actsweep.config.schema import Section, Size
from actsweep.data.dataset import Standardised, unscaled
from actsweep.errors import UserError
from actsweep.network import activations
from actsweep.network.mlp import MLP


def tensors(path: Path) -> Any:
    """What `torch.save` wrote. Raises UserError for what can't be read safely."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise unread(path, error) from error
    except Exception as error:  # torch's, of many kinds, for the many ways in which a file can be damaged or malicious
        raise UserError(f"{path}: not a checkpoint that can be read safely ({_unsafe(error)})") from error


def _unsafe(error: Exception) -> str:
    """What torch says is wrong, without its advice to read the file all the same."""
    said = re.search(r"(Unsupported|Trying to load unsupported) .+?(?=\.? Please use|\.?$)", str(error), re.MULTILINE)
    return said[0] if said else reason(error).partition(". In PyTorch")[0]


def unread(path: Path, error: OSError) -> UserError:
    known = {errno.ENOENT: "no such file", errno.EINVAL: "it is cut short"}
    return UserError(f"{path}: {known.get(error.errno or 0) or error.strerror or error}")


def reason(error: Exception) -> str:
    """In one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class Network(Section):
    """What a checkpoint says of its network: the arguments of MLP."""

    model_config = ConfigDict(strict=True, extra="allow")
    input_size: Size
    hidden_sizes: Annotated[list[Size], Field(max_length=10_000)]
    output_size: Size
    act: dict[str, Any]
    norm: Literal["none", "batch", "layer"] = "none"


class Described(Section):
    """What is needed of a checkpoint's hyper-parameters, among others."""

    model_config = ConfigDict(strict=True, extra="ignore")
    network: Network
    data: str
    loss: Literal["cross_entropy", "bce", "mse"]
    standardised: dict[Literal["shift", "factor"], Any] | None = None


def standardised(path: Path, scale: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The scale of the inputs that a checkpoint's network was trained on, for data with this scale."""
    found = tensors(path)["hyper_parameters"].get("standardised")
    return scale if found is None else Standardised(unscaled(scale), found["shift"], found["factor"])


def filled(arguments: dict[str, Any], state: Any, path: Path) -> MLP:
    """The network with these weights, tried once. It is built without memory: a description may claim any size. Only
    what `--allow` lets it name has some from the start."""
    try:
        with torch.device("meta"):
            network = MLP(**arguments)
        network.load_state_dict(state, assign=True)
        activations.cast(network, network.taps()[0].linear.weight.dtype)
        network.eval()(torch.zeros(2, arguments["input_size"]))
    except UserError:
        raise
    except Exception as error:  # an activation may raise anything
        raise UserError(f"{path}: its weights don't fit the network that it describes") from error
    return network


def load_checkpoint(path: Path, allowed: tuple[str, ...] = ()) -> tuple[MLP, str, str]:
    """The network in one of this project's checkpoints, its data set's name and its loss's. Raises UserError for
    anything else.

    `allowed`: dotted paths of activation classes outside torch.nn and this project that may be imported.
    """
    checkpoint = tensors(path)
    try:
        described = Described.model_validate(checkpoint["hyper_parameters"])
        state = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(f"{path}: not a checkpoint of this project ({wrong})") from error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a checkpoint of this project ({error} is missing or of another kind)") from error
    if (by := described.standardised) is not None:
        shapes = [getattr(each, "shape", None) for each in by.values()]
        if shapes != [(described.network.input_size,)] * 2:
            raise UserError(f"{path}: its standardisation doesn't fit the network that it describes")
    activations.refuse_foreign(described.network.act, allowed)
    return filled(described.network.plain(), state, path), described.data, described.loss
