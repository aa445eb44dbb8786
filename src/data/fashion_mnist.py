"""FashionMNIST: where its four files may lie, and what they must contain.

Flow: config → **data** → network. Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
"""

from functools import lru_cache
from pathlib import Path

from src.data import idx
from src.data.dataset import Dataset, Examples, Scale

# SHA-256 of the uncompressed content: the archives of different distributors differ, what is in them does not.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


def find(root: Path) -> dict[str, Path] | None:
    """Name → path in the first place that has all four: `root` (flat or as torchvision lays it out), Debian's."""
    for folder in (root, root / "FashionMNIST" / "raw", DEBIAN_FOLDER):
        files = {name: folder / name if (folder / name).is_file() else folder / f"{name}.gz" for name in SHA256}
        if all(path.is_file() for path in files.values()):
            return files
    return None


def downloaded(root: Path) -> dict[str, Path]:
    """Have torchvision download the files into `root`. Raises ValueError that says what to do if it can't."""
    import torchvision  # here, because it takes a second and is rarely needed

    try:
        torchvision.datasets.FashionMNIST(str(root), download=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"data.source.root={root}: FashionMNIST is neither there nor in {DEBIAN_FOLDER}, and the download failed "
            f"({error}); run `make data`, or install Debian's dataset-fashion-mnist, or copy the four files there"
        ) from error
    files = find(root)
    if files is None:
        raise ValueError(f"data.source.root={root}: torchvision's download left no FashionMNIST there")
    return files


@lru_cache(maxsize=2)  # the runs of a sweep share one copy
def load(root: str, download: bool = True) -> Dataset:
    """60,000 + 10,000 images as uint8 rows of 784, verified; scaled to [−1, 1]. Raises ValueError if that fails."""
    files = find(Path(root)) or (downloaded(Path(root)) if download else None)
    if files is None:
        raise ValueError(f"data.source.root={root}: FashionMNIST is neither there nor in {DEBIAN_FOLDER}")
    tensors = {name: idx.read(path, SHA256[name]) for name, path in files.items()}
    return Dataset(
        pool=Examples(tensors["train-images-idx3-ubyte"].flatten(1), tensors["train-labels-idx1-ubyte"].long()),
        test=Examples(tensors["t10k-images-idx3-ubyte"].flatten(1), tensors["t10k-labels-idx1-ubyte"].long()),
        classes=CLASSES,
        shape=(28, 28),
        scale=Scale(divisor=255, mean=0.5, std=0.5),
    )
