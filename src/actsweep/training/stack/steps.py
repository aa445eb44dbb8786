"""The optimiser steps of a stack: which examples, forward, backward, update; on a GPU captured as one CUDA graph.

Nothing here waits for the device: what a step finds out is summed up there.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actsweep.data.batches import SplitData
from actsweep.data.dataset import Examples
from actsweep.network.losses import Sums
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.stack.network import Losses, Stack
from actsweep.training.stack.optimisers import Optimiser, clip

log = logging.getLogger(__name__)
Watch = Callable[[Tensor, Sequence[Tensor]], None]  # of the losses and the gradients of each step
WARM_UP_STEPS = 3


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    # Without a cache: weights that were cast once would stay as they were while the steps change them.
    if precision == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return nullcontext()


class Feed:
    """The batches of K members from raw examples on the device; members with equal seeds share one gather.

    `load` an epoch, then each `batch` is the next one: inputs (N, D) where all members share them, else (K, N, D), and
    labels (K, N).
    """

    def __init__(self, data: SplitData, examples: Examples, seeds: Sequence[int]) -> None:
        self.examples, self.scale = examples, data.dataset.scale
        self.sampling, device = data.sampling, examples.inputs.device
        self.steps, self.size = self.sampling.steps(len(examples)), data.examples_per_step
        self.whole = self.scale(examples.inputs) if self.sampling.batch_size == "all" else None
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        self.choose(seeds)

    def choose(self, seeds: Sequence[int]) -> None:
        """Serve members with these seeds from now on."""
        self.members = len(seeds)
        self.seeds = list(dict.fromkeys(seeds))
        device = self.examples.inputs.device
        self.seed_of = torch.tensor([self.seeds.index(seed) for seed in seeds], device=device)
        shape = (self.steps if self.whole is None else 0, len(self.seeds), self.size)
        self.order = torch.zeros(shape, dtype=torch.int64, device=device)  # kept in place: a CUDA graph reads it

    def load(self, epoch: int) -> None:
        """Deal the examples of an epoch, exactly as the plain path does."""
        self.step.zero_()
        for place, seed in enumerate(self.seeds if self.whole is None else ()):
            rows = replace(self.sampling, seed=seed).rows(epoch, len(self.examples))
            self.order[:, place] = rows.to(self.order.device)

    def batch(self) -> tuple[Tensor, Tensor]:
        if self.whole is not None:
            return self.whole, self.examples.labels.expand(self.members, -1)
        rows = self.order.index_select(0, self.step).view(-1)
        self.step.add_(1)
        inputs = self.scale(self.examples.inputs.index_select(0, rows)).view(len(self.seeds), self.size, -1)
        labels = self.examples.labels.index_select(0, rows).view(len(self.seeds), self.size)
        if len(self.seeds) == 1:
            return inputs[0], labels.expand(self.members, -1)
        if len(self.seeds) == self.members:
            return inputs, labels
        return inputs.index_select(0, self.seed_of), labels.index_select(0, self.seed_of)


class Steps:
    """Calling it makes one optimiser step for every member."""

    def __init__(
        self, stack: Stack, optimiser: Optimiser, feed: Feed, losses: Losses, sums: Sums,
        precision: str = "32-true", clipping: tuple[float | None, str] = (None, "norm"), watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self.stack, self.optimiser, self.feed, self.losses, self.sums = stack, optimiser, feed, losses, sums
        self.precision, self.clipping, self.watch = precision, clipping, watch
        self.device = stack.parameters()[0].device
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self.graph is not None:
            self.graph.replay()
        else:
            self.eager()

    def eager(self) -> Tensor:
        """One step; returns the losses before it, penalties included, (K,)."""
        inputs, labels = self.feed.batch()
        with autocast(self.device, self.precision):
            outputs = self.stack.forward(inputs)
            losses = self.losses(outputs, labels)
        # Summed, not averaged: each member's gradient is that of its own mean loss.
        found = torch.autograd.grad(losses.sum(), self.stack.parameters())
        gradients = [each.contiguous() for each in found]  # a sum's is one number for all, in which nothing can be put
        if self.watch:
            self.watch(losses, gradients)
        if self.optimiser.has_l2:
            losses = self.optimiser.penalise(gradients, losses, self.feed.size)
        value, algorithm = self.clipping
        if value:
            clip(self.stack, gradients, value, algorithm)
        self.optimiser.step(gradients)
        self.sums.add(losses, outputs, labels)
        return losses.detach()

    def capture(self) -> None:
        """Record a step as a CUDA graph; where that fails, steps stay eager and the log says why."""
        changed = [values.detach() for values in self.stack.parameters()]
        changed += [block.values for block in self.stack.buffers.values()]
        changed += [*self.optimiser.tensors(), self.feed.step, self.sums.loss, self.sums.correct]
        before = [each.clone() for each in changed]
        try:
            self.graph = self._captured()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            log.warning("no CUDA graph, every operation is launched by itself: %s", " ".join(str(error).split()))
        finally:
            for values, kept in zip(changed, before, strict=True):
                values.copy_(kept)  # the warm-up steps don't count

    def _captured(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.feed.step.zero_()
                self.eager()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.eager()
        return graph
