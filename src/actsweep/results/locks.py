"""Who is at work in a folder: a lock that names its holder and is gone when its holder is, however that ended.

Flow: around **results**. The kernel's flock as it is: the library `filelock` would replace one line of this module and
leave the holder's name, which is most of it, to us.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from actsweep.errors import UserError
from actsweep.results import ownership, rank
from actsweep.results.files import warn

LOCK = ".lock"
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # as Lustre and NFS say that are mounted without
_held: dict[Path, IO[str]] = {}  # by this process, which may ask again


class InUseError(UserError):
    """Somebody else is at work there; the message says who, where and since when."""


def take(folder: Path) -> None:
    """Lock the folder, which is made if need be, until `release`. Raises InUseError if another process has it."""
    path = folder.resolve() / LOCK
    if path in _held or not rank.is_zero():  # of several processes of a run the first one locks
        return
    ownership.record(folder, LOCK)
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            holder = file.read().strip() or "another process"
        raise InUseError(f"{folder} is in use by {holder}: wait for it, or choose another folder") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warn(f"no folder can be locked here ({error.strerror}): let no two commands work in one")
    file.truncate()
    print(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}", file=file)
    file.flush()
    _held[path] = file


def holder(folder: Path) -> str | None:
    """Which other process is at work in the folder; None: none, or nobody can say."""
    path = folder.resolve() / LOCK
    if path in _held or not path.exists():
        return None
    with suppress(PermissionError), path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for an instant
        except BlockingIOError:
            return file.read().strip() or "another process"
        except OSError:  # no locks here
            return None
    return None


def release(folder: Path) -> None:
    if file := _held.pop(folder.resolve() / LOCK, None):
        file.close()  # the file stays: whoever removed it could part two processes that hold the same lock


@contextmanager
def released() -> Iterator[None]:
    """Whatever was taken while the context was open, and is held still, is released at its end."""
    try:
        yield
    finally:
        for path in list(_held):
            release(path.parent)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the folder while the context is open; a lock that this process has already is left as it is."""
    had_it = folder.resolve() / LOCK in _held
    take(folder)
    try:
        yield
    finally:
        if not had_it:
            release(folder)
