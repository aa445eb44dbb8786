"""A layer of all members in bfloat16: weights cast once a step, masters and their gradients in float32.

Two products of contiguous or transposed operands each way: a batched product on a CPU copies any other, such as inputs
that are broadcast to all members.
"""

from typing import Any

import torch
from torch import Tensor


class HalfLinear(torch.autograd.Function):
    """(N, D) that all members share, or (K, N, D); weights (K, D, H), biases (K, H) → (K, N, H) in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, half_bias = x.bfloat16(), bias.bfloat16()
        if x.ndim == 2:  # one product with all members' units side by side
            half = weight.bfloat16().transpose(0, 1).flatten(1)
            outputs = torch.addmm(half_bias.flatten(), x, half).view(len(x), *bias.shape).transpose(0, 1).contiguous()
        else:
            half = weight.bfloat16()
            outputs = torch.baddbmm(half_bias.unsqueeze(1), x, half)
        ctx.save_for_backward(x, half)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        (gradient,), (x, half) = gradients, ctx.saved_tensors
        to_bias = gradient.sum(dim=1, dtype=torch.float32)
        if x.ndim == 3:
            to_inputs = torch.bmm(gradient, half.mT) if ctx.needs_input_grad[0] else None
            return to_inputs, torch.bmm(x.mT, gradient).float(), to_bias
        members, _, units = gradient.shape
        to_weights = x.t() @ gradient.transpose(0, 1).flatten(1)
        return None, to_weights.view(-1, members, units).transpose(0, 1).float().contiguous(), to_bias


def is_half(x: Tensor) -> bool:
    """Whether autocast has bfloat16 for products now."""
    kind = x.device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


def half_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    outputs: Tensor = HalfLinear.apply(x, weight, bias)
    return outputs
