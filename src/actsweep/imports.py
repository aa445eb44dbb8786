"""Imports of large libraries: torch, Lightning and pandas make a million objects, which all stay; and garbage."""

import atexit
import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FILES = {io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom}


@contextmanager
def uncollected() -> Iterator[None]:
    """Import here without looking for garbage, which would take Lightning's import a quarter longer.

    >>> with uncollected():
    ...     gc.isenabled()
    False
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def keep() -> None:
    """What is there now stays: looking for garbage among it would take a quarter of a second each time."""
    gc.freeze()
    at_end()


def collect() -> None:
    """Look for garbage. A file of somebody's own may be in it, open still: Python loses what was not written yet where
    it takes the file apart before the text on its way there."""
    for each in gc.get_objects():
        if type(each) in FILES:
            with suppress(ValueError, OSError):  # closed, or not for writing
                each.flush()
    gc.collect()


def at_end() -> None:
    """Have this process look for garbage once when it ends. Python would look through all that was imported several
    times, which takes seconds."""
    atexit.unregister(_look_once)
    atexit.register(_look_once)


def _look_once() -> None:
    collect()
    if any(each.__module__ == "nanobind" for each in type.__subclasses__(type)):
        gc.unfreeze()  # what is left of that library's at the end, it reports as leaked: a screen full
    else:
        gc.freeze()
