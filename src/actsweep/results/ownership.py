"""Whose a file is: each folder that actsweep writes into lists in `.actsweep` what it wrote there.

Flow: around **results**. A name is listed before its file is made, so that a kill leaves nothing that nobody owns. What
isn't listed is somebody else's: it is never replaced, moved or removed.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from actsweep.errors import UserError

RECORD = ".actsweep"
HEADER = "# what actsweep wrote into this folder, and may replace; every other file is yours"
MOST_NAMED = 3


def recorded(folder: Path) -> set[str]:
    """The listed names, relative to the folder; one that ends with "/" stands for all that is in there. A list in which
    nothing stands yet is one that a full disk kept from being written."""
    try:
        lines = (folder / RECORD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {RECORD, *lines[1:]} if lines[:1] in ([HEADER], []) else set()


def record(folder: Path, *names: str) -> None:
    """List files before they are made; the folder is made if need be. Raises UserError where one is somebody else's."""
    refuse_taken(folder, *names)
    adopt(folder, *names)


def refuse_taken(folder: Path, *names: str) -> None:
    """Raise UserError where one of these files is somebody else's."""
    there = [name for name in names if os.path.lexists(folder / name)]  # first: another process may list it
    known = recorded(folder)
    if taken := [name for name in there if not (_is_listed(name, known) or recorded(folder / name))]:
        raise UserError(_refusal(folder, taken))


def adopt(folder: Path, *names: str) -> None:
    """List files that are ours whether or not they are there already, such as those that Hydra makes for a job."""
    known = recorded(folder)
    new = [name for name in dict.fromkeys(names) if name not in known]
    if not new:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not known and os.path.lexists(folder / RECORD):
        raise UserError(_refusal(folder, [RECORD]))
    with (folder / RECORD).open("ab", buffering=0) as file:
        file.write("".join(f"{name}\n" for name in (new if file.tell() else [HEADER, *new])).encode())


def foreign(folder: Path) -> Iterator[str]:
    """The names of files in or below the folder that it doesn't list, nor a folder in it that has a list of its own."""
    known = recorded(folder)
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder)
        found = {name: (inside / name).as_posix() for name in [*files, *folders]}
        ours = {name for name in folders if _is_listed(f"{found[name]}/", known) or recorded(Path(place, name))}
        folders[:] = sorted({*folders} - ours)
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (found[name] for name in sorted([*files, *links]) if not _is_listed(found[name], known))


def refuse_foreign(folder: Path, besides: Iterable[str] = ()) -> None:
    """Raise UserError if anything but what actsweep wrote lies in the folder, and these, named as in a list."""
    if str(folder).startswith("~"):
        raise UserError(f"{folder}: ~ is the shell's, and would be a folder of that name here; write $HOME")
    allowed = set(besides)
    if found := list(islice((name for name in foreign(folder) if not _is_listed(name, allowed)), MOST_NAMED + 1)):
        raise UserError(_refusal(folder, found))


def own(folder: Path, pattern: str = "*") -> list[Path]:
    """The files there are of those that the folder lists, and whose names match, itself and folders apart."""
    names = sorted(fnmatch.filter(recorded(folder) - {RECORD}, pattern))
    plain = [folder / name for name in names if "*" not in name and not name.endswith("/")]
    starred = [path for name in names if "*" in name for path in folder.glob(name)]
    return [path for path in [*plain, *starred] if path.is_file() or path.is_symlink()]


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def move_aside(folder: Path, paths: Iterable[Path], into: str) -> Path:
    """Move files of the folder into the first free one of `into`/1, `into`/2, …; returns which that is."""
    record(folder, f"{into}/")
    number = next(number for number in range(1, 10**9) if not (folder / into / str(number)).exists())
    aside = folder / into / str(number)
    for path in paths:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    return aside


def _is_listed(name: str, known: set[str]) -> bool:
    if name in known:
        return True
    above = [parent.as_posix() + "/" for parent in Path(name).parents[:-1]]
    starred = [each for each in known if "*" in each]
    return any(each in known for each in above) or any(fnmatch.fnmatchcase(name, each) for each in starred)


def _refusal(folder: Path, names: list[str]) -> str:
    named = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
    return f"{folder} holds what actsweep did not write: {named}; choose another folder, or move it away"
