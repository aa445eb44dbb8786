"""Which jobs may share a stack, how many fit into memory, and about how long they take."""

import json
import os
import resource
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from actsweep.config import schema
from actsweep.data import datamodule
from actsweep.network import activations
from actsweep.network.losses import outputs_for
from actsweep.training.stack import activating, member, steps

PRECISIONS = {"32", "32-true", "64", "64-true", "bf16-mixed"}
MAY_DIFFER = ("seed", "names", "act", "init", "figures", "report")
OF_THE_OPTIMISER = ("lr", "momentum", "weight_decay", "l2")
SHARE_OF_MEMORY = 0.7
PROCESS_BYTES = 1_000_000_000  # Python, torch, Lightning and a data set take 0.5 GB that no other process shares
FILES, FILES_OF_A_MEMBER = 256, 3  # open: by Python and its libraries; a lock, events, one that is being written
# What takes time on two cores of an AMD EPYC, roughly: of a stack's member in an epoch, of a single run, of a step, of
# a multiply-add.
MEMBER_SECONDS, SINGLE_SECONDS, STEP_SECONDS, PRODUCT_SECONDS = 0.01, 0.06, 0.002, 2e-11
# Members of a stack on a CPU, and units of all of them, after which a step of more is no faster for each: it leaves the
# cache.
ENOUGH_MEMBERS, ENOUGH_UNITS = 16, 6000
PRODUCTS = 3  # of each weight and example: forward, and backward to the weights and to the inputs


def reason_against(settings: schema.Settings) -> str | None:
    """Why a job can't be part of any stack; None if it can."""
    if settings.atlas:
        return "atlas: each function at an initialisation has stacks of its own"
    return (
        reason_against_training(settings)
        or activating.unsupported(settings.act.plain())
        or member.unsupported(settings.diagnostics)
    )


def reason_against_training(settings: schema.Settings) -> str | None:
    """Why no stack can train so, whatever the activation; None if one can."""
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
    return steps.unsupported(settings.optim.plain())


def signature(settings: schema.Settings) -> str:
    """Equal for jobs that may share a stack: all that is configured, but for what each member has for itself."""
    shared = {name: part for name, part in settings.plain().items() if name not in MAY_DIFFER}
    shared["optim"] = {name: value for name, value in shared["optim"].items() if name not in OF_THE_OPTIMISER}
    if not settings.atlas:  # which has functions that can't be built
        activation = activations.build(settings.act.plain())
        shared["inputs"] = [activations.inputs_for(activation, units) for units in sorted(set(settings.layer_sizes))]
    return json.dumps(shared, sort_keys=True, default=str)


def device_for(settings: schema.Settings) -> torch.device:
    """Where a run or a stack with these settings trains: on the first GPU that this process sees, if it may."""
    is_on_cpu = settings.trainer.accelerator == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu") if is_on_cpu else torch.device("cuda", 0)


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
    """How many networks fit into the device's free memory, and their files into the limit of open ones, at least one:
    an estimate, which out-of-memory corrects.

    Per member: weights, gradients, two optimiser states, the best epoch's weights and one temporary; a training batch
    and its activations, and 2,048 validation or probe examples, each a few times over. 4 bytes a number.
    """
    bytes_each = 4 * (6 * weights + batch * (inputs + 4 * units) + 2048 * 8 * units)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most_open = sys.maxsize if hard == resource.RLIM_INFINITY else (hard - FILES) // FILES_OF_A_MEMBER
    return max(1, min(int(SHARE_OF_MEMORY * free_bytes(device) / bytes_each), most_open))


def allow_open_files(members: int) -> None:
    """Raise this process's own limit of open files, as far as the system lets it, to what so many members need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + members * FILES_OF_A_MEMBER
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_processes() -> int:
    """How many processes that train fit into memory."""
    return int(SHARE_OF_MEMORY * free_bytes(torch.device("cpu")) / PROCESS_BYTES)


@dataclass(frozen=True)
class Shape:
    """Of runs that may share a stack: where it would train, how many fit into memory, about what it takes."""

    settings: schema.Settings
    device: torch.device
    most: int
    weights: int
    steps: int  # of an epoch
    examples: int  # of a step
    units: int

    def fitting(self, processes: int) -> int:
        """How many members a stack may have where so many processes share a CPU's memory."""
        enough = max(ENOUGH_MEMBERS, ENOUGH_UNITS // self.units)
        return self.most if self.device.type == "cuda" else max(1, min(self.most // processes, enough))

    def seconds(self, members: float, epochs: int = 0) -> float:
        """About what a stack of so many takes for the epochs that are left after these, if none of them ends early; of
        one, a single run."""
        per_step = STEP_SECONDS + members * PRODUCT_SECONDS * PRODUCTS * self.weights * self.examples
        left = 0 if self.settings.untrained else self.settings.trainer.max_epochs - epochs
        return left * ((members * MEMBER_SECONDS if members > 1 else SINGLE_SECONDS) + self.steps * per_step)


def shape(settings: schema.Settings) -> Shape:
    """The shape of such runs. Raises ValueError or OSError where their data can't be opened."""
    data, device = datamodule.open_data(settings.data, settings.seed), device_for(settings)
    inputs, *layers = data.dataset.input_size, *settings.layer_sizes, outputs_for(settings.loss, data.dataset)
    weights, units, examples = sum(a * b for a, b in pairwise([inputs, *layers])), sum(layers), data.examples_per_step
    most = most_members(weights, units, inputs, examples, device)
    return Shape(settings, device, most, weights, data.sampling.steps(len(data.train)), examples, units)
