"""Data that is missing, damaged or another's ends with one line that names its place, exit code 2, nothing created."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actsweep.data import fashion_mnist
from tests.config.test_bad_input import only_line
from tests.data.test_data_files import idx_bytes

Command = Callable[..., int]


def test_missing_data_names_the_place_and_the_remedy(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "none")
    monkeypatch.setattr("torchvision.datasets.mnist.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    assert command("trainer=cpu", f"data.source.root={tmp_path}/no", f"hydra.run.dir={tmp_path}/out") == 2
    line = only_line(capsys)
    assert f"data.source.root={tmp_path}/no" in line
    assert "src.data.fetch" in line


PIXELS, LABELS = (idx_bytes(np.zeros(shape, dtype=np.uint8)) for shape in ((4, 2, 2), (3,)))


@pytest.mark.parametrize(
    ("data", "images", "labels", "named"),
    [
        ("fashion_mnist", b"\x1f\x8b damaged", b"", "{root}/train-images-idx3-ubyte.gz: damaged gzip file"),
        ("fashion_mnist", gzip.compress(PIXELS, mtime=0), b"", "expected"),  # the test's name has no date
        ("mnist_folder", b"GIF89a", LABELS, "{root}/train-images-idx3-ubyte is not an IDX file"),
        ("mnist_folder", PIXELS, LABELS, "(4, 2, 2) and labels (3,) don't match"),
        ("mnist_folder", bytes([0, 0, 8, 1, 0x40, 0, 0, 0, 7]), LABELS, "the header promises 1073741824 values"),
    ],
)
def test_data_that_is_damaged_wrong_or_lies_is_named(
    data: str,
    images: bytes,
    labels: bytes,
    named: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suffix = ".gz" if data == "fashion_mnist" else ""
    for name in fashion_mnist.SHA256:
        (tmp_path / f"{name}{suffix}").write_bytes(images if "images" in name else labels)
    where = [f"data={data}", f"data.source.root={tmp_path}", f"hydra.run.dir={tmp_path}/out"]
    assert command("trainer=cpu", *where) == 2
    assert named.format(root=tmp_path) in only_line(capsys)
    assert not (tmp_path / "out").exists()
