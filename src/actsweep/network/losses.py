"""What the network's outputs mean, and how wrong they are.

A closed set of names, not dotted paths: a checkpoint may name one without naming code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from actsweep.data.dataset import Dataset
from actsweep.errors import UserError


@dataclass(frozen=True)
class Loss:
    """`function`: (outputs (N, O), labels (N,), torch's `reduction`) → mean, or of each example (N,). `predict`:
    outputs → labels (N,)."""

    function: Callable[..., Tensor]
    predict: Callable[[Tensor], Tensor]
    classifies: bool = True

    def value(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over the examples."""
        return self.function(outputs, labels)

    def of_each(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The means of K networks in a stack: (K, N, O), (K, N) → (K,)."""
        each = self.function(outputs.flatten(0, 1), labels.reshape(-1), reduction="none")
        return each.view(labels.shape).mean(1)


def binary_cross_entropy(outputs: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Of the one output z, read as σ(z) = P(class 1), in nats."""
    return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype), reduction=reduction)


def squared_error(outputs: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """In the outputs' type, or float32 if that is shorter: bfloat16 has two digits for a label such as 1013.25."""
    kind = torch.promote_types(outputs.dtype, torch.float32)
    return F.mse_loss(outputs[:, 0].to(kind), labels.to(kind), reduction=reduction)


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


class Sums:
    """Over the batches of an epoch, on the device: each network's loss × examples and correct predictions; examples.

    `networks`: K, for outputs (K, N, O), labels (K, N) and losses (K,); or (), for those of a lone network.
    """

    def __init__(self, networks: int | tuple[()], device: torch.device, predict: Callable[[Tensor], Tensor]) -> None:
        self.loss = torch.zeros(networks, device=device, dtype=torch.float64)
        self.correct = torch.zeros(networks, device=device, dtype=torch.int64)
        self.examples, self.predict = 0, predict

    def add(self, losses: Tensor, outputs: Tensor, labels: Tensor) -> None:
        self.loss.add_(losses.detach(), alpha=labels.shape[-1])
        predictions = self.predict(outputs.detach().flatten(0, -2)).view(labels.shape)
        self.correct.add_((predictions == labels).sum(-1))
        self.examples += labels.shape[-1]

    def clear(self) -> None:
        self.loss.zero_()
        self.correct.zero_()

    def sums(self) -> Tensor:
        """(3,), of a lone network."""
        examples = torch.tensor(self.examples, device=self.loss.device)
        return torch.stack([self.loss, self.correct.double(), examples.double()])


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
