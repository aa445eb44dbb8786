"""The generators that random numbers come from: the CPU's, and those of the GPUs on which tensors are."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

CPU = torch.device("cpu")
States = dict[torch.device, Tensor]


def states(of: Iterable[Tensor]) -> States:
    """What a call that is given these tensors may draw from, as it is now."""
    return {CPU: torch.get_rng_state()} | {device: torch.cuda.get_rng_state(device) for device in _gpus(of)}


def draw_from(states: States) -> None:
    """Have the same numbers drawn again."""
    for device, state in states.items():
        torch.set_rng_state(state) if device == CPU else torch.cuda.set_rng_state(state, device)


def kept(*of: Tensor) -> AbstractContextManager[None]:
    """Afterwards generators are where they were, whatever calls with these tensors draw."""
    return torch.random.fork_rng(devices=_gpus(of))


def _gpus(of: Iterable[Tensor]) -> list[torch.device]:
    return [device for device in {each.device for each in of} if device.type == "cuda"]
