"""The UvA tutorials' NAME.config (JSON) and NAME.tar → network: the PyTorch edition's pairs and the JAX edition's.

Both files are data, and nothing in them is executed. The PyTorch edition's NAME.tar is a `torch.save`d state dict; the
JAX edition's a pickle of a Flax FrozenDict of NumPy arrays, `params/Dense_0…/{kernel (in, out), bias}`, float32.
"""

import io
import json
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actsweep.errors import UserError
from actsweep.network.from_file import filled, reason, tensors, unread
from actsweep.network.mlp import MLP

PLAIN_ACTIVATIONS: dict[str, dict[str, Any]] = {  # the tutorials' class names
    "sigmoid": {"_target_": "torch.nn.Sigmoid"},
    "tanh": {"_target_": "torch.nn.Tanh"},
    "relu": {"_target_": "torch.nn.ReLU"},
    "leakyrelu": {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.1},
    "elu": {"_target_": "torch.nn.ELU"},
    "swish": {"_target_": "torch.nn.SiLU"},
}
LARGEST_SIZE, MOST_SIZES = 1_000_000, 10_000


def load(config_path: Path) -> MLP:
    """The network in a tutorial's NAME.config and NAME.tar. Raises UserError where they don't fit the format."""
    tar = config_path.with_suffix(".tar")
    try:
        described = json.loads(config_path.read_text(encoding="utf-8"))
        activation = _activation(described["act_fn"])
        inputs = [int(described["input_size"])] if "input_size" in described else []  # the JAX edition leaves it out
        sizes = [*map(int, described["hidden_sizes"]), int(described["num_classes"])]
        if min(inputs + sizes) < 1 or max(inputs + sizes) > LARGEST_SIZE or len(sizes) > MOST_SIZES:
            raise ValueError(f"{len(sizes)} layers of {min(inputs + sizes)} to {max(inputs + sizes)} units")
    except OSError as error:
        raise unread(config_path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{config_path}: not a tutorial's .config ({type(error).__name__}: {error})") from error
    state = tensors(tar) if inputs else _from_flax(tar)
    (width,) = inputs or [state["layers.0.weight"].shape[1]]
    arguments = {"input_size": width, "hidden_sizes": sizes[:-1], "output_size": sizes[-1], "act": activation}
    return filled(arguments, state, tar)


def _activation(act: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(PLAIN_ACTIVATIONS[str(act["name"]).lower()])
    if "alpha" in act and "negative_slope" in found:
        found["negative_slope"] = float(act["alpha"])
    return found


def _from_flax(path: Path) -> dict[str, Tensor]:
    """The state dict of our network with the weights of a pickled Flax module of Dense layers."""
    try:
        layers = _unpickled(path.read_bytes())["params"]
        state = {}
        for number, name in enumerate(sorted(layers, key=_place)):
            if number != _place(name):
                raise ValueError(f"no Dense_{number}")
            # Linear layers and activations take turns in ours.
            state[f"layers.{2 * number}.weight"] = layers[name]["kernel"].tensor(dimensions=2).T.contiguous()
            state[f"layers.{2 * number}.bias"] = layers[name]["bias"].tensor(dimensions=1)
        return state if state else _refuse("no layers")
    except OSError as error:
        raise unread(path, error) from error
    except Exception as error:  # pickle's, of many kinds, for the many ways in which a file can be damaged or malicious
        raise UserError(f"{path}: not weights of the tutorial's JAX edition ({reason(error)})") from error


def _place(name: str) -> int:
    """Dense_3 → 3."""
    return int(re.fullmatch(r"Dense_(\d{1,6})", name)[1])  # type: ignore[index]


class Array:
    """What a pickle says of a NumPy array: no memory is taken for what it merely claims."""

    shape: tuple[int, ...] = ()
    content = b""
    in_columns = False

    def __setstate__(self, state: tuple[int, tuple[int, ...], "Dtype", bool, bytes]) -> None:
        _, self.shape, dtype, self.in_columns, self.content = state
        if dtype.code != "f4" or dtype.order not in "<=":
            _refuse(f"an array of {dtype.order}{dtype.code}, not of little-endian float32")
        if len(self.content) != 4 * math.prod(self.shape):
            _refuse(f"an array that claims the shape {self.shape} and holds {len(self.content)} bytes")

    def tensor(self, dimensions: int) -> Tensor:
        if len(self.shape) != dimensions or min(self.shape) < 1:
            _refuse(f"an array of shape {self.shape} where {dimensions} dimensions are expected")
        values = np.frombuffer(self.content, "<f4").reshape(self.shape, order="F" if self.in_columns else "C")
        return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


class Dtype:
    """What a pickle says of a NumPy dtype."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _refuse(reason: str) -> Any:
    raise ValueError(reason)


class Reader(pickle.Unpickler):
    """Knows four names, and stands something of its own in for each: functions, so that no class can be made here."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("flax.core.frozen_dict", "FrozenDict"): lambda content: content,
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
            ("numpy", "ndarray"): lambda *_: _refuse("an array that is called"),
            ("numpy", "dtype"): lambda code, *_: Dtype(code),
        }
        return known.get((module, name)) or _refuse(f"it names {module}.{name}")


def _unpickled(content: bytes) -> Any:
    """The value, of a pickle whose own words have been looked over: none claims more than the file holds."""
    for count, (_, argument, _) in enumerate(pickletools.genops(content)):
        if isinstance(argument, int) and not isinstance(argument, bool) and argument > max(len(content), count):
            _refuse(f"a number of {argument} in a file of {len(content)} bytes")
    return Reader(io.BytesIO(content)).load()
