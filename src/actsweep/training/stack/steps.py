"""The optimiser steps of a stack: which examples, forward, backward, update; on a GPU captured as one CUDA graph.

Nothing here waits for the device or branches on data: what a step finds out is summed up there, and a learning rate
that is written into `numbers` holds from the graph's next replay on. SGD, Adam, AdamW and RMSprop are torch.optim's
own formulas, in their order of operations, with numbers per member.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actsweep.data.batches import SplitData
from actsweep.data.dataset import Examples
from actsweep.network.losses import Sums
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.stack.network import Block, Losses, Stack

IGNORED = {"_target_", "fused", "foreach", "capturable", "l2"}  # how torch computes a step; l2 is none of its business
KNOWN = {
    "torch.optim.SGD": {"lr", "momentum", "weight_decay", "nesterov"},
    "torch.optim.Adam": {"lr", "betas", "eps", "weight_decay"},
    "torch.optim.AdamW": {"lr", "betas", "eps", "weight_decay"},
    "torch.optim.RMSprop": {"lr", "alpha", "eps", "weight_decay", "momentum"},
}
PER_MEMBER = ("lr", "momentum", "weight_decay", "l2")


def unsupported(optim: dict[str, Any]) -> str | None:
    """Why a stack can't be trained with this optimiser; None if it can."""
    if optim["_target_"] not in KNOWN:
        return f"{optim['_target_']} is not written per member"
    unknown = set(optim) - KNOWN[optim["_target_"]] - IGNORED
    return f"{optim['_target_']}: {', '.join(sorted(unknown))} is not written per member" if unknown else None


class Optimiser:
    """Updates a stack in place. `optims` describes each member's optimiser, all alike but for the numbers per member.
    `lr`, `momentum`, `weight_decay`, `l2`: (K,) on the stack's device, in its dtype."""

    def __init__(self, stack: Stack, optims: Sequence[dict[str, Any]]) -> None:
        self.stack, first = stack, optims[0]
        values = stack.parameters()[0]
        self.kind = first["_target_"].rpartition(".")[2]
        defaults = {"momentum": 0.0, "weight_decay": 0.01 if self.kind == "AdamW" else 0.0, "l2": 0.0}
        complete = [defaults | optim for optim in optims]
        self.numbers = {
            name: torch.tensor([optim[name] for optim in complete], device=values.device, dtype=values.dtype)
            for name in PER_MEMBER
        }
        self.nesterov = first.get("nesterov", False)
        self.alpha = first.get("alpha", 0.99)
        self.betas, self.eps = tuple(first.get("betas", (0.9, 0.999))), first.get("eps", 1e-8)
        self.has_momentum = any(optim["momentum"] for optim in complete)
        self.has_decay = any(optim["weight_decay"] for optim in complete)
        self.has_l2 = any(optim["l2"] for optim in complete)
        self.steps = torch.zeros((), device=values.device, dtype=torch.float64)
        buffer = ["momentum_buffer"] * self.has_momentum
        kept = {"SGD": buffer, "RMSprop": ["square_avg", *buffer]}.get(self.kind, ["exp_avg", "exp_avg_sq"])
        for block in stack.blocks.values():
            block.state = {name: torch.zeros_like(block.values.detach()) for name in kept}

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the numbers of all members but these; the stack keeps and drops what belongs to its blocks."""
        self.numbers = {name: values[list(rows)] for name, values in self.numbers.items()}

    def tensors(self) -> list[Tensor]:
        """All that a step changes, besides the weights."""
        return [self.steps, *(one for block in self.stack.blocks.values() for one in block.state.values())]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step for all members; `gradients` belong to stack.parameters() and are overwritten."""
        self.steps += 1
        update = {"SGD": self._sgd, "RMSprop": self._rmsprop}.get(self.kind, self._adam)
        for block, gradient in zip(self.stack.blocks.values(), gradients, strict=True):
            values = block.values.detach()
            if self.has_decay and block.decays and self.kind == "AdamW":
                values.mul_(1 - self._of("lr", block) * self._of("weight_decay", block))
            elif self.has_decay and block.decays:
                gradient.addcmul_(values, self._of("weight_decay", block))
            update(block, values, gradient)

    @torch.no_grad()
    def penalise(self, gradients: Sequence[Tensor], losses: Tensor, examples: int) -> Tensor:
        """Add the gradient of each member's penalty l2 / (2 · examples) Σw², in place; returns losses + penalties."""
        squares = torch.zeros_like(losses)
        for block, gradient in zip(self.stack.blocks.values(), gradients, strict=True):
            if block.decays:
                values = block.values.detach()
                gradient.addcmul_(values, self._of("l2", block) / examples)
                squares += values.flatten(1).norm(dim=1).square()
        squares = squares.where(self.numbers["l2"] > 0, 0.0)  # infinite ones of who has none, too
        return losses.detach() + self.numbers["l2"] / (2 * examples) * squares

    def shrinking(self, examples: int) -> Tensor:
        """What weight decay and L2 take of a member's weights in a step, in learning rates: (K,)."""
        return self.numbers["weight_decay"] + self.numbers["l2"] / examples

    def _of(self, name: str, block: Block) -> Tensor:
        return self.numbers[name][block.rows].view(-1, *[1] * (block.values.ndim - 1))

    def _sgd(self, block: Block, values: Tensor, gradient: Tensor) -> None:
        # addcmul: one pass over memory, where a product and a sum with the same rounding are two.
        if self.has_momentum:
            momentum, buffer = self._of("momentum", block), block.state["momentum_buffer"]
            torch.addcmul(gradient, buffer, momentum, out=buffer)
            gradient = gradient.addcmul_(buffer, momentum) if self.nesterov else buffer
        values.addcmul_(gradient, self._of("lr", block), value=-1)

    def _rmsprop(self, block: Block, values: Tensor, gradient: Tensor) -> None:
        square = block.state["square_avg"].mul_(self.alpha).addcmul_(gradient, gradient, value=1 - self.alpha)
        gradient.div_(square.sqrt().add_(self.eps))
        if self.has_momentum:
            gradient = block.state["momentum_buffer"].mul_(self._of("momentum", block)).add_(gradient)
        values.addcmul_(gradient, self._of("lr", block), value=-1)

    def _adam(self, block: Block, values: Tensor, gradient: Tensor) -> None:
        beta1, beta2 = self.betas
        mean = block.state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = block.state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        corrections = [(1 - beta**self.steps).to(values.dtype) for beta in (beta1, beta2)]
        denominator = square.sqrt().div_(corrections[1].sqrt()).add_(self.eps)
        values.sub_(torch.div(mean, denominator, out=denominator).mul_(self._of("lr", block) / corrections[0]))


