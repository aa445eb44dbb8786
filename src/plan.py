"""`plan=true`: what a command would take, before it starts: seconds of each shape's epoch as measured here, runs, disk.

Flow: config → **plan**. A few steps and a validation pass of each distinct shape are timed, without diagnostics; time
is an upper bound, because early stopping may end a run at any epoch.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from src.config import Settings
from src.data import datamodule
from src.losses import LOSSES, outputs_for
from src.mlp import MLP, threads_for
from src.progress import duration

STEPS = 8  # timed per shape, after as many to warm up
CHECKPOINTS = 2
STATE = 3  # of weights, and what optimisers keep of each: none (SGD) to two numbers (Adam)


@dataclass(frozen=True)
class Cost:
    """Runs that cost the same: how many, their epochs at most, seconds of an epoch, bytes that a run leaves."""

    settings: Settings
    runs: int
    epochs: int
    epoch_seconds: float
    run_bytes: int

    @property
    def seconds(self) -> float:
        return self.runs * self.epochs * self.epoch_seconds


def shape(settings: Settings) -> str:
    """What an epoch's cost depends on: everything but seed and patience."""
    parts = settings.plain()
    return json.dumps({key: parts[key] for key in ("act", "hidden_sizes", "norm", "data", "optim", "loss", "threads")})


def plan(runs: Sequence[Settings]) -> list[Cost]:
    """The cost of the runs, by shape and number of epochs, on this machine as it is now."""
    alike: dict[tuple[str, int], list[Settings]] = {}
    for settings in runs:
        epochs = 0 if settings.untrained else settings.trainer.max_epochs
        alike.setdefault((shape(settings), epochs), []).append(settings)
    timed = {each: measure(group[0]) for (each, _), group in alike.items()}
    return [Cost(group[0], len(group), epochs, *timed[each]) for (each, epochs), group in alike.items()]


def measure(settings: Settings) -> tuple[float, int]:
    """Seconds of one epoch of this shape, and bytes of its checkpoints."""
    data = datamodule.open_data(settings.data, settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() and settings.trainer.accelerator != "cpu" else "cpu")
    outputs = outputs_for(settings.loss, data.dataset)
    network = MLP(data.dataset.input_size, settings.layer_sizes, outputs, settings.act.plain(), settings.norm)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads_for(network, data.examples_per_step))
    try:
        step, validation = _time(network.to(device), settings, data, device)
    finally:
        torch.set_num_threads(threads)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return step * data.sampling.steps(len(data.train)) + validation, CHECKPOINTS * STATE * weights


def _time(
    network: nn.Module, settings: Settings, data: datamodule.DataModule, device: torch.device
) -> tuple[float, float]:
    """Seconds of a training step and of a validation pass."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9, momentum=0.9)
    objective = LOSSES[settings.loss]
    size = data.examples_per_step
    inputs, labels = (part.to(device) for part in data.probe(size))

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            objective.value(network(inputs), labels).backward()
            optimizer.step()

    @torch.no_grad()
    def validate() -> None:
        for batch, _ in data.val_dataloader():
            network(batch.to(device))

    steps()
    return _seconds(steps, device) / STEPS, _seconds(validate, device)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def show(costs: Sequence[Cost], console: Console) -> None:
    """The plan as a table, and its sums in a sentence."""
    if not costs:
        return
    table = Table("act", "hidden layers", "data", "runs", "epochs ≤", "s per epoch", "time ≤", "MB")
    for cost in costs:
        settings = cost.settings
        sizes = settings.layer_sizes
        layers = f"{len(sizes)} × {sizes[0]}" if len(set(sizes)) == 1 else "-".join(map(str, sizes)) or "none"
        table.add_row(
            settings.names.act, layers, settings.names.data, str(cost.runs), str(cost.epochs),
            f"{cost.epoch_seconds:.3g}", duration(cost.seconds), f"{cost.runs * cost.run_bytes / 1e6:.3g}",
        )  # fmt: skip
    console.print(table)
    runs, epochs = (
        sum(values) for values in zip(*((cost.runs, cost.runs * cost.epochs) for cost in costs), strict=True)
    )
    seconds, size = sum(cost.seconds for cost in costs), sum(cost.runs * cost.run_bytes for cost in costs)
    speed = f"{epochs / seconds:.3g} epochs a second, " if seconds else ""
    print(
        f"{runs} runs, one after another: at most {duration(seconds)} ({speed}without diagnostics), "
        f"checkpoints of about {size / 1e6:.3g} MB"
    )
