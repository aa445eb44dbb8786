"""The activation function and its derivative, as the run built it.

Flow: training → **diagnostics**. Tabulated before training, so that a learnt activation is shown at its initial values.
"""

from copy import deepcopy

import pytorch_lightning as L
import torch
from torch import nn

from src.diagnostics.diagnostic import publish_table
from src.diagnostics.observation import find_taps, slope


def curve(activation: nn.Module, low: float, high: float, points: int) -> dict[str, list[float]]:
    """x, φ(x) and φ′(x) at equally spaced points, in float64."""
    activation = deepcopy(activation).to("cpu", torch.float64).eval()
    x = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(1).requires_grad_()
    value = activation(x)
    columns = {"x": x, "value": value, "slope": slope(x, value)}
    return {name: values.detach().flatten().tolist() for name, values in columns.items()}


class ActivationCurve(L.Callback):
    """Writes curves.csv: x, value and slope of the first hidden layer's activation on [low, high].

    Nothing for a network without hidden layers, nor for an activation of several inputs.
    """

    def __init__(self, low: float = -5.0, high: float = 5.0, points: int = 201) -> None:
        if not low < high or points < 2:
            raise ValueError(f"ActivationCurve: needs low < high and 2 points, not {low}, {high} and {points}")
        self.low, self.high, self.points = low, high, points

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        activation = find_taps(pl_module)[0].activation
        if trainer.global_step:
            return  # resumed: the table is there
        if trainer.is_global_zero and activation is not None and getattr(activation, "pieces", 1) == 1:
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                publish_table(trainer, "curves", curve(activation, self.low, self.high, self.points))
