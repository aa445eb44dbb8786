"""The size of files and functions that DESIGN.md promises, and the examples in docstrings."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

SOURCES = sorted(path for folder in ("src", "bench") for path in Path(folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_and_functions_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_files_of_tests_stay_small() -> None:
    assert {
        path: lines for path in Path("tests").rglob("*.py") if (lines := len(path.read_text().splitlines())) > 300
    } == {}


def test_one_run_reads_in_one_sitting() -> None:
    assert len(Path("src/actsweep/one_run.py").read_text().splitlines()) <= 120


WITH_EXAMPLES = [path for path in SOURCES if path.parts[0] == "src" and ">>> " in path.read_text()]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    tested = doctest.testmod(
        importlib.import_module(".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__"))
    )
    assert tested.attempted > 0
    assert tested.failed == 0


@pytest.mark.parametrize("name", [path.stem for path in SOURCES if path.parts[0] == "bench"])
def test_every_bench_is_a_command_and_says_how_it_is_called(name: str) -> None:
    bench = importlib.import_module(f"bench.{name}")
    assert not hasattr(bench, "main") or f"python -m bench.{name}" in (bench.__doc__ or "")
