import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import random_split
from torchvision import transforms

from src.data import digits, fashion_mnist, idx
from src.data.datamodule import DataModule, OrderedBatches, ShuffledBatches, epoch_order
from src.data.dataset import Examples, Scale


@pytest.fixture(scope="module")
def fashion() -> DataModule:
    return DataModule(fashion_mnist.load("data"), batch_size=256, val_size=10_000, split_seed=42, seed=3)


def test_the_splits_have_the_published_sizes(fashion: DataModule) -> None:
    assert [len(part) for part in (fashion.train, fashion.val, fashion.test)] == [50_000, 10_000, 10_000]
    assert fashion.train.inputs.dtype == torch.uint8
    assert len(fashion.train_dataloader()) == 195


def test_the_split_is_that_of_random_split(fashion: DataModule) -> None:
    training, validation = random_split(range(60_000), [50_000, 10_000], torch.Generator().manual_seed(42))
    pool = fashion.dataset.pool
    assert torch.equal(fashion.train.inputs, pool.inputs[torch.tensor(training.indices)])
    assert torch.equal(fashion.val.labels, pool.labels[torch.tensor(validation.indices)])


def test_numbers_are_identical_to_torchvisions(fashion: DataModule) -> None:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    every_value = torch.arange(784).remainder(256).to(torch.uint8)
    for raw in (every_value, fashion.train.inputs[17]):
        expected = transform(Image.fromarray(raw.view(28, 28).numpy()))
        assert torch.equal(fashion.dataset.scale(raw.view(1, 28, 28)), expected)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert torch.equal(epoch_order(1, 5, 1000), epoch_order(1, 5, 1000))
    orders = [epoch_order(seed, epoch, 1000) for seed, epoch in ((1, 5), (1, 6), (2, 5), (5, 1))]
    assert all(torch.equal(order.sort().values, torch.arange(1000)) for order in orders)
    assert len({tuple(order[:5].tolist()) for order in orders}) == 4


def numbered(n: int) -> Examples:
    return Examples(torch.arange(n).unsqueeze(1).to(torch.uint8), torch.arange(n))


def labels_in(batches: ShuffledBatches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def test_an_epoch_shows_every_example_once_and_drops_the_rest() -> None:
    batches = ShuffledBatches(numbered(103), Scale(1, 0, 1), 10, seed=0)
    seen = [label for labels in labels_in(batches) for label in labels]
    assert len(batches) == 10
    assert len(set(seen)) == len(seen) == 100
    assert seen == epoch_order(0, 0, 103)[:100].tolist()
    for inputs, labels in batches:
        assert torch.equal(inputs[:, 0], labels.float())


def test_processes_share_each_batch() -> None:
    whole = ShuffledBatches(numbered(64), Scale(1, 0, 1), 8, seed=4)
    shares = [ShuffledBatches(numbered(64), Scale(1, 0, 1), 8, seed=4, rank=rank, ranks=2) for rank in range(2)]
    for batches in (whole, *shares):
        batches.set_epoch(3)
    joined = [first + second for first, second in zip(*map(labels_in, shares), strict=True)]
    assert joined == labels_in(whole)
    with pytest.raises(ValueError, match=r"batch_size=8: must be divisible by the 3 devices"):
        ShuffledBatches(numbered(64), Scale(1, 0, 1), 8, seed=4, rank=0, ranks=3)


def test_ordered_batches_show_everything_in_order() -> None:
    batches = OrderedBatches(numbered(25), Scale(1, 0, 1), 10)
    assert [len(labels) for _, labels in batches] == [10, 10, 5]
    assert len(batches) == 3


def test_the_probe_is_the_beginning_of_the_training_split(fashion: DataModule) -> None:
    inputs, labels = fashion.probe(256)
    assert torch.equal(inputs, fashion.dataset.scale(fashion.train.inputs[:256]))
    assert torch.equal(labels, fashion.train.labels[:256])


@pytest.mark.parametrize(
    ("batch_size", "val_size", "message"),
    [(50_001, 10_000, "at most 50000"), (256, 60_000, "between 1 and 59999"), (256, 0, "between 1")],
)
def test_sizes_that_leave_nothing_are_refused(batch_size: int, val_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(fashion_mnist.load("data"), batch_size, val_size, 42, 0)


def test_digits_are_the_published_ones() -> None:
    data = digits.load()
    assert (len(data.pool), len(data.test), data.input_size) == (1437, 360, 64)
    assert int(data.pool.inputs.max()) == 16
    assert data.scale(torch.tensor([0, 8, 16])).tolist() == [-1, 0, 1]
    per_class = data.pool.labels.bincount() + data.test.labels.bincount()
    assert per_class.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def idx_bytes(values: np.ndarray, kind: int = 8) -> bytes:  # type: ignore[type-arg]
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.mark.parametrize("compress", [True, False])
def test_an_idx_file_is_read_back(tmp_path: Path, compress: bool) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    path = tmp_path / ("x.gz" if compress else "x")
    path.write_bytes(gzip.compress(idx_bytes(values)) if compress else idx_bytes(values))
    assert idx.read(path).tolist() == values.tolist()


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG\r\n", "not an IDX file"),
        (idx_bytes(np.zeros((2, 2)), kind=13), "not an IDX file"),
        (GOOD[:-1], "promises 12 values"),
        (GOOD + b"x", "promises 12 values"),
        (GOOD[:6], "promises no values"),
        (bytes([0, 0, 8, 2]) + b"\xff" * 8, "promises 4294967295"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        idx.read(path)


@pytest.mark.parametrize("damage", [lambda z: z[:-9], lambda z: z[:30] + b"\0\0" + z[32:], lambda z: b"no" + z])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(GOOD * 20)))
    with pytest.raises(ValueError, match=r"x\.gz"):
        idx.read(path)


def copy_of_the_data(folder: Path) -> Path:
    files = fashion_mnist.find(Path("data"))
    assert files
    for name, path in files.items():
        (folder / f"{name}{path.suffix}").symlink_to(path.resolve())
    return folder


def test_wrong_content_is_found_on_load(tmp_path: Path) -> None:
    folder = copy_of_the_data(tmp_path)
    labels = next(folder.glob("t10k-labels*"))
    labels.unlink()
    content = idx_bytes(np.zeros(10_000, dtype=np.uint8))
    labels.write_bytes(gzip.compress(content) if labels.suffix == ".gz" else content)
    with pytest.raises(ValueError, match=r"t10k-labels.*expected 0402a96d"):
        fashion_mnist.load(str(folder))


def test_files_in_the_given_folder_come_before_debians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of_the_data(tmp_path)
    found = fashion_mnist.find(folder)
    assert found is not None
    assert {path.parent for path in found.values()} == {folder}
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)
    elsewhere = fashion_mnist.find(tmp_path / "empty")
    assert elsewhere is not None
    assert {path.parent for path in elsewhere.values()} == {folder}


def test_missing_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr("torchvision.datasets.mnist.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(ValueError, match="make data"):
        fashion_mnist.load(str(tmp_path / "nothing"))
