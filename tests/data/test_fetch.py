"""Fetching FashionMNIST: what is missing is added, what is there stays as it is."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from actsweep.data import fashion_mnist, fetch
from actsweep.errors import UserError
from tests.data.test_data_files import idx_bytes
from tests.data.test_folders import TRAIN, Files, four, images, written, zipped


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Path]:
    """A FashionMNIST of nine images, its checksums, and a source that has it: copied to where it is asked for."""
    monkeypatch.setattr(fashion_mnist, "DIGEST", "of nine images")
    monkeypatch.setattr(fashion_mnist, "SHA256", {n: hashlib.sha256(c).hexdigest() for n, c in four().items()})
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "none")
    return lambda folder: written(folder, zipped(four()))


class Torchvision:
    """What torchvision.datasets.FashionMNIST does: writes into root/FashionMNIST/raw, over what is there."""

    def __init__(self, root: str, download: bool) -> None:
        written(Path(root) / "FashionMNIST" / "raw", four() | zipped(four()))


@pytest.mark.parametrize("source", ["debian", "torchvision"])
@pytest.mark.parametrize(
    "there", [{}, {"train-images-idx3-ubyte": four()["train-images-idx3-ubyte"]}, {"mine.csv": b"1"}]
)
def test_what_is_missing_is_fetched_and_nothing_replaced(
    source: str, there: Files, published: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_debian(scratch: Path) -> Path:
        if source != "debian":
            raise OSError("no apt-get here")
        return published(scratch)

    monkeypatch.setattr(fetch, "from_debian", from_debian)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Torchvision)
    before = {name: (written(tmp_path / "data", there) / name).stat().st_mtime_ns for name in there}
    assert fetch.fetch(tmp_path / "data") == tmp_path / "data"
    assert {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in there} == before
    found = sorted(path.name.removesuffix(".gz") for path in (tmp_path / "data").iterdir())
    assert found == sorted(four() | there)
    data = fashion_mnist.load(str(tmp_path / "data"), download=False)
    assert data.expected == "of nine images"
    assert data.pool.labels.tolist() == TRAIN


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(zipped(four())["train-images-idx3-ubyte.gz"][:-9], "damaged gzip"), (idx_bytes(images([1])), "wrong content")],
)
def test_a_damaged_or_foreign_file_is_named_and_stays(
    content: bytes, wrong: str, published: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "from_debian", lambda scratch: pytest.fail("there is no need to ask"))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Torchvision)
    path = written(tmp_path / "data", {"train-images-idx3-ubyte.gz": content}) / "train-images-idx3-ubyte.gz"
    for ask in (lambda: fetch.fetch(tmp_path / "data"), lambda: fashion_mnist.load(str(tmp_path / "data"))):
        with pytest.raises(UserError, match=rf"^{path}: {wrong}"):
            ask()
    assert [each.name for each in (tmp_path / "data").iterdir()] == [path.name]
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_what_only_has_the_name_of_a_file_is_named_and_stays(
    kind: str, published: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "t10k-images-idx3-ubyte.gz"
    path.parent.mkdir()
    if kind == "folder":
        written(path, {"notes.txt": b"mine"})
    else:
        path.symlink_to("nowhere")
    monkeypatch.setattr(fetch, "from_debian", published)
    with pytest.raises(UserError, match=rf"^{path} is in the way: it is no file$"):
        fetch.fetch(path.parent)
    assert path.is_symlink() or (path / "notes.txt").read_bytes() == b"mine"


def test_a_place_that_cant_be_written_is_named(
    published: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(fetch, "from_debian", published)
    with pytest.raises(UserError, match=rf"^data.source.root={tmp_path}/file: .*exists"):
        fetch.fetch(tmp_path / "file")


def test_without_a_home_the_users_cache_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsweep.places.INSTALLED", True)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody has this process's number
    for name in ("ACTSWEEP_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"^data\.source\.root=~/\.cache/actsweep: there is no such user here"):
        fashion_mnist.load(None)


def test_a_tilde_is_the_home_folder(
    published: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(published(tmp_path)))
    monkeypatch.setattr("sys.argv", ["fetch", "--root", "~"])
    fetch.main()
    assert capsys.readouterr().out == f"FashionMNIST, verified, in {tmp_path}\n"
    assert fashion_mnist.load("~/", download=False).pool.labels.tolist() == TRAIN
