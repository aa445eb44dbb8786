"""How large the loss gradient of each layer's weights is: does it vanish or explode towards the input?

Source: Glorot & Bengio 2010; UvA Tutorial 3.
"""

from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity
from actsweep.diagnostics.layers import Layer
from actsweep.diagnostics.norms import norm


def grad_norm(gradient: Tensor) -> Tensor:
    """Euclidean norm of each network's gradient: (K, out, in) → (K,)."""
    return norm(gradient)


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
        if layer.gradient is None:
            return {}
        return {
            "grad_norm": grad_norm(layer.gradient),
            "grad_mean_abs": grad_mean_abs(layer.gradient),
            "grad_max_abs": grad_max_abs(layer.gradient),
        }
