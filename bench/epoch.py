"""What an epoch costs: the tutorials' loop, Lightning around it, actsweep with and without diagnostics, the same maths
in a bare loop over batches cut from memory, and the floor.

An epoch is 195 training steps of 256 FashionMNIST images and one validation pass over 10,000, with the default network
and optimiser. The contenders take turns, so that a change in the machine's speed meets them all; medians are reported.

    python bench/epoch.py [--rounds 5] [--contenders bare ours] [--precision 32-true bf16-mixed]
        [--json bench/results/epoch.json]

Last line: the ratios as JSON.
"""

import argparse
import gzip
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split

from actsweep import composition, one_run
from actsweep.config.command_line import quiet_libraries
from actsweep.data import datamodule, fashion_mnist
from actsweep.network.build import build_network
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.results.provenance import provenance
from actsweep.results.tables import Tables

SIZES = (784, 512, 256, 256, 128, 10)
BATCH, STEPS, VALIDATION = 256, 195, 10_000
Contender = Callable[[], float]


def tutorial_data(root: Path) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """torchvision's FashionMNIST as the tutorials load it: every image from PIL through ToTensor and Normalize."""
    from torchvision import datasets, transforms

    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    files = fashion_mnist.find(REPOSITORY / "data")
    assert files, "run `make data` first"
    for name, path in files.items():
        (raw / name).write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    whole = datasets.FashionMNIST(str(root), train=True, transform=transform)
    training, validation = random_split(whole, [50_000, 10_000], generator=torch.Generator().manual_seed(42))
    return (
        DataLoader(training, batch_size=BATCH, shuffle=True, drop_last=True),
        DataLoader(validation, batch_size=1024),
    )


def tutorial_network() -> nn.Sequential:
    torch.manual_seed(42)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(SIZES):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def tutorial(loaders: tuple[DataLoader[Any], DataLoader[Any]]) -> Contender:
    """The plain PyTorch loop."""
    network = tutorial_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9)

    def epoch() -> float:
        started = time.perf_counter()
        network.train()
        correct = 0
        for images, labels in loaders[0]:
            optimizer.zero_grad()
            predictions = network(images)
            F.cross_entropy(predictions, labels).backward()
            optimizer.step()
            correct += int((predictions.argmax(1) == labels).sum())
        network.eval()
        with torch.no_grad():
            for images, labels in loaders[1]:
                correct += int((network(images).argmax(1) == labels).sum())
        return time.perf_counter() - started

    return epoch


