"""Which jobs may share a stack, and how many at a time.

Flow: config → **grouping** → training.
"""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from src import activations, config
from src.population import member, network, optimisers

PRECISIONS = {"32", "32-true", "64", "64-true", "bf16-mixed"}
MAY_DIFFER = ("seed", "names", "act", "init", "figures", "report")
OF_THE_OPTIMISER = ("lr", "momentum", "weight_decay")
SHARE_OF_MEMORY = 0.7


def reason_against(settings: config.Settings) -> str | None:
    """Why a job can't be part of any stack; None if it can."""
    trainer = settings.trainer
    if settings.untrained:
        return "untrained=true: nothing to train"
    if trainer.model_extra:
        return f"trainer.{next(iter(trainer.model_extra))} is not known to the stack"
    if trainer.accelerator not in {"auto", "cpu", "gpu", "cuda"}:
        return f"trainer.accelerator={trainer.accelerator} is not known to the stack"
    if trainer.devices != 1:
        return f"trainer.devices={trainer.devices}: a stack trains on one device"
    if str(trainer.precision) not in PRECISIONS:
        return f"trainer.precision={trainer.precision} is not known to the stack"
    return (
        network.unsupported(settings.act.plain(), settings.norm)
        or optimisers.unsupported(settings.optim.plain())
        or member.unsupported(settings.diagnostics)
    )


def signature(settings: config.Settings) -> str:
    """Equal for jobs that may share a stack: all that is configured, but for what each member has for itself."""
    shared = {name: part for name, part in settings.plain().items() if name not in MAY_DIFFER}
    shared["optim"] = {name: value for name, value in shared["optim"].items() if name not in OF_THE_OPTIMISER}
    shared["inputs per unit"] = getattr(activations.build(settings.act.plain()), "pieces", 1)
    return json.dumps(shared, sort_keys=True, default=str)


def device_for(settings: config.Settings, devices: Sequence[int] | None) -> torch.device:
    """Where a stack with these settings trains."""
    if settings.trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", devices[0] if devices else 0)


def free_bytes(device: torch.device) -> int:
    """What can be allocated now: on a GPU, or in main memory, where the kernel's file cache gives way."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def most_members(weights: int, units: int, inputs: int, batch: int, device: torch.device) -> int:
    """How many networks fit into the device's free memory, at least one: an estimate, which out-of-memory corrects.

    Per member: weights, gradients, two optimiser states, the best epoch's weights and one temporary; a training batch
    and its activations, and 2,048 validation or probe examples, each a few times over. 4 bytes a number.
    """
    bytes_each = 4 * (6 * weights + batch * (inputs + 4 * units) + 2048 * 8 * units)
    return max(1, int(SHARE_OF_MEMORY * free_bytes(device) / bytes_each))


def cap(settings: config.Settings, inputs: int, outputs: int, examples: int, device: torch.device) -> int:
    """`most_members` of these settings' network on data of this many inputs, outputs and training examples."""
    sizes = [inputs, *settings.layer_sizes, outputs]
    weights = sum(a * b for a, b in pairwise(sizes))
    batch = examples if settings.data.batch_size == "all" else settings.data.batch_size
    return most_members(weights, sum(sizes[1:]), inputs, batch, device)
