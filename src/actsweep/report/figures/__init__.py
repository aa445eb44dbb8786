"""The figures of a sweep, one module each: from run folders, never from the code that trains.

Flow: frames → **figures**. Every module here is a figure: it has `draw(runs) -> Drawing`.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from actsweep.errors import UserError
from actsweep.results.reading import Run

FOLDER = "figures"


def known() -> list[str]:
    """The names that `figures=[…]` may hold."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check(names: Iterable[str]) -> None:
    """Raises UserError at the first name that is no figure."""
    for name in names:
        if name not in known():
            raise UserError(f"figures=[{name}]: must be among {', '.join(known())}")


def draw(names: Iterable[str], runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw the named figures of these runs into folder/figures, each as NAME.svg, NAME.png and NAME.csv.

    A figure that these runs can't give is skipped with one sentence on stderr. Raises UserError for an unknown name.
    """
    names = list(names)
    check(names)
    if not names:
        return []
    from matplotlib import rcParams, style  # here, so that checking names doesn't load it

    from actsweep.report.drawing import STYLE, save

    fonts = {key: value for key, value in rcParams.items() if key.startswith("font.")}  # the letters a person needs
    written: list[Path] = []
    for name in names:
        try:
            with style.context(["default", fonts | STYLE]):
                drawing = importlib.import_module(f"{__name__}.{name}").draw(runs)
                written += save(drawing, folder / FOLDER / name)
        except Exception as error:  # one figure's defect must not cost the report
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            print(f"figure {name}: {kind}{error}", file=sys.stderr)
    return written
