"""SGD, Adam, AdamW and RMSprop for a stack, in place, with a learning rate, momentum, weight decay and L2 per member.

Nothing here waits for the device or branches on data, so that a step can be captured as a CUDA graph; a new learning
rate is written into `lr` and holds from the next replay on. Source: torch.optim's own formulas, in their order of
operations.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from actsweep.training.stack.network import Block, Stack

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

    `lr`, `momentum`, `weight_decay`, `l2`: (K,) on the stack's device, in its dtype.
    """

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
