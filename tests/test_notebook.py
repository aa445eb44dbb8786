"""The notebook in docs/ runs from a folder where nothing is, and says what its reader is told to see."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from actsweep.places import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "first_sweep.ipynb"


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell shows: text, tables, pictures."""
    shown = [cell.get("outputs", []) for cell in notebook.cells]
    return [[kind for each in outputs for kind in sorted(each.get("data", {}))] for outputs in shown]


@pytest.mark.cold
def test_the_notebook_runs_and_shows_what_was_committed(tmp_path: Path) -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    executed = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(executed, timeout=None, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert kinds(executed) == kinds(committed)
    assert sum("image/png" in each for each in kinds(committed)) == 3
    assert NOTEBOOK.stat().st_size < 300_000
