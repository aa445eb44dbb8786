"""What the callbacks cost on somebody's module: runs with and without them take turns, measured in CPU time.

    python -m bench.callbacks

Five diagnostics at every 50th step, on an MLP (784-512-256-256-128-10, batches of 128) and a ResNet-18 (batches of 16
images of 32 × 32). One thread. Prints the ratio of CPU times, mean and 95 % interval over pairs; which of a pair comes
first alternates. Takes four minutes on a quiet machine.
"""

import time
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from actsweep.callbacks import ActivationHistogram, ActivationMoments, DeadUnits, Diagnostic, GradientNorm, UpdateRatio
from actsweep.statistics.inference import mean

EVERY = (GradientNorm, ActivationMoments, ActivationHistogram, DeadUnits, UpdateRatio)
SIZES = (784, 512, 256, 256, 128)


def mlp() -> nn.Module:
    layers = [part for pair in pairwise(SIZES) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(SIZES[-1], 10))


CASES = {  # network, batch, steps, pairs
    "MLP": (mlp, (128, 784), 500, 12),
    "ResNet-18": (resnet18, (16, 3, 32, 32), 100, 6),
}


class Somebodys(L.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def seconds(case: str, callbacks: list[Any]) -> float:
    """CPU time of a fit."""
    make, shape, steps, _ = CASES[case]
    data = TensorDataset(torch.randn(10 * shape[0], *shape[1:]), torch.arange(10 * shape[0]) % 10)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, callbacks=callbacks, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    began = time.process_time()
    trainer.fit(Somebodys(make()), DataLoader(data, batch_size=shape[0]))
    return time.process_time() - began


def diagnostics() -> list[Diagnostic]:
    return [kind(every_n_steps=50) for kind in EVERY]


def pair(case: str, order: int) -> tuple[float, float]:
    """CPU time without and with the diagnostics."""
    found = [seconds(case, diagnostics() if with_them else []) for with_them in (order, 1 - order)]
    return found[order], found[1 - order]


def main() -> None:
    torch.set_num_threads(1)
    for case, (*_, steps, pairs) in CASES.items():
        seconds(case, diagnostics())
        found = [pair(case, number % 2) for number in range(pairs)]
        step, ratio = 1000 * fmean(without for without, _ in found) / steps, mean([both / one for one, both in found])
        spread = f"× {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], n = {pairs}"
        print(f"{case}: {step:.1f} ms a step; {spread}", flush=True)


if __name__ == "__main__":
    main()
