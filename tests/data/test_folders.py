"""Folders of IDX files as their sites, torchvision and Kaggle leave them: read as they are, or refused in one line."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from actsweep.config.schema import Data
from actsweep.data import idx, mnist_folder
from actsweep.data.datamodule import open_data
from actsweep.errors import UserError
from tests.data.test_data_files import idx_bytes

Files = dict[str, bytes]
TRAIN, TEST = [0, 1, 2, 0, 1, 2], [2, 1, 0]


def images(labels: list[int]) -> np.ndarray:  # type: ignore[type-arg]
    """2 × 2 pixels that show the label."""
    return np.repeat(np.array(labels, dtype=np.uint8) + 10, 4).reshape(-1, 2, 2)


def four(before: str = "", test: str = "t10k", train: list[int] = TRAIN, held_out: list[int] = TEST) -> Files:
    """The four files as on yann.lecun.com."""
    return {
        f"{before}{part}-{kind}-ubyte": idx_bytes(values)
        for part, labels in (("train", train), (test, held_out))
        for kind, values in (("images-idx3", images(labels)), ("labels-idx1", np.array(labels, dtype=np.uint8)))
    }


def zipped(files: Files) -> Files:
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}


def within(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def in_folders(files: Files) -> Files:
    """As Kaggle unpacks: each file in a folder of its own name."""
    return {f"{name}/{name}": content for name, content in files.items()}


def dotted(files: Files) -> Files:
    return {name.replace("-idx", ".idx"): content for name, content in files.items()}


def qmnist() -> Files:
    """Labels with eight columns: the class, and who wrote it where."""
    files = zipped(four("qmnist-", "test"))
    for part, labels in (("train", TRAIN), ("test", TEST)):
        del files[f"qmnist-{part}-labels-idx1-ubyte.gz"]
        table = np.array([[label, 5, 3000, 7, 40, 30, 20, 1] for label in labels], dtype=">i4")
        files[f"qmnist-{part}-labels-idx2-int.gz"] = gzip.compress(idx_bytes(table, 12), mtime=0)
    return files


def written(root: Path, files: Files) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


LETTERS = four("emnist-letters-", "test", [1, 2, 1, 2], [2, 1])
BALANCED = four("emnist-balanced-", "test")
RENUMBERED = ([0, 1, 0, 1], [1, 0])
READ = {
    "LeCun's archives": (zipped(four()), {}, TRAIN, TEST),
    "plain and gzipped": (four() | zipped(four()), {}, TRAIN, TEST),
    "torchvision's raw": (within("raw", four() | zipped(four())), {}, TRAIN, TEST),
    "torchvision's root": (within("MNIST/raw", four() | zipped(four())), {}, TRAIN, TEST),
    "Kaggle's folders": (in_folders(four()), {}, TRAIN, TEST),
    "Kaggle's folders with a dot": (in_folders(dotted(four())), {}, TRAIN, TEST),
    "Kaggle's folders and files": (in_folders(four()) | dotted(four()), {}, TRAIN, TEST),
    "Kaggle's EMNIST": (within("emnist_source_files", BALANCED), {}, TRAIN, TEST),
    "EMNIST's archive": (within("gzip", zipped(LETTERS)), {"first_label": 1}, *RENUMBERED),
    "one split of two": (zipped(LETTERS | BALANCED), {"split": "balanced"}, TRAIN, TEST),
    "one split of two, in full": (LETTERS | BALANCED, {"split": "emnist-letters", "first_label": 1}, *RENUMBERED),
    "a split whose name ends another's": (
        four("mnist-") | four("emnist-mnist-", train=[0, 0, 1, 1]), {"split": "mnist"}, TRAIN, TEST,
    ),
    "the files without a split": (four() | LETTERS, {"split": ""}, TRAIN, TEST),
    "QMNIST's": (qmnist(), {}, TRAIN, TEST),
    "QMNIST's beside MNIST's": (qmnist() | four(train=[0, 0, 1, 1]), {"split": "qmnist"}, TRAIN, TEST),
    "macOS's shadow files": (four() | {f"._{name}": b"\0\5\x16\7" for name in four()}, {}, TRAIN, TEST),
    "unpacked by a browser": ({f"{name}.gz": content for name, content in four().items()}, {}, TRAIN, TEST),
    "gzipped without the name": (
        {name.removesuffix(".gz"): content for name, content in zipped(four()).items()}, {}, TRAIN, TEST,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", READ)
def test_a_folder_is_read_as_it_was_left(layout: str, tmp_path: Path) -> None:
    files, arguments, train, test = READ[layout]
    data = mnist_folder.load(str(written(tmp_path, files)), **arguments)
    assert data.test is not None
    assert (data.pool.labels.tolist(), data.test.labels.tolist()) == (train, test)
    first = arguments.get("first_label", 0)
    assert data.pool.inputs.tolist() == images([label + first for label in train]).reshape(-1, 4).tolist()
    assert data.classes == tuple(str(label + first) for label in range(max(train) + 1))


EMPTY = four(train=[], held_out=[])
SECOND = {"train-images-idx3-ubyte.gz": gzip.compress(idx_bytes(images(TRAIN[::-1])), mtime=0)}
FLOATS = {"train-images-idx3-ubyte": idx_bytes(images(TRAIN).astype(">f4"), 13)}
LABELS_OF_FLOATS = {"train-labels-idx1-ubyte": idx_bytes(np.array(TRAIN, dtype=">f8"), 14)}
ONE_HOT = {"train-labels-idx1-ubyte": idx_bytes(np.eye(3, dtype=np.uint8)[TRAIN])}
REFUSED = {
    "different plain and gzipped": (
        four() | SECOND, {},
        "{root}/train-images-idx3-ubyte and {root}/train-images-idx3-ubyte.gz hold different data: keep the right one "
        "there",
    ),
    "several splits": (
        zipped(LETTERS | BALANCED), {},
        "data.source.root={root}: holds the splits emnist-balanced, emnist-letters: choose one with "
        "data.source.split=emnist-letters",
    ),
    "half of one split and half of another": (
        {name: content for name, content in (LETTERS | BALANCED).items() if ("train" in name) == ("letters" in name)},
        {},
        "data.source.root={root}: holds the splits emnist-balanced, emnist-letters: choose one with "
        "data.source.split=emnist-letters",
    ),
    "an unknown split": (
        LETTERS | BALANCED, {"split": "leters"},
        "data.source.split=leters: there is no such split in {root}, which holds emnist-balanced, emnist-letters",
    ),
    "several data sets": (
        within("KMNIST/raw", four()) | within("MNIST/raw", four()), {},
        "data.source.root={root}: holds several data sets, give one of {root}/KMNIST/raw, {root}/MNIST/raw",
    ),
    "letters numbered from 1": (
        LETTERS, {},
        "data.source.first_label=0: no image in {root} has it, labels run from 1 to 2: give data.source.first_label=1",
    ),
    "labels below the first": (
        four(), {"first_label": 1}, "data.source.first_label=1: the smallest label in {root} is 0",
    ),
    "a gap": (
        four(train=[0, 1, 3], held_out=[0]), {},
        "data.source.root={root}: no training image has label 2, but labels run from 0 to 3: number them without gaps",
    ),
    "a class of the test alone": (
        four(train=[1, 2], held_out=[0, 3]), {},
        "data.source.root={root}: no training image has label 0, but labels run from 0 to 3: number them without gaps",
    ),
    "nothing": ({}, {}, "data.source.root={root}: needs one file of train images in IDX format, there is none"),
    "no test": (
        {name: content for name, content in four().items() if "t10k" not in name}, {},
        "data.source.root={root}: needs one file of test images in IDX format, there is none",
    ),
    "no images": (
        EMPTY, {},
        "data.source.root={root}: training images (0, 2, 2) and test images (0, 2, 2) must be of one size, "
        "and not none",
    ),
    "images of floats": (
        four() | FLOATS, {}, "{root}/train-images-idx3-ubyte is not an IDX file of uint8, but of float32",
    ),
    "labels of floats": (
        four() | LABELS_OF_FLOATS, {},
        "{root}/train-labels-idx1-ubyte is not an IDX file of uint8 or int8 or int16 or int32, but of float64",
    ),
    "one-hot labels": (
        four() | ONE_HOT, {}, "data.source.root={root}: train images (6, 2, 2) and labels (6, 3) don't match",
    ),
    "a first label that is none": (four(), {"first_label": "a"}, "data.source.first_label=a: must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_could_be_misread_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    files, arguments, line = REFUSED[case]
    source = {"_target_": "actsweep.data.mnist_folder.load", "root": str(written(tmp_path, files))} | arguments
    with pytest.raises(UserError) as refused:
        open_data(Data.model_validate({"source": source, "val_size": 0, "split_seed": 0, "batch_size": "all"}), 0)
    assert str(refused.value) == line.format(root=tmp_path)


@pytest.mark.parametrize(
    ("root", "line"),
    [
        ("", "data.source.root=: must be the path of a folder"),
        (None, "data.source.root=None: must be the path of a folder"),
        (0.5, "data.source.root=0.5: must be the path of a folder"),
        ("~no-such-user/x", "data.source.root=~no-such-user/x: there is no such user here"),
        ("/nowhere/at/all", "data.source.root=/nowhere/at/all: there is no such folder"),
        (__file__, f"data.source.root={__file__}: there is no such folder"),
    ],
)
def test_a_root_that_is_no_folder_is_refused(root: object, line: str) -> None:
    with pytest.raises(UserError) as refused:
        mnist_folder.load(root)  # type: ignore[arg-type]
    assert str(refused.value) == line


def test_a_tilde_is_the_home_folder_and_a_number_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "2024", four())
    for root in ("~/2024", 2024, "2024"):
        assert mnist_folder.load(root).pool.labels.tolist() == TRAIN  # type: ignore[arg-type]


def settle(root: Path) -> None:
    """Let the files in root be an hour old, except for the time stamp that nobody can set."""
    for path in root.iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))


def test_files_that_change_are_read_again_and_others_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_folder, "SETTLED", -1.0)
    written(tmp_path, four())
    os.utime(tmp_path / "train-images-idx3-ubyte", (2**32, 2**32))  # in the year 2106, as of a camera or an archive
    first = mnist_folder.load(str(tmp_path))
    assert mnist_folder.load(str(tmp_path)) is first
    written(tmp_path, four(train=[0, 1, 2, 2, 2, 2]))
    settle(tmp_path)
    assert mnist_folder.load(str(tmp_path)).pool.labels.tolist() == [0, 1, 2, 2, 2, 2]
    monkeypatch.setattr(mnist_folder, "SETTLED", 2.0)
    for labels in ([2, 1, 0], [0, 1, 2], [1, 2, 0], [0, 2, 1]) * 5:  # within one tick of the file system's clock
        assert mnist_folder.load(str(written(tmp_path, four(train=labels)))).pool.labels.tolist() == labels


def test_a_relative_root_means_another_folder_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_folder, "SETTLED", -1.0)
    for name, labels in (("a", TRAIN), ("b", TRAIN[::-1])):
        written(tmp_path / name / "data", four(train=labels))
        monkeypatch.chdir(tmp_path / name)
        assert mnist_folder.load("data").pool.labels.tolist() == labels


def test_the_digest_tells_contents_apart_and_not_places_archives_or_names(tmp_path: Path) -> None:
    layouts: dict[str, Files] = {"a": four(), "b": zipped(four()), "c": within("MNIST/raw", four()), "d": qmnist()}
    opened = [mnist_folder.load(str(written(tmp_path / name, files))) for name, files in layouts.items()]
    assert len({data.digest for data in opened}) == 1
    other = four(train=[0, 1, 2, 0, 2, 1])
    assert mnist_folder.load(str(written(tmp_path / "e", other))).digest != opened[0].digest
    assert not opened[0].published


def test_idx_numbers_are_big_endian(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes([0, 0, 12, 1]) + struct.pack(">I3i", 3, 1, -2, 2**31 - 1))
    read = idx.read(tmp_path / "x", allowed=idx.WHOLE_NUMBERS)
    assert (read.dtype, read.tolist()) == (np.int32, [1, -2, 2**31 - 1])
