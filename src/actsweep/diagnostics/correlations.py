"""How alike a layer's pre-activations of two inputs are: what tells them apart is lost where all become 1.

Pairs are neighbours in the probe: its first and second example, third and fourth, … Of a pair, the cosine of z,
z·z′ / ‖z‖‖z′‖, uncentred as in Poole et al. 2016. Theory: the correlation map from each pair's own cosine and lengths
in the first layer, with σ_w² and σ_b² of each layer's own weights and biases.
"""

import numpy as np
import pytorch_lightning as L
import torch
from torch import Tensor
from torch.linalg import vector_norm

from actsweep.data.batches import Batch
from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, check_counts, probe_loss
from actsweep.diagnostics.observation import Layer, find_taps, recorded, undisturbed
from actsweep.diagnostics.theory import GROUPS, BesideTheory, Rows, wide
from actsweep.errors import UserError
from actsweep.theory.correlations import correlations


def of_pairs(pre: Tensor) -> Tensor:
    """Cosines of neighbouring examples: (K, N, H) → (K, N // 2). NaN where z vanishes.

    >>> of_pairs(torch.tensor([[[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [0.0, -1.0]]], dtype=torch.float64)).tolist()
    [[0.6, -1.0]]
    """
    lengths = vector_norm(pre, dim=2, keepdim=True, dtype=torch.float64)  # squares of float32 underflow
    units = pre / lengths.to(torch.promote_types(pre.dtype, torch.float32))
    units = units[:, : pre.shape[1] // 2 * 2].unflatten(1, (-1, 2))
    return (units[:, :, 0] * units[:, :, 1]).sum(dim=2)


class Correlations(BesideTheory, Diagnostic):
    """The mean cosine over the pairs, of each layer; beside it, untrained, what the correlation map predicts."""

    quantities = (
        Quantity(
            "correlation", "1", "linear", "mean cosine of z of neighbouring probe examples: 1st and 2nd, 3rd and…"
        ),
        Quantity(
            "correlation_theory", "1", "linear", "untrained: the correlation map's, from the first layer's cosines"
        ),
        Quantity("correlation_error", "1", "linear", "correlation − correlation_theory"),
    )

    def __init__(self, every_n_epochs: int = 1, every_n_steps: int | None = None, probe_size: int = 1024) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe_size)
        check_counts(self, least=2, probe_size=probe_size)  # a pair

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        if layer.pre is None or layer.pre.shape[1] < 2:
            return {}
        return {"correlation": of_pairs(layer.pre).mean(dim=1)}

    def rows(self, module: L.LightningModule, batch: Batch) -> Rows:
        """Of the layers after the first."""
        taps = find_taps(module)
        net = wide(taps)
        with undisturbed(module), torch.no_grad(), recorded(taps) as seen:
            probe_loss(module, batch)
        found = [of_pairs(seen[tap.name][0][None])[0] for tap in taps]
        if not len(found[0]):
            raise UserError("one example has no correlation")
        squares = seen[taps[0].name][0].double().square().mean(dim=1)[: 2 * len(found[0])]
        order = squares.argsort()
        groups = [part for part in order.tensor_split(GROUPS) if len(part)]
        of = torch.empty_like(order)
        for number, part in enumerate(groups):
            of[part] = number
        expected = correlations(
            net.act,
            np.array([float(squares[part].mean()) for part in groups]),
            (of[::2].cpu().numpy(), of[1::2].cpu().numpy()),
            found[0].cpu().numpy(),
            net.weight_variances[1:],
            net.bias_variances[1:],
        )
        for tap, cosines, predicted in zip(taps[1:], found[1:], expected, strict=True):
            theory, measured = float(predicted.mean()), float(cosines.mean())
            yield tap.name, {"correlation_theory": theory, "correlation_error": measured - theory}
