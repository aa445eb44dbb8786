"""Nobody has to read what a command prints: `… | head` ends it quietly and costs no run; a full disk is told."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actsweep import one_run
from actsweep.config.command_line import outlive_readers
from actsweep.config.schema import Settings
from actsweep.results import run_folder
from tests import processes
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]"]


def unread(*arguments: str, also_errors: bool = False) -> tuple[int, str]:
    """The exit code of a command whose output goes into a pipe that nobody reads, and what it says on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    command, errors = [sys.executable, "-m", *arguments], writing if also_errors else subprocess.PIPE
    with os.fdopen(writing), processes.running(command, stdout=writing, stderr=errors) as process:
        said = process.communicate()[1]
    return process.returncode, said or ""


@pytest.fixture
def run(settings_for: SettingsFor, tmp_path: Path) -> Path:
    one_run.train(settings_for(*QUICK), tmp_path / "sweep" / "run")
    return tmp_path / "sweep" / "run"


def test_commands_that_print_end_quietly(run: Path) -> None:
    assert unread("src.evaluate", str(run / run_folder.BEST)) == (0, "")
    assert unread("src.theory", "act=relu", "depth=5") == (0, "")
    assert unread("src.report", str(run.parent)) == (0, "")
    assert (run.parent / "results.csv").exists()
    assert (run.parent / "report.html").exists()  # what stands after the first line that nobody reads


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_goes_on_when_nobody_reads_it_any_more(processes: int, tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "act=relu,tanh", "seed=0,1", "trainer.enable_progress_bar=true"]
    sweep += [f"hydra.launcher.processes={processes}", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert unread("src.train", *sweep, also_errors=True)[0] == 0
    found = [json.loads(path.read_text())["status"] for path in (tmp_path / "sweep").glob("*/result.json")]
    assert found == ["completed"] * 4
    assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 5


def test_a_sweep_whose_outputs_are_closed_leaves_its_files(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "src.train", "-m", *QUICK, "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = subprocess.run(["sh", "-c", f"{shlex.join(words)} >&- 2>&-"], check=False)
    assert done.returncode == 0
    assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_what_is_said_of_the_command_itself_needs_no_reader_no_room_and_no_unicode(asked: str) -> None:
    words = [sys.executable, "-c", "import sys; from actsweep.main import main; main()", asked]
    line, plain = shlex.join(words), os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def ended(ending: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", line + ending], env=plain, check=False, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    full = "error: what was printed could not be written: [Errno 28] No space left on device\n"
    assert [ended(" > /dev/null"), ended(" >&-"), ended(" > /dev/full")] == [(0, ""), (0, ""), (1, full)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing):
        assert subprocess.run(words, check=False, stdout=writing, stderr=subprocess.PIPE).stderr == b""


@pytest.mark.cold
def test_a_folder_that_is_deleted_under_ones_feet_is_told(tmp_path: Path) -> None:
    call = f"{shlex.quote(sys.executable)} -c 'from actsweep.main import main; main()' act=relu"
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", f"rmdir ../gone; {call}"], cwd=tmp_path / "gone", check=False, capture_output=True
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().endswith("error: the current folder is there no more: go to another one\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # in a locale as en_US.ISO-8859-1, in C
def test_a_terminal_that_lacks_characters_costs_no_run(
    errors: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "latin").open("w", encoding="latin-1", errors=errors) as latin:
        monkeypatch.setattr(sys, "stdout", latin)
        monkeypatch.setattr(sys, "__stdout__", latin)
        outlive_readers()
        print("2 runs → here", flush=True)
    assert (tmp_path / "latin").read_text(encoding="latin-1") == "2 runs ? here\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_output_that_a_full_disk_refuses_is_not_lost_in_silence(run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "src.evaluate", str(run / run_folder.BEST)]
        with processes.running(command, stdout=full, stderr=subprocess.PIPE) as process:
            said = process.communicate()[1]
    assert process.returncode == 1
    assert said == "error: what was printed could not be written: [Errno 28] No space left on device\n"
