"""Read IDX files, the format of MNIST and its relatives, without trusting what they say about themselves.

Format: two zero bytes, one byte for the type (8: unsigned byte), one for the number of dimensions, each dimension as a
big-endian uint32, then the values and nothing else. Source: http://yann.lecun.com/exdb/mnist/
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

UNSIGNED_BYTE = 8
MAX_VALUES = 2**30  # a header may claim anything; the largest of this family, EMNIST's, has 2**29.2
PIECE = 2**20  # read at a time: memory is taken for what is there, not for what is promised


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, sha256: str | None) -> Tensor:
    header = stream.read(4)
    if len(header) < 4 or header[:3] != bytes([0, 0, UNSIGNED_BYTE]) or not 1 <= header[3] <= 4:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    sizes = stream.read(4 * header[3])
    shape = struct.unpack(f">{len(sizes) // 4}I", sizes) if len(sizes) == 4 * header[3] else ()
    count = math.prod(shape)
    if not shape or count > MAX_VALUES:
        raise ValueError(f"{path}: the header promises {' × '.join(map(str, shape)) or 'no'} values")
    values = bytearray()
    while len(values) < count and (piece := stream.read(min(PIECE, count - len(values)))):
        values += piece
    if len(values) != count or stream.read(1):
        raise ValueError(f"{path}: the header promises {count} values, the file holds another number")
    if sha256 is not None:
        found = hashlib.sha256(header + sizes + values).hexdigest()
        if found != sha256:
            raise ValueError(f"{path}: wrong content, SHA-256 is {found}, expected {sha256}")
    return torch.frombuffer(values, dtype=torch.uint8).view(shape) if count else torch.empty(shape, dtype=torch.uint8)


def read(path: Path, sha256: str | None = None) -> Tensor:
    """The tensor in an IDX file, gzipped or not; `sha256` is of the uncompressed content.

    Raises ValueError for anything that is not exactly such a file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parse(stream, path, sha256)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from error
