"""The person's mistakes, apart from the program's own."""

import re
import signal
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

HYDRAS_PACKAGES = {"hydra", "omegaconf", "hydra_plugins"}
LIBRARY = re.compile(rf"<|{re.escape(sysconfig.get_path('stdlib'))}/|.*/(site|dist)-packages/")
OURS = str(Path(__file__).parent)
BORDER = ("actsweep.config.descriptions", "instantiate")  # calls what a person names in a configuration, as Hydra does


class UserError(ValueError):
    """What the person who typed the command can mend: one line that says what was given, what is allowed, what to do.

    The program ends with that line and exit code 2. Every other exception is a defect, and keeps its traceback.
    """


def causes(error: BaseException, contexts: bool = False) -> Iterator[BaseException]:
    """The exception, what caused it, and so on. Hydra and OmegaConf hide some causes, which are their contexts;
    `contexts`: those of others count too."""
    seen: BaseException | None = error
    visited: set[int] = set()
    while seen is not None and id(seen) not in visited:
        visited.add(id(seen))
        yield seen
        hides = contexts or type(seen).__module__.partition(".")[0] in HYDRAS_PACKAGES
        seen = seen.__cause__ or (seen.__context__ if hides else None)


def mistake_in(error: BaseException) -> UserError | None:
    """The person's mistake behind what Hydra or OmegaConf made of it, if there is one."""
    return next((each for each in causes(error) if isinstance(each, UserError)), None)


def is_ours(error: BaseException) -> bool:
    """Whether this project's code raised it, or called what did. Not so Hydra, nor a library that called code of the
    person's own, as torch calls an activation."""
    in_own_code = False
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module, file = str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename
        if file.startswith(OURS) or module.startswith("hydra_plugins.actsweep"):
            return (module, frame.f_code.co_name) != BORDER
        if module.partition(".")[0] in HYDRAS_PACKAGES:
            return False
        if not LIBRARY.match(file):
            in_own_code = True
        elif in_own_code:
            return False
    return False


def refuse(part: str, error: Exception) -> NoReturn:
    """Where a part of a configuration can't be had: raise the person's mistake, unless the fault is ours.

    What Hydra, a library or a class of the person's own says against the part counts as a mistake.
    """
    *_, first = causes(error)
    if mistake := mistake_in(error):
        raise mistake
    if is_ours(first):
        raise error
    raise UserError(f"{part}: {first if str(first) else repr(first)}") from error


@contextmanager
def exits_are_errors() -> Iterator[None]:
    """Code of a person's own that calls sys.exit() ends the run that it is part of, as an error does, not the program.

    Raises RuntimeError instead.
    """
    try:
        yield
    except SystemExit as error:
        if _comes_from_a_signal(error):
            raise
        raise RuntimeError(f"sys.exit({'' if error.code is None else repr(error.code)}) was called") from error


def _comes_from_a_signal(error: SystemExit) -> bool:
    """Whether the program is to end: with an exit of a kind of its own, as ours or Lightning's is; upon Ctrl-C; or
    because a signal's handler says so, as submitit's and Ray's do."""
    handlers = {getattr(signal.getsignal(each), "__code__", None) for each in signal.valid_signals()}
    in_handler = any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))
    return in_handler or type(error) is not SystemExit or isinstance(error.__context__, KeyboardInterrupt)
