"""Any folder of IDX files laid out like MNIST's: MNIST, KMNIST, EMNIST or your own.

Flow: config → **data** → network.
"""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from src.data import idx
from src.data.dataset import Dataset, Examples, Scale

PARTS = {"train": ("train-", ""), "test": ("t10k-", "test-")}


def _find(root: Path, part: str, kind: str) -> Path:
    """The file of a part ("train" or "test") and kind ("images" or "labels"), gzipped or not."""
    words = ("train",) if part == "train" else ("t10k", "test")
    suffixes = (f"{kind}-idx3-ubyte", f"{kind}-idx1-ubyte", f"{kind}.idx3-ubyte", f"{kind}.idx1-ubyte")
    endings = tuple(suffix + gz for suffix in suffixes for gz in ("", ".gz"))
    found = sorted(
        path for path in root.glob("*") if path.name.endswith(endings) and any(word in path.name for word in words)
    )
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"data.source.root={root}: needs one file of {part} {kind} in IDX format, there is {names}")
    return found[0]


def _read(root: Path, part: str) -> tuple[Tensor, Tensor]:
    images, labels = (idx.read(_find(root, part, kind)) for kind in ("images", "labels"))
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"data.source.root={root}: {part} images {tuple(images.shape)} and labels {tuple(labels.shape)} don't match"
        )
    return images, labels.long()


@lru_cache(maxsize=4)
def load(root: str, first_label: int = 0) -> Dataset:
    """uint8 rows, scaled to [−1, 1]. Labels run from `first_label` (1 in EMNIST's letters) to the largest in use."""
    if not Path(root).is_dir():
        raise ValueError(f"data.source.root={root}: there is no such folder")
    (pool, pool_labels), (test, test_labels) = (_read(Path(root), part) for part in ("train", "test"))
    labels = torch.cat([pool_labels, test_labels])
    if len(labels) == 0 or pool.shape[1:] != test.shape[1:] or int(labels.min()) < first_label:
        raise ValueError(
            f"data.source.root={root}: training and test images must be of one size, labels ≥ {first_label}"
        )
    return Dataset(
        pool=Examples(pool.flatten(1), pool_labels - first_label),
        test=Examples(test.flatten(1), test_labels - first_label),
        classes=tuple(str(label) for label in range(first_label, int(labels.max()) + 1)),
        shape=tuple(pool.shape[1:]),
        scale=Scale(divisor=255, mean=0.5, std=0.5),
    )
