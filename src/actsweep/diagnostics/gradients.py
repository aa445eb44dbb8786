"""How large the loss gradient of each layer's weights is: does it vanish or explode towards the input?

Source: Glorot & Bengio 2010; UvA Tutorial 3.
"""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity
from actsweep.diagnostics.observation import Layer

AT_ONCE = 2**12  # numbers: a CPU adds up squares one behind the other, and of 10⁸ of float32 loses 1 %
SAFE = 2.0**-40, 2.0**60  # between these, the squares that make up a norm of a million numbers are in range


def norm_of_rows(values: Tensor) -> Tensor:
    """Euclidean norm of each row, as exact for a hundred million numbers as for few: (K, n) → (K,)."""
    whole = values.shape[1] - values.shape[1] % AT_ONCE
    if not whole:
        return values.norm(dim=1)
    parts = values[:, :whole].unflatten(1, (-1, AT_ONCE)).norm(dim=2)
    return torch.cat([parts, values[:, whole:].norm(dim=1, keepdim=True)], dim=1).norm(dim=1)


def norm(values: Tensor) -> Tensor:
    """Euclidean norm of each row's numbers, of halves float32: (K, …) → (K,).

    Squares of float32 leave its range long before the numbers do: below 1e-19 and above 1e19.
    """
    each = values.flatten(1)
    each = each if each.dtype.itemsize > 2 else each.float()
    found = norm_of_rows(each)
    if ((found >= SAFE[0]) & (found <= SAFE[1])).all():
        return found
    exact = vector_norm(each.abs().cpu(), dim=1, dtype=torch.float64)  # which not every device has
    return exact.to(each.device, found.dtype)


grad_norm = norm  # ‖∂L/∂W‖₂ of each network's gradient: (K, out, in) → (K,)


def grad_mean_abs(gradient: Tensor) -> Tensor:
    """Mean magnitude of the gradient's entries: (K, out, in) → (K,)."""
    return gradient.flatten(1).abs().mean(dim=1)


def grad_max_abs(gradient: Tensor) -> Tensor:
    """Largest magnitude of the gradient's entries: (K, out, in) → (K,)."""
    return gradient.flatten(1).abs().amax(dim=1)


class GradientNorm(Diagnostic):
    """Size of the weights' gradient, per layer."""

    quantities = (
        Quantity("grad_norm", "nats per unit weight", "log", "‖∂L/∂W‖₂ of the mean loss over the probe images"),
        Quantity("grad_mean_abs", "nats per unit weight", "log", "mean |∂L/∂W| over the layer's weights"),
        Quantity("grad_max_abs", "nats per unit weight", "log", "max |∂L/∂W| over the layer's weights"),
    )

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        measures = {"grad_norm": grad_norm, "grad_mean_abs": grad_mean_abs, "grad_max_abs": grad_max_abs}
        return {} if layer.gradient is None else {name: of(layer.gradient) for name, of in measures.items()}
