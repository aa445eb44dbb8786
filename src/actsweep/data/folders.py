"""Where the IDX files of MNIST and its relatives lie, as their sites, torchvision and Kaggle leave them.

Names: PART-KIND-idx3-ubyte as on yann.lecun.com, with a dot before "idx" or ".gz" at the end, and with the name of a
split before them in EMNIST and QMNIST.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from actsweep.errors import UserError

NAME = re.compile(r"([^.].*)?(train|t10k|test)(.*)(images|labels)[-.]idx\d-(?:ubyte|int)(?:\.gz)?", re.IGNORECASE)


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
