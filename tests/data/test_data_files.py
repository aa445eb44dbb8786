"""Files of data: what is read, what is refused, and where they are looked for."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from actsweep.data import fashion_mnist, idx, mnist_folder


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
    with pytest.raises(ValueError, match=r"src\.data\.fetch"):
        fashion_mnist.load(str(tmp_path / "nothing"))


def test_a_folder_of_idx_files_is_a_data_set(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part, size in (("emnist-letters-train", 20), ("emnist-letters-test", 6)):
        images = generator.integers(0, 256, (size, 3, 4), dtype=np.uint8)
        labels = (np.arange(size) % 5 + 1).astype(np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    data = mnist_folder.load(str(tmp_path), first_label=1)
    assert (len(data.pool), len(data.test or ()), data.input_size, data.shape) == (20, 6, 12, (3, 4))
    assert data.classes == ("1", "2", "3", "4", "5")
    assert data.pool.labels.tolist() == [n % 5 for n in range(20)]
    assert data.scale(torch.tensor([0, 255])).tolist() == [-1, 1]


def test_a_folder_whose_images_and_labels_dont_match_is_refused(tmp_path: Path) -> None:
    for name, values in (("images-idx3", np.zeros((4, 2, 2))), ("labels-idx1", np.zeros(3))):
        for part in ("train", "t10k"):
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(idx_bytes(values.astype(np.uint8)))
    with pytest.raises(ValueError, match=r"\(4, 2, 2\) and labels \(3,\) don't match"):
        mnist_folder.load(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="needs one file of train images"):
        mnist_folder.load(str(tmp_path / "empty"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("sizes", "content"), [((2**30,), 1000), ((2**15, 2**15), 10), ((10,), 2**26), ((2**32 - 1,) * 4, 0)]
)
def test_an_idx_file_that_lies_about_its_size_takes_no_memory(
    sizes: tuple[int, ...], content: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"bomb{suffix}"
    header = bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    with gzip.open(path, "wb") if suffix else path.open("wb") as file:
        file.write(header)
        for start in range(0, content, 2**20):
            file.write(bytes(min(2**20, content - start)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="the header promises"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20
