"""FashionMNIST: where its four files may lie, and what they must contain.

Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
"""

import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from actsweep.data import idx
from actsweep.data.dataset import Dataset, Examples, Pictures, Scale
from actsweep.errors import UserError
from actsweep.places import command, data_folder

# SHA-256 of the uncompressed content: the archives of different distributors differ, what is in them does not.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DIGEST = "1a76f2124c352552fd528beb1ae47a41abbb4ad4f2b7d08ff414f8acd0d1a73d"  # of the Dataset made of it
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SHAPE = (28, 28)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


def there(place: Path) -> dict[str, Path]:
    """Name → path of those of the four files that lie in a folder."""
    found = idx.listing(place)
    return {name: paths[0] for name in SHA256 if (held := idx.slot(name)) and (paths := found.get(held))}


def find(root: Path) -> dict[str, Path] | None:
    """Name → path in the first place that has all four: `root` (flat or as torchvision lays it out), Debian's."""
    places = (root, root / "raw", root / "FashionMNIST" / "raw", DEBIAN_FOLDER)
    return next((files for place in places if len(files := there(place)) == len(SHA256)), None)


def verify(files: dict[str, Path]) -> None:
    """Raise UserError that names the first of `files` that is damaged or another."""
    for name, path in files.items():
        idx.read(path, SHA256[name])


def add(source: Path, root: Path) -> None:
    """Copy into `root` what it lacks of the files in `source`. What is in `root` is kept, whatever it is."""
    files = there(source)
    verify(files)
    try:
        root.mkdir(parents=True, exist_ok=True)
        missing = [files[name] for name in files.keys() - there(root)]
        with tempfile.TemporaryDirectory(dir=root) as scratch:  # a copy that was interrupted must not look like a file
            for path in missing:
                copy, target = Path(shutil.copy(path, scratch)), root / path.name
                if target.exists() or target.is_symlink():
                    raise UserError(f"{target} is in the way: it is no file")
                copy.rename(target)
    except OSError as error:
        raise UserError(f"data.source.root={root}: {error}") from error


def downloaded(root: Path) -> dict[str, Path]:
    """Have torchvision download what `root` lacks. Raises UserError that says what to do if it can't."""
    import torchvision  # here, because it takes a second and is rarely needed

    verify(there(root))
    try:
        with tempfile.TemporaryDirectory() as scratch:  # torchvision writes over what it finds
            torchvision.datasets.FashionMNIST(scratch, download=True)
            add(Path(scratch, "FashionMNIST", "raw"), root)
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"data.source.root={root}: FashionMNIST is neither there nor in {DEBIAN_FOLDER}, and the download failed "
            f"({error}); run `{command('data.fetch')}`, install Debian's dataset-fashion-mnist, or copy the files there"
        ) from error
    if not (files := find(root)):
        raise UserError(f"data.source.root={root}: torchvision's download left no FashionMNIST there")
    return files


def _files(root: str | None, download: bool) -> dict[str, Path]:
    place = idx.folder(data_folder() if root is None else root)
    if not (files := find(place) or (downloaded(place) if download else None)):
        raise UserError(f"data.source.root={place}: FashionMNIST is neither there nor in {DEBIAN_FOLDER}")
    return files


def _images(files: Mapping[str, Path], part: str) -> idx.Array:
    name = f"{part}-images-idx3-ubyte"
    images = idx.read(files[name], SHA256[name])
    return images.reshape(len(images), -1)


@lru_cache(maxsize=2)  # the runs of a sweep share one copy, which is the same wherever it lies
def load(root: str | None, download: bool = True) -> Dataset:
    """60,000 + 10,000 images as uint8 rows of 784, verified; scaled to [−1, 1]. Raises UserError if that fails."""
    import torch

    files = _files(root, download)

    def examples(part: str) -> Examples:
        images, name = _images(files, part), f"{part}-labels-idx1-ubyte"
        labels = idx.read(files[name], SHA256[name])
        return Examples(torch.from_numpy(images), torch.from_numpy(labels).long())

    scale = Scale(divisor=255, mean=0.5, std=0.5)
    return Dataset(examples("train"), examples("t10k"), CLASSES, SHAPE, scale, expected=DIGEST)


def pictures(root: str | None, download: bool = True) -> Pictures:
    """The 10,000 of the test set, verified. Raises UserError as `load`."""
    return Pictures(_images(_files(root, download), "t10k"), CLASSES, SHAPE)
