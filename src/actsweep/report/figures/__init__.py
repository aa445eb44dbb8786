"""The figures of a sweep, one module each: from run folders, never from the code that trains.

Flow: report → **figures**. A module here without a leading underscore is a figure: it has `draw(runs) -> Drawing`.
"""

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actsweep.errors import UserError

FOLDER = "figures"


def known() -> list[str]:
    """The names that `figures=[…]` may hold."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def check(names: Iterable[str]) -> None:
    """Raises UserError at the first name that is no figure."""
    for name in names:
        if name not in known():
            raise UserError(f"figures=[{name}]: must be among {', '.join(known())}")


def draw(names: Iterable[str], runs: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw the named figures of these runs into folder/figures, each as NAME.svg, NAME.png and NAME.csv.

    A figure that these runs can't give is skipped with one sentence on stderr. Raises UserError for an unknown name.
    """
    names = list(names)
    check(names)
    if not names:
        return []
    from actsweep.report.figures._drawing import save, style  # here, so that checking names doesn't load matplotlib

    written: list[Path] = []
    for name in names:
        try:
            with style():
                drawing = importlib.import_module(f"actsweep.report.figures.{name}").draw(runs)
                written += save(drawing, folder / FOLDER / name)
        except UserError as error:
            print(f"figure {name}: {error}", file=sys.stderr)
        except Exception as error:  # one figure's defect must not cost the report
            print(f"figure {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return written
