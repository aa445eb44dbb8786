"""What was imported is let go at a process' end where a library would call it leaked, and else left where it is."""

import sys

import pytest

from tests import processes

PROGRAM = """
from actsweep.imports import keep

Meta = type("nb_meta", (type,), {{"__module__": "{library}"}})

class Told:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("let go", flush=True)

told = Told()
keep()
"""


@pytest.mark.cold
@pytest.mark.parametrize(("library", "said"), [("nanobind", "let go\n"), ("another", "")])
def test_what_was_kept_is_let_go_where_nanobind_looks_for_leaks(library: str, said: str) -> None:
    ended = processes.run([sys.executable, "-c", PROGRAM.format(library=library)], {})
    assert (ended.returncode, ended.stdout) == (0, said), ended.stderr
