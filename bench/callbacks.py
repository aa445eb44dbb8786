"""What the callbacks cost on somebody's module: runs with and without them take turns, measured in CPU time.

    python -m bench.callbacks [--pairs 5]

Five diagnostics at every 50th step, on an MLP (784-512-256-256-128-10, batches of 128) and a ResNet-18 (batches of 16
images of 32 × 32). One thread. Prints the ratio of CPU times, mean and 95 % interval over pairs.
"""

import argparse
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


CASES = {"MLP": (mlp, (128, 784), 500), "ResNet-18": (resnet18, (16, 3, 32, 32), 100)}  # network, batch, steps


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
    make, shape, steps = CASES[case]
    data = TensorDataset(torch.randn(10 * shape[0], *shape[1:]), torch.arange(10 * shape[0]) % 10)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, callbacks=callbacks, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    began = time.process_time()
    trainer.fit(Somebodys(make()), DataLoader(data, batch_size=shape[0]))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    for case in CASES:
        seconds(case, diagnostics())
        without, ratios = [], []
        for _ in range(pairs):
            without.append(seconds(case, []))
            ratios.append(seconds(case, diagnostics()) / without[-1])
        step, ratio = 1000 * fmean(without) / CASES[case][2], mean(ratios)
        print(
            f"{case}: {step:.1f} ms a step; × {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], n = {pairs}",
            flush=True,
        )


def diagnostics() -> list[Diagnostic]:
    return [kind(every_n_steps=50) for kind in EVERY]


if __name__ == "__main__":
    main()