@torch.no_grad()
def clip(stack: Stack, gradients: Sequence[Tensor], value: float, algorithm: str) -> None:
    """Clip each member's gradients in place, to a norm over all its parameters or entry by entry, as torch does."""
    if algorithm == "value":
        for gradient in gradients:
            gradient.clamp_(-value, value)
        return
    squares = gradients[0].new_zeros(len(stack))
    for block, gradient in zip(stack.blocks.values(), gradients, strict=True):
        squares[block.rows] += gradient.reshape(len(gradient), -1).norm(dim=1).square()  # a member's may be one number
    factors = (value / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for block, gradient in zip(stack.blocks.values(), gradients, strict=True):
        gradient.mul_(factors[block.rows].view(-1, *[1] * (gradient.ndim - 1)))


log = logging.getLogger(__name__)
Watch = Callable[[Tensor, Sequence[Tensor]], None]  # of the losses and the gradients of each step
WARM_UP_STEPS = 3


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    # Without a cache: weights that were cast once would stay as they were while the steps change them.
    if precision == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return nullcontext()


class Feed:
    """The batches of K members from raw examples on the device; members with equal seeds share one gather. `load` an
    epoch, then each `batch` is the next one: inputs (N, D) where all members share them, else (K, N, D), and labels (K,
    N)."""

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
        here, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                for number in range(WARM_UP_STEPS):
                    self.feed.step.zero_()
                    with waiting_refused() if number == WARM_UP_STEPS - 1 else nullcontext():
                        self.eager()
        finally:
            here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # A capture that fails leaves its stream current: other threads, on this one, would not wait for what is on it.
        with torch.cuda.stream(here), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.eager()
        return graph


@contextmanager
def waiting_refused() -> Iterator[None]:
    """Raise RuntimeError for what waits for the GPU, which no graph can hold. A capture would fail, too, but leaves
    torch's allocator such that it frees no cached memory any more when memory runs out."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # that it doesn't see everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
