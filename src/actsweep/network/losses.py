"""What the network's outputs mean, and how wrong they are.

A closed set of names, not dotted paths: a checkpoint may name one without naming code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from actsweep.data.dataset import Dataset
from actsweep.errors import UserError


@dataclass(frozen=True)
class Loss:
    """`value`: (outputs (N, O), labels (N,)) → mean over the examples. `predict`: outputs → labels (N,)."""

    value: Callable[[Tensor, Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]
    classifies: bool = True


def binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Of the one output z, read as σ(z) = P(class 1), in nats."""
    return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype))


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(outputs[:, 0], labels.to(outputs.dtype))


def largest(outputs: Tensor) -> Tensor:
    return outputs.argmax(1)


def is_positive(outputs: Tensor) -> Tensor:
    return (outputs[:, 0] > 0).long()


def the_output(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


LOSSES = {  # no lambdas: a Classifier can be pickled
    "cross_entropy": Loss(F.cross_entropy, largest),
    "bce": Loss(binary_cross_entropy, is_positive),
    "mse": Loss(squared_error, the_output, classifies=False),
}


def outputs_for(loss: str, dataset: Dataset) -> int:
    """How many outputs a network needs for this loss on this data. Raises UserError where they don't go together."""
    classes = len(dataset.classes)
    if loss == "mse" and classes:
        raise UserError(f"loss=mse is for real-valued labels, the data set has {classes} classes: use cross_entropy")
    if loss != "mse" and not classes:
        raise UserError(f"loss={loss} is for classes, the data set's labels are real numbers: use loss=mse")
    if loss == "bce" and classes != 2:
        raise UserError(f"loss=bce has one output for 2 classes, the data set has {classes}: use cross_entropy")
    return classes if loss == "cross_entropy" else 1
