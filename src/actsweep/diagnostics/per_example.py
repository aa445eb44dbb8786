"""What each single example does to each layer of the untrained network.

Where the network has one input, such as a chain of single units, these are functions of that input.
"""

import warnings
from typing import Any, cast

import pytorch_lightning as L
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from actsweep.diagnostics.diagnostic import check_counts, publish_table
from actsweep.diagnostics.gradients import norm
from actsweep.diagnostics.observation import find_taps, recorded, undisturbed
from actsweep.diagnostics.theory import BATCH_NORMS
from actsweep.network.classifier import Classifier


def per_example_gradients(module: Classifier, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """∂Lₙ/∂W of each parameter for each example's own loss: name → (N, *shape)."""
    parameters = {name: parameter.detach() for name, parameter in module.network.named_parameters()}
    network, objective = module.network, module.objective

    def loss(weights: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
        return objective.value(functional_call(network, weights, (x.unsqueeze(0),)), label.unsqueeze(0))

    try:
        with undisturbed(module), warnings.catch_warnings(action="ignore"):  # of a "performance drop"
            together = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
            gradients: dict[str, Tensor] = together(parameters, inputs, labels)
        return gradients
    except RuntimeError:  # torch can't do it for all at once, as with most of torch.autograd.Function
        for parameter in parameters.values():
            parameter.requires_grad_()
        with undisturbed(module):
            each = [
                torch.autograd.grad(loss(parameters, x, label), list(parameters.values()), materialize_grads=True)
                for x, label in zip(inputs, labels, strict=True)
            ]
        return {name: torch.stack(own) for name, own in zip(parameters, zip(*each, strict=True), strict=True)}


class PerExample(L.Callback):
    """Writes examples.csv: for each probe example and layer the mean activation over units and ‖∂Lₙ/∂W‖₂.

    x is the input where there is just one. The output layer's activation is the sigmoid of its output, the prediction
    of a network with one output. Nothing where examples depend on each other.
    """

    def __init__(self, probe_size: int = 1024) -> None:
        check_counts(self, probe_size=probe_size)
        self.probe_size = probe_size

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        is_first = trainer.global_step == batch_idx == 0 and trainer.is_global_zero
        if not is_first or any(isinstance(part, BATCH_NORMS) for part in pl_module.modules()):
            return
        classifier = cast(Classifier, pl_module)
        inputs, labels = trainer.datamodule.probe(self.probe_size)  # type: ignore[attr-defined]
        inputs = inputs.flatten(1).to(next(pl_module.parameters()).dtype)
        taps = find_taps(pl_module)
        gradients = per_example_gradients(classifier, inputs, labels)
        with undisturbed(pl_module), torch.no_grad(), recorded(taps) as seen:
            pl_module(inputs)
        names = {id(parameter): name for name, parameter in classifier.network.named_parameters()}
        for tap in taps:
            pre, post = seen[tap.name]
            columns = {
                "example": range(len(inputs)),
                "x": inputs[:, 0].tolist() if inputs.shape[1] == 1 else [""] * len(inputs),
                "label": labels.tolist(),
                "layer": [tap.name] * len(inputs),
                "activation": (pre.sigmoid() if post is None else post).mean(dim=1).tolist(),
                "grad_norm": norm(gradients[names[id(tap.linear.weight)]]).tolist(),
            }
            publish_table(trainer, "examples", columns)
