"""Any folder of IDX files laid out like MNIST's: MNIST, KMNIST, EMNIST, QMNIST or your own."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from actsweep.data import idx
from actsweep.data.dataset import Dataset, Examples, Scale
from actsweep.errors import UserError

SETTLED = 2.0  # seconds: a file as young as that may change again without its time stamp
QMNIST_COLUMNS = 8  # class, series, writer, …: https://github.com/facebookresearch/qmnist

Files = tuple[tuple[tuple[str, str], tuple[Path, ...]], ...]


def _content(files: Sequence[Path], allowed: Sequence[str]) -> Tensor:
    """What all of `files` hold, as torchvision's archives and what it has unpacked from them."""
    first = idx.read(files[0], allowed=allowed)
    for other in files[1:]:
        if not np.array_equal(idx.read(other, allowed=allowed), first):
            raise UserError(f"{files[0]} and {other} hold different data: keep the right one there")
    return torch.from_numpy(first)


def _read(root: Path, part: str, files: Mapping[tuple[str, str], Sequence[Path]]) -> tuple[Tensor, Tensor]:
    """Images (N, …) and labels (N,) of a part."""
    tensors = []
    for kind, allowed in (("images", idx.BYTES), ("labels", idx.WHOLE_NUMBERS)):
        if not (there := files.get((part, kind))):
            raise UserError(f"data.source.root={root}: needs one file of {part} {kind} in IDX format, there is none")
        tensors.append(_content(there, allowed))
    images, labels = tensors
    if labels.ndim == 2 and labels.shape[1] == QMNIST_COLUMNS and labels.dtype == torch.int32:
        labels = labels[:, 0]
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
        sizes = f"{part} images {tuple(images.shape)} and labels {tuple(labels.shape)}"
        raise UserError(f"data.source.root={root}: {sizes} don't match")
    return images, labels.long()


def _highest(root: Path, first: int, train: Tensor, test: Tensor) -> int:
    """The largest label. Raises UserError unless training images have every label from `first` to it."""
    low, high = (int(end) for end in torch.cat([train, test]).aminmax())
    if low < first:
        raise UserError(f"data.source.first_label={first}: the smallest label in {root} is {low}")
    present = set(train.unique().tolist())
    if first < low and low in present:
        why = f"no image in {root} has it, labels run from {low} to {high}"
        raise UserError(f"data.source.first_label={first}: {why}: give data.source.first_label={low}")
    missing = next(label for label in count(first) if label not in present)
    if missing <= high:
        why = f"no training image has label {missing}, but labels run from {first} to {high}"
        raise UserError(f"data.source.root={root}: {why}: number them without gaps")
    return high


@lru_cache(maxsize=4)  # the runs of a sweep share one copy
def _open(root: Path, files: Files, stamps: tuple[tuple[int, ...], ...], first_label: int) -> Dataset:
    (pool, pool_labels), (test, test_labels) = (_read(root, part, dict(files)) for part in ("train", "test"))
    if not len(pool) or not len(test) or pool.shape[1:] != test.shape[1:]:
        sizes = f"training images {tuple(pool.shape)} and test images {tuple(test.shape)}"
        raise UserError(f"data.source.root={root}: {sizes} must be of one size, and not none")
    last_label = _highest(root, first_label, pool_labels, test_labels)
    examples = (
        Examples(pool.flatten(1), pool_labels - first_label),
        Examples(test.flatten(1), test_labels - first_label),
    )
    classes = tuple(str(label) for label in range(first_label, last_label + 1))
    return Dataset(*examples, classes, tuple(pool.shape[1:]), Scale(divisor=255, mean=0.5, std=0.5))


def load(root: str, first_label: int = 0, split: str | None = None) -> Dataset:
    """uint8 rows, scaled to [−1, 1]. Labels run from `first_label` (1 in EMNIST's letters) to the largest in use.

    `split` chooses among several in a folder, as EMNIST's letters, digits, balanced …
    """
    place = idx.folder(root)
    if not place.is_dir():
        raise UserError(f"data.source.root={root}: there is no such folder")
    if isinstance(first_label, bool) or not isinstance(first_label, int):
        raise UserError(f"data.source.first_label={first_label}: must be a whole number")
    chosen = idx.of_split(idx.below(place), place, None if split is None else str(split))
    files = tuple((held, tuple(path.absolute() for path in paths)) for held, paths in sorted(chosen.items()))
    found = [path.stat() for _, paths in files for path in paths]
    stamps = tuple((each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found)
    settled = all(time.time() - each.st_ctime > SETTLED for each in found)
    return (_open if settled else _open.__wrapped__)(place, files, stamps, first_label)
