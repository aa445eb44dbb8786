"""IDX files, the format of MNIST and its relatives: where they lie, and what they hold. Neither is trusted.

Names: PART-KIND-idx3-ubyte as on yann.lecun.com, with a dot before "idx" or ".gz" at the end, and with the name of a
split before them in EMNIST and QMNIST. Format: two zero bytes, one byte for the type (8: unsigned byte), one for the
number of dimensions, each dimension as a big-endian uint32, then the values, big-endian, and nothing else. Source:
http://yann.lecun.com/exdb/mnist/
"""

import gzip
import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from actsweep.errors import UserError

NAME = re.compile(r"([^.].*)?(train|t10k|test)(.*)(images|labels)[-.]idx\d-(?:ubyte|int)(?:\.gz)?", re.IGNORECASE)
TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
BYTES = ("uint8",)
WHOLE_NUMBERS = ("uint8", "int8", "int16", "int32")
GZIP = b"\x1f\x8b"  # how such files begin: browsers unpack some archives and keep their names
MAX_VALUES = 2**30  # a header may claim anything; the largest of this family, EMNIST's, has 2**29.2
Array = npt.NDArray[Any]
PIECE = 2**20  # bytes read at a time: memory is taken for what is there, not for what is promised


class Slot(NamedTuple):
    """What an IDX file holds."""

    split: str  # "emnist-letters" in emnist-letters-train-images-idx3-ubyte.gz
    part: str  # "train" or "test"
    kind: str  # "images" or "labels"


Listing = Mapping[Slot, list[Path]]


def slot(name: str) -> Slot | None:
    """What a file of this name holds.

    >>> slot("emnist-letters-test-labels-idx1-ubyte.gz")
    Slot(split='emnist-letters', part='test', kind='labels')
    """
    if not (match := NAME.fullmatch(name)):
        return None
    before, part, after, kind = (word or "" for word in match.groups())
    split = "-".join(re.findall(r"[^-_. ]+", f"{before}-{after}"))
    return Slot(split, "train" if part.lower() == "train" else "test", kind.lower())


def folder(root: object) -> Path:
    """The path a person gave as data.source.root; `~` is their home, also where no shell has seen it."""
    if isinstance(root, bool) or not isinstance(root, str | int | Path) or not str(root).strip():
        raise UserError(f"data.source.root={root}: must be the path of a folder")
    try:
        return Path(str(root)).expanduser()
    except RuntimeError as error:
        raise UserError(f"data.source.root={root}: there is no such user here") from error


def listing(place: Path) -> Listing:
    """Every IDX file in a folder, plain before gzipped; a folder that is named like a file stands for what is in it."""
    found: dict[Slot, list[Path]] = {}
    paths = [path for path in place.iterdir() if slot(path.name)] if place.is_dir() else []
    files = [inner for path in paths for inner in (path.iterdir() if path.is_dir() else [path]) if inner.is_file()]
    for path in sorted(files, key=lambda path: (path.suffix == ".gz", path)):
        if held := slot(path.name):
            found.setdefault(held, []).append(path)
    return found


def below(root: Path) -> Listing:
    """The files in `root`, or in the one folder below that has some, as torchvision's NAME/raw and EMNIST's gzip."""
    for places in ([root], root.glob("*"), root.glob("*/*")):
        readable = [place for place in sorted(places) if place == root or os.access(place, os.R_OK | os.X_OK)]
        found = {place: there for place in readable if (there := listing(place))}
        if len(found) > 1:
            several = ", ".join(map(str, found))
            raise UserError(f"data.source.root={root}: holds several data sets, give one of {several}")
        if found:
            return next(iter(found.values()))
    return {}


def of_split(there: Listing, root: Path, split: str | None) -> dict[tuple[str, str], list[Path]]:
    """(part, kind) → files of one split, named in full or by its last word; None where there is only one."""
    wanted = {each for each in there if split in (None, each.split)}
    wanted = wanted or {each for each in there if f"-{each.split}".endswith(f"-{split}")}
    names = sorted({each.split for each in wanted or there})
    known = ", ".join(name or "''" for name in names)
    if there and not wanted:
        raise UserError(f"data.source.split={split}: there is no such split in {root}, which holds {known}")
    if len(names) > 1:
        choose = f"choose one with data.source.split={names[-1]}"
        raise UserError(f"data.source.root={root}: holds the splits {known}: {choose}")
    return {each[1:]: there[each] for each in wanted}


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, sha256: str | None, allowed: Sequence[str]) -> Array:
    header = stream.read(4)
    kind = TYPES.get(header[2]) if len(header) == 4 and header[:2] == bytes(2) and 1 <= header[3] <= 4 else None
    if kind not in allowed:
        what = f", but of {kind}" if kind else ""
        raise UserError(f"{path} is not an IDX file of {' or '.join(allowed)}{what}")
    sizes = stream.read(4 * header[3])
    shape = struct.unpack(f">{len(sizes) // 4}I", sizes) if len(sizes) == 4 * header[3] else ()
    count, number = math.prod(shape), np.dtype(kind).newbyteorder(">")
    if not shape or count > MAX_VALUES:
        raise UserError(f"{path}: the header promises {' × '.join(map(str, shape)) or 'no'} values")
    values, size = bytearray(), count * number.itemsize
    while len(values) < size and (piece := stream.read(min(PIECE, size - len(values)))):
        values += piece
    if len(values) != size or stream.read(1):
        raise UserError(f"{path}: the header promises {count} values, the file holds another number")
    if sha256 is not None:
        found = hashlib.sha256(header + sizes + values).hexdigest()
        if found != sha256:
            raise UserError(f"{path}: wrong content, SHA-256 is {found}, expected {sha256}")
    return np.ndarray(shape, number, values).astype(number.newbyteorder("="), copy=False)


def read(path: Path, sha256: str | None = None, allowed: Sequence[str] = BYTES) -> Array:
    """The array in an IDX file of `allowed` types, gzipped or not; `sha256` is of the uncompressed content.

    Raises UserError for anything that is not exactly such a file.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if zipped else file as stream:
                return _parse(stream, path, sha256, allowed)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
