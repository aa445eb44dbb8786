"""Whole files: what is at a path is at any time the old content or the new one; and it is ours (results/ownership.py).

Flow: around **results**.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Collection
from functools import cache
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

from actsweep.results import ownership

NOT_FINITE = {"inf": inf, "-inf": -inf, "nan": nan}  # as JSON, which has no such numbers, holds them
NAMES = {"name", "act", "init", "data", "optim"}  # keys of texts, which may be any


def temporary_beside(path: Path) -> Path:
    """Where to write what shall replace `path`, on the same file system; both are listed as ours, or refused."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    ownership.record(*listed_at(path), *listed_at(temporary)[1:])
    return temporary


def listed_at(path: Path) -> tuple[Path, str]:
    """The folder that lists a file, and as what: the nearest one above that has a list, else the file's own."""
    for folder in path.parents[:2]:
        if (folder / ownership.RECORD).exists():
            return folder, path.relative_to(folder).as_posix()
    return path.parent, path.name


def sync(path: Path) -> None:
    """Have the system put a file's content, or a folder's list of names, on disk; some do so for files alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP} or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename so that `target` is at any time the old file or the whole new one, also after a power cut."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def write_atomically(path: Path, text: str, durable: bool = True) -> None:
    """Write so that the file at `path` is at any time either the old one or the whole new one.

    `durable`: also after a power cut; that takes the disk some milliseconds.
    """
    temporary = temporary_beside(path)
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # names of files may be no Unicode
        replace(temporary, path) if durable else temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def as_json(value: Any) -> str:
    """JSON text of plain data, floats that JSON lacks as the strings in NOT_FINITE."""
    return json.dumps(speakable(value), indent=2, allow_nan=False, default=str, ensure_ascii=False) + "\n"


def speakable(value: Any) -> Any:
    """The same, with floats that JSON lacks as the strings in NOT_FINITE."""
    return _changed(value, lambda leaf: str(float(leaf)) if isinstance(leaf, float) and not isfinite(leaf) else leaf)


def heard(value: Any) -> Any:
    """What `speakable` was given; text that is a name stays one."""
    return _changed(value, lambda leaf: NOT_FINITE.get(leaf, leaf), kept=NAMES)


def _changed(value: Any, change: Callable[[Any], Any], kept: Collection[str] = ()) -> Any:
    """The same with each leaf changed, but of the keys to be kept texts."""
    if isinstance(value, dict):
        is_text = lambda key: key in kept and isinstance(value[key], str)  # noqa: E731
        return {str(key): each if is_text(key) else _changed(each, change, kept) for key, each in value.items()}
    return [_changed(each, change, kept) for each in value] if isinstance(value, list | tuple) else change(value)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, as it stands there; nothing where there is no file, or something else in it.
    Raises OSError where the system can't read it now: that says nothing of what is in there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def warn(said: str) -> None:
    """Once, however often the file in question is read."""
    print(f"warning: {said}", file=sys.stderr)