class TutorialModule(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = tutorial_network()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-2, momentum=0.9)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self.network(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        accuracy = (self.network(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_accuracy", accuracy)


class EpochTimes(L.Callback):
    """Seconds from the start of one epoch to the start of the next: everything that an epoch entails."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    def seconds(self) -> float:
        return median(after - before for before, after in zip(self.starts, self.starts[1:], strict=False))


def lightning(loaders: tuple[DataLoader[Any], DataLoader[Any]], folder: Path) -> Contender:
    """Lightning around the tutorials' data, with its own defaults for logging and checkpoints."""

    def epoch() -> float:
        times = EpochTimes()
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=2, callbacks=[times], default_root_dir=folder, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(TutorialModule(), *loaders)
        return times.seconds()

    return epoch


def ours(folder: Path, *overrides: str) -> Contender:
    """A run of actsweep as `python -m src.train` makes it: early stopping, checkpoints, tables, TensorBoard."""
    settings = composition.read(composition.composed(["seed=42", *overrides]))

    def epoch() -> float:
        times = EpochTimes()
        run_folder.prepare(folder, settings)
        data = datamodule.open_data(settings.data, settings.seed)
        network = build_network(settings, 784, 10)
        trainer = one_run.build_trainer(settings, folder, Tables(folder), network.monitor)
        trainer.callbacks.insert(0, times)  # type: ignore[attr-defined]
        trainer.fit(network, data)
        return times.seconds()

    return epoch


def bare() -> Contender:
    """The loop that a run of actsweep is, with nothing around it."""
    settings = composition.read(composition.composed(["seed=42"]))
    data = datamodule.open_data(settings.data, settings.seed)
    classifier, batches = build_network(settings, 784, 10), data.train_dataloader()
    network, optimizer = classifier.network, classifier.configure_optimizers()

    def epoch() -> float:
        started, correct = time.perf_counter(), torch.zeros((), dtype=torch.int64)
        batches.set_epoch(batches.epoch + 1)
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            outputs = network(images)
            F.cross_entropy(outputs, labels).backward()
            optimizer.step()
            correct += (outputs.argmax(1) == labels).sum()
        network.eval()
        with torch.no_grad():
            for images, labels in data.val_dataloader():
                correct += (network(images).argmax(1) == labels).sum()
        return time.perf_counter() - started

    return epoch


def floor(dtype: torch.dtype = torch.float32) -> Contender:
    """The matrix products of one epoch and nothing else: forward, weight gradient, input gradient but the first."""
    weights = [torch.randn(b, a, dtype=dtype) for a, b in pairwise(SIZES)]
    hidden = [torch.randn(BATCH, size, dtype=dtype) for size in SIZES]
    validation = [torch.randn(2000, size, dtype=dtype) for size in SIZES]

    def epoch() -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            for i, weight in enumerate(weights):
                hidden[i] @ weight.t()
            for i, weight in reversed(list(enumerate(weights))):
                hidden[i + 1].t() @ hidden[i]
                if i:
                    hidden[i + 1] @ weight
        for _ in range(VALIDATION // 2000):
            for i, weight in enumerate(weights):
                validation[i] @ weight.t()
        return time.perf_counter() - started

    return epoch


def contenders(folder: Path, precisions: list[str]) -> dict[str, Contender]:
    loaders = tutorial_data(folder / "data")
    # Six epochs give five intervals, of which the first alone holds the measurement at initialisation.
    base = ["trainer=cpu", "trainer.max_epochs=6", "trainer.enable_progress_bar=false"]
    found = {
        "floor": floor(),
        "bare": bare(),
        "tutorial": tutorial(loaders),
        "lightning": lightning(loaders, folder),
        "ours": ours(folder / "ours", *base),
        "ours_without_diagnostics": ours(folder / "bare", *base, "diagnostics=[]"),
    }
    for precision in precisions:
        found[f"ours_{precision}"] = ours(folder / "precise", *base, f"trainer.precision={precision}")
    return found


def ratios_of(middle: dict[str, float]) -> dict[str, float]:
    """Of the contenders' median seconds, as far as these took part."""
    pairs = {
        "tutorial_over_ours": ("tutorial", "ours"),
        "lightning_over_ours": ("lightning", "ours"),
        "floor_over_ours": ("floor", "ours"),
        "ours_over_bare": ("ours", "bare"),
        "ours_without_diagnostics_over_bare": ("ours_without_diagnostics", "bare"),
        **{f"tutorial_over_{name}": ("tutorial", name) for name in middle if name.startswith("ours_")},
    }
    found = {name: middle[one] / middle[other] for name, (one, other) in pairs.items() if {one, other} <= set(middle)}
    if {"ours", "ours_without_diagnostics"} <= set(middle):
        found["diagnostics_overhead"] = middle["ours"] / middle["ours_without_diagnostics"] - 1
    return {name: round(value, 3) for name, value in found.items()}


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wanted = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
    return {
        "cpu": found.get("model name", "unknown"),
        "instructions": sorted(wanted & set(found.get("flags", "").split())),
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default: 5)")
    parser.add_argument("--precision", nargs="*", default=[], help="further precisions of ours, such as bf16-mixed")
    parser.add_argument("--contenders", nargs="*", help="only these (default: all)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    quiet_libraries()
    composition.register()
    with tempfile.TemporaryDirectory() as folder:
        runners = contenders(Path(folder), arguments.precision)
        seconds: dict[str, list[float]] = {name: [] for name in arguments.contenders or runners}
        for number in range(arguments.rounds):
            for name in seconds:
                seconds[name].append(runners[name]())
                print(f"round {number + 1}: {name} {seconds[name][-1]:.2f} s", flush=True)
    middle = {name: median(values) for name, values in seconds.items()}
    ratios = ratios_of(middle)
    report = {
        **provenance(),
        "machine": machine(),
        "rounds": arguments.rounds,
        "seconds": seconds,
        "ratios": ratios,
    }
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print("\n| one epoch | median s | fastest | slowest |\n|---|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {middle[name]:.2f} | {min(values):.2f} | {max(values):.2f} |")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
