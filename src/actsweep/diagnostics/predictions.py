"""What the tested network says about each test example, and about every point of the plane."""

import math
from typing import Any, cast

import pytorch_lightning as L
import torch
from torch import Tensor

from actsweep.data.dataset import Dataset
from actsweep.diagnostics.diagnostic import check_counts, publish_table
from actsweep.errors import UserError
from actsweep.network.classifier import Classifier


def confidence(outputs: Tensor) -> Tensor:
    """(N, O) → (N,): the output itself where there is one, else the probability of the predicted class."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.softmax(dim=1).amax(dim=1)


class Predictions(L.Callback):
    """Writes predictions.csv, a row per test example: label, prediction, its own loss, and the confidence."""

    def on_test_start(self, *_: Any) -> None:
        self._seen = 0

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: tuple[Tensor, Tensor], *_: Any
    ) -> None:
        if not trainer.is_global_zero:
            return
        labels, objective = batch[1], cast(Classifier, pl_module).objective
        columns = {
            "example": range(self._seen, self._seen + len(labels)),
            "label": labels.tolist(),
            "prediction": objective.predict(outputs).tolist(),
            "loss": objective.function(outputs, labels, reduction="none").tolist(),
            "output": confidence(outputs).tolist(),
        }
        publish_table(trainer, "predictions", columns)
        self._seen += len(labels)


class DecisionRegions(L.Callback):
    """Writes regions.csv, for data of two inputs only: prediction and probability on a grid around the data, as
    the network sees them.

    The probability is that of class 1 where there are two classes, else that of the predicted class.
    """

    def __init__(self, points: int = 161, margin: float = 0.5) -> None:
        check_counts(self, least=2, points=points)
        if not (isinstance(margin, int | float) and math.isfinite(margin) and margin >= 0):
            raise UserError(f"DecisionRegions.margin={margin}: must be a number, at least 0")
        self.points, self.margin = points, margin

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        dataset: Dataset = trainer.datamodule.dataset  # type: ignore[attr-defined]
        if dataset.input_size != 2 or not trainer.is_global_zero:
            return
        inputs = dataset.scale(dataset.pool.inputs)
        axes = [
            torch.linspace(float(values.min()) - self.margin, float(values.max()) + self.margin, self.points)
            for values in inputs.T
        ]
        grid = torch.cartesian_prod(*axes).to(pl_module.device)
        classifier = cast(Classifier, pl_module)
        outputs = classifier(grid)
        if outputs.shape[1] == 1:
            probability = outputs[:, 0].sigmoid()
        else:
            probability = outputs.softmax(dim=1)
            probability = probability[:, 1] if outputs.shape[1] == 2 else probability.amax(dim=1)
        columns = {
            "x1": grid[:, 0].tolist(),
            "x2": grid[:, 1].tolist(),
            "prediction": classifier.objective.predict(outputs).tolist(),
            "probability": probability.tolist(),
        }
        publish_table(trainer, "regions", columns)
