"""The activation function and its derivative, as the run built it.

Tabulated before training, so that a learnt activation is shown at its initial values.
"""

import math

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import nn

from actsweep.diagnostics.bases import Callback
from actsweep.diagnostics.diagnostic import check_counts, keeps_tables, publish_table
from actsweep.diagnostics.elementwise import is_elementwise, slope
from actsweep.diagnostics.observation import find_taps
from actsweep.errors import UserError
from actsweep.theory.integrals import copied


def curve(activation: nn.Module, low: float, high: float, points: int, units: int = 1) -> dict[str, list[float]] | None:
    """x, φ(x) and φ′(x) at equally spaced points, in float64; None unless φ is a function of one number, of which a
    copy can be made.

    Of one that exists only for a whole layer of `units`, such as a PReLU with a slope for each, the first unit's.
    """
    try:
        activation = copied(activation)
    except Exception:
        return None
    x = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(1)
    layer = x.expand(-1, units)
    if not is_elementwise(activation, layer):
        return None
    x = (x if is_elementwise(activation, x) else layer).clone().requires_grad_()
    value = activation(x.clone())  # it may work in place
    columns = {"x": x, "value": value, "slope": slope(x, value)}
    return {name: values.detach()[:, 0].tolist() for name, values in columns.items()}


class ActivationCurve(Callback):
    """Writes curves.csv: x, value and slope of the first hidden layer's activation on [low, high].

    Of a module that names its layers with a method `taps()`. Nothing for a network without hidden layers, nor for an
    activation that is no function of one number.
    """

    def __init__(self, low: float = -5.0, high: float = 5.0, points: int = 201) -> None:
        ends = [each for each in (low, high) if isinstance(each, int | float) and math.isfinite(each)]
        if ends != [low, high] or not low < high:
            raise UserError(f"ActivationCurve: needs numbers low < high, not {low} and {high}")
        check_counts(self, least=2, points=points)
        self.low, self.high, self.points = low, high, points

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step or not trainer.is_global_zero or not keeps_tables(trainer, self):
            return  # of a resumed run the table is there
        first = next(iter(find_taps(pl_module)), None)
        if first is None:
            rank_zero_info(f"ActivationCurve writes nothing: {type(pl_module).__name__} has no method taps()")
        if first is None or first.activation is None:
            return
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            units = first.linear.weight.shape[0]
            if columns := curve(first.activation, self.low, self.high, self.points, units):
                publish_table(trainer, "curves", columns)
