"""How strongly the outputs depend on what enters each layer: singular values of the Jacobian, few examples' mean.

The first layer's is the network's input–output Jacobian J. Exact: automatic differentiation, one backward pass an
output. The squared singular values have the mean tr JJᵀ / outputs; theory says σ_w² Π χ, σ_w² being that of the layer's
own weights and χ that of it and all hidden layers above, for Gaussian and orthogonal weights alike (Pennington,
Schoenholz & Ganguli 2017, whose layers are square, so that it is Π χ). Only the largest tells the two apart.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import pytorch_lightning as L
import torch
from torch import Tensor, nn

from actsweep.data.batches import Batch
from actsweep.diagnostics.diagnostic import Diagnostic, Quantity
from actsweep.diagnostics.observation import Layer, find_taps, recorded, undisturbed
from actsweep.diagnostics.theory import BATCH_NORMS, BesideTheory, Rows, beside, predicted, wide


def jacobians(outputs: Tensor, entering: Sequence[Tensor]) -> list[Tensor]:
    """∂outputs/∂entering of each example: (…, N, C), (…, N, *H) → (…, N, C, H)."""
    rows = [
        torch.autograd.grad(outputs[..., place].sum(), entering, retain_graph=True, materialize_grads=True)
        for place in range(outputs.shape[-1])
    ]
    examples = outputs.ndim - 1
    return [torch.stack([row.flatten(examples) for row in each], dim=-2) for each in zip(*rows, strict=True)]


def singular_values(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Mean square and largest, means over examples: (K, N, C, H) → two of (K,). There are C, some 0 where C > H.

    >>> [float(each) for each in singular_values(torch.tensor([[[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]]]))]
    [12.5, 4.0]
    """
    gram = jacobian.double() @ jacobian.double().mT
    known = gram.isfinite().all(dim=-1).all(dim=-1)
    largest = torch.linalg.eigvalsh(gram.where(known[..., None, None], 0.0))[..., -1].clamp(min=0).sqrt()
    squares = gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    return squares.mean(dim=1), largest.where(known, torch.nan).mean(dim=1)


def differentiated(module: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers of a module with taps, each with its Jacobian; none where examples depend on each other."""
    taps = find_taps(module)
    if not taps or any(isinstance(part, BATCH_NORMS) for part in module.modules()):
        return []
    with undisturbed(module), ExitStack() as hooks:
        for activation in (tap.activation for tap in taps if tap.activation is not None):
            # Outputs depend on what it gives, also if no gradient passes it.
            hooks.callback(activation.register_forward_hook(lambda _, __, y: y.requires_grad_()).remove)
        seen = hooks.enter_context(recorded(taps))
        x = inputs.detach().to(taps[0].linear.weight.dtype).requires_grad_()
        outputs = module(x)
        found = jacobians(outputs, [x, *(post for _, post in seen.values() if post is not None)])
    return [
        Layer(tap.name, tap.linear.weight.detach()[None], None, None, jacobian=each[None])
        for tap, each in zip(taps, found, strict=True)
    ]


class Jacobian(BesideTheory, Diagnostic):
    """Mean square and largest singular value of ∂outputs/∂(what enters the layer); beside it, untrained, theory."""

    quantities = (
        Quantity("jacobian_mean_square", "1", "log", "mean square of ∂outputs/∂(the layer's input)'s singular values"),
        Quantity("jacobian_largest", "1", "log", "largest singular value of ∂outputs/∂(the layer's input)"),
        Quantity("jacobian_mean_square_theory", "1", "log", "untrained: σ_w² Π χ, predicted for wide layers"),
        Quantity("jacobian_mean_square_error", "1", "linear", "measured / predicted jacobian_mean_square − 1"),
    )

    def __init__(self, every_n_epochs: int = 1, every_n_steps: int | None = None, probe_size: int = 16) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe_size)

    def layers(self, trainer: L.Trainer, pl_module: L.LightningModule) -> list[Layer]:
        return differentiated(pl_module, self._batch[0])

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        if layer.jacobian is None:
            return {}
        return dict(zip(("jacobian_mean_square", "jacobian_largest"), singular_values(layer.jacobian), strict=True))

    def rows(self, module: L.LightningModule, batch: Batch) -> Rows:
        taps = find_taps(module)
        theory, net = predicted(taps, batch[0]), wide(taps)
        passed = [*theory.chi[::-1].cumprod()[::-1].tolist(), 1.0]
        for layer, weight, product in zip(differentiated(module, batch[0]), net.weight_variances, passed, strict=True):
            assert layer.jacobian is not None
            row = beside("jacobian_mean_square", float(singular_values(layer.jacobian)[0]), weight * product)
            yield layer.name, {name: row[name] for name in row if name != "jacobian_mean_square"}
