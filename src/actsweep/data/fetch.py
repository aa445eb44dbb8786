"""`make data`: get FashionMNIST, once, without root.

Tried in order: what is already there; the Debian package, fetched and unpacked with apt and dpkg into data/ as an
ordinary user; torchvision's download.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from actsweep.data import fashion_mnist, idx
from actsweep.places import data_folder, door

PACKAGE = "dataset-fashion-mnist"


def from_debian(scratch: Path) -> Path:
    """The folder below `scratch` with the Debian package's files. Raises OSError or CalledProcessError without them."""
    lists, cache = scratch / "lists", scratch / "cache"
    for folder in (lists / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True)
    # Package lists and cache of our own, because the system's belong to root.
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
    for command in (["update"], ["download", PACKAGE]):
        subprocess.run([*apt, *command], cwd=scratch, check=True, capture_output=True)
    package = next(scratch.glob("*.deb"))
    subprocess.run(["dpkg-deb", "-x", package, "unpacked"], cwd=scratch, check=True, capture_output=True)
    return scratch / "unpacked" / fashion_mnist.DEBIAN_FOLDER.relative_to("/")


def fetch(root: Path) -> Path:
    """The folder that now holds verified files; none is replaced. Raises UserError if no source had them."""
    if fashion_mnist.find(root) is None:
        fashion_mnist.verify(fashion_mnist.there(root))
        with tempfile.TemporaryDirectory() as scratch:
            try:
                unpacked = from_debian(Path(scratch))
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"Debian's {PACKAGE} can't be had here ({error}); trying torchvision's download")
            else:
                fashion_mnist.add(unpacked, root)
    fashion_mnist.load(str(root))
    files = fashion_mnist.find(root)
    assert files
    return next(iter(files.values())).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog=door("data.fetch"), description="Get FashionMNIST, once.")
    parser.add_argument("--root", type=Path, default=data_folder(), help="where to put it (default: %(default)s)")
    print("FashionMNIST, verified, in", fetch(idx.folder(parser.parse_args().root)))
