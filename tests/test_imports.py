"""What was imported is let go at a process' end where a library would call it leaked, and else left where it is.
Garbage is written to its files, and taken apart by the process that made it."""

import gc
import os
import sys
from pathlib import Path

import pytest

from actsweep.imports import collect
from actsweep.report import figures, writing
from tests import processes
from tests.results.made_up_runs import sweep

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


class Circle:
    """Garbage that looking for it takes apart, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.itself, self.path = self, path
        self.file = path.open("a", encoding="utf-8")
        self.file.write("written\n")

    def __del__(self) -> None:
        with self.path.with_suffix(".pids").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_file_in_garbage_holds_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run | {"config": run["config"] | {"figures": ["overview", "chain"]}} for run in sweep(tmp_path)]
    monkeypatch.setattr(writing, "forkable", lambda: True)
    monkeypatch.setattr(figures, "draw", lambda *_: [gc.collect()])
    gc.disable()
    try:
        Circle(tmp_path / "notes")
        writing.write(runs, [tmp_path], with_page=False)
        assert (tmp_path / "notes").read_text() == ""
        collect()
    finally:
        gc.enable()
    assert (tmp_path / "notes").read_text() == "written\n"
    assert (tmp_path / "notes.pids").read_text() == f"{os.getpid()}\n"
