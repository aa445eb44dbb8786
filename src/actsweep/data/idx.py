"""Read IDX files, the format of MNIST and its relatives, without trusting what they say about themselves.

Format: two zero bytes, one byte for the type (8: unsigned byte), one for the number of dimensions, each dimension as a
big-endian uint32, then the values, big-endian, and nothing else. Source: http://yann.lecun.com/exdb/mnist/
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from actsweep.errors import UserError

TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
BYTES = ("uint8",)
WHOLE_NUMBERS = ("uint8", "int8", "int16", "int32")
GZIP = b"\x1f\x8b"  # how such files begin: browsers unpack some archives and keep their names
MAX_VALUES = 2**30  # a header may claim anything; the largest of this family, EMNIST's, has 2**29.2
Array = npt.NDArray[Any]
PIECE = 2**20  # bytes read at a time: memory is taken for what is there, not for what is promised


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
