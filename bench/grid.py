"""What the contenders of bench/sweep.py train: six activations, as many seeds as it takes, on one of the data sets."""

import time
from collections.abc import Callable, Sequence

import torch

from actsweep import composition
from actsweep.config import schema
from actsweep.data import datamodule

ACTS = ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
Contender = Callable[[], float]  # → member-epochs per second


def settings_for(*overrides: str) -> schema.Settings:
    return composition.read(composition.composed(list(overrides)))


def grid(members: int, overrides: Sequence[str]) -> list[schema.Settings]:
    """Six activations, and as many seeds as it takes."""
    one = {act: settings_for(*overrides, "patience=null", f"act={act}") for act in ACTS[:members]}
    return [one[ACTS[place % len(one)]].model_copy(update={"seed": place // len(one)}) for place in range(members)]


def sizes_of(data: datamodule.DataModule) -> tuple[int, int]:
    return data.dataset.input_size, len(data.dataset.classes)


def now(device: torch.device) -> float:
    """Seconds, when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
