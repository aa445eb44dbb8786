"""How threads wait: briefly in programs of ours, as the person chose where one has, and as ever in anybody else's."""

import json
import os
import sys
from pathlib import Path

import pytest

from actsweep import threads
from tests import processes

SHOWN_AT_THE_END = """
import atexit, json, os, sys
from subprocess import check_output

ASKS = [sys.executable, "-S", "-c", "import json, os; print(json.dumps(os.environ.get('GOMP_SPINCOUNT')))"]

at_torch = []

class Notes:
    def find_spec(self, name, *_):
        if name == "torch":
            at_torch.append(os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Notes())

@atexit.register
def show():
    print(json.dumps([at_torch, os.environ.get("GOMP_SPINCOUNT"), json.loads(check_output(ASKS))]))
"""


@pytest.fixture(autouse=True)
def _nobody_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.WAITING:
        monkeypatch.delenv(name, raising=False)


def test_they_wait_briefly_where_nobody_has_chosen() -> None:
    threads.wait_briefly()
    assert threads.waiting() == {"GOMP_SPINCOUNT": threads.SPIN}


@pytest.mark.parametrize("name", threads.WAITING)
def test_what_the_person_has_chosen_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "12")
    before = dict(os.environ)
    threads.wait_briefly()
    assert dict(os.environ) == before
    assert threads.waiting() == {name: "12"}


@pytest.mark.cold
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (["-m", "src.theory", "act=relu", "depth=2"], threads.SPIN),  # any door of ours
        (["-c", "import actsweep.errors"], None),  # somebody else's program, which imports a callback
        (["-m", "timeit", "-n1", "-r1", "import actsweep.errors"], None),
    ],
)
def test_a_program_of_ours_and_its_processes_wait_briefly_and_no_other(
    program: list[str], expected: str | None, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SHOWN_AT_THE_END)
    ended = processes.run([sys.executable, *program], {"PYTHONPATH": str(tmp_path)})
    at_torch, here, in_a_child = json.loads(ended.stdout.splitlines()[-1])
    assert (here, in_a_child) == (expected, expected)
    assert at_torch == ([expected] if expected else [])
