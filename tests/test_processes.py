"""No process of a test outlives it, nor pytest's own end, also by `kill -9`; who waits for one hears of its death."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests import processes

pytestmark = pytest.mark.cold
SLEEPER = "import time; time.sleep(1e6)"
STARTS = f"""
import subprocess, sys, time
from pathlib import Path

import pytest

from tests import processes

FOLDER = Path(__file__).parent
NESTED = '''
import subprocess, sys, time
from pathlib import Path
inner = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True)
Path(sys.argv[1], "grandchild.tmp").write_text(str(inner.pid))
Path(sys.argv[1], "grandchild.tmp").rename(Path(sys.argv[1], "grandchild"))
time.sleep(1e6)
'''

def starts():
    child = subprocess.Popen([sys.executable, "-c", NESTED, str(FOLDER)], start_new_session=True)
    while not (FOLDER / "grandchild").exists():
        assert child.poll() is None
        time.sleep(0.01)
    (FOLDER / "child.tmp").write_text(str(child.pid))
    (FOLDER / "child.tmp").rename(FOLDER / "child")
"""
STAYS = "\n{}\ndef test_that_never_ends():\n    starts()\n    time.sleep(1e6)\n"
FAILS = """
def test_that_fails():
    starts()
    raise AssertionError

def test_after_it():
    assert processes.marked(processes.os.environ[processes.MARK].rpartition(" ")[0]) == []
"""


def pytest_on(folder: Path, text: str) -> list[str]:
    (folder / "test_inner.py").write_text(STARTS + text)
    options = ["-p", "tests.processes", "-p", "no:cacheprovider", f"--rootdir={folder}", "-q"]
    return [sys.executable, "-m", "pytest", *options, str(folder / "test_inner.py")]


@pytest.mark.parametrize("mark", ["", "@pytest.mark.cold"])
def test_after_kill_9_of_pytest_nothing_that_its_tests_started_lives(tmp_path: Path, mark: str) -> None:
    with processes.running(pytest_on(tmp_path, STAYS.format(mark))) as killed:
        processes.until((tmp_path / "child").exists, killed)
        started = [psutil.Process(int((tmp_path / name).read_text())) for name in ("child", "grandchild")]
        found = psutil.Process(killed.pid).children()
        [watcher] = [each for each in found if "tests.processes" in each.cmdline() and each not in started]
        assert [processes.lives(each) for each in started] == [True, True]
        started = processes.marked(psutil.Process(killed.pid).environ()[processes.MARK])
        assert any("tests.warm" in each.cmdline() for each in started) == bool(
            not mark and sys.platform == "linux"
        )  # forks
        killed.kill()
        while processes.lives(watcher):  # it ends when it has ended them
            time.sleep(0.02)
        while any(map(processes.lives, started)):  # what is killed may take a moment to be gone
            time.sleep(0.02)


def test_a_test_that_fails_leaves_no_process_to_the_next(tmp_path: Path) -> None:
    ended = processes.run(pytest_on(tmp_path, FAILS))
    assert "1 failed, 1 passed" in ended.stdout, ended.stdout


def test_a_context_that_is_left_ends_what_its_process_has_started() -> None:
    nested = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
    arguments = [sys.executable, "-c", f"{nested}; print(1, flush=True); {SLEEPER}"]
    with suppress(ZeroDivisionError), processes.running(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "1\n"
        words = psutil.Process(process.pid).environ()[processes.MARK]
        assert len(processes.marked(words)) == 2
        raise ZeroDivisionError
    assert processes.marked(words) == []
    assert process.returncode == -9


def test_who_waits_for_a_process_that_dies_hears_of_it_at_once() -> None:
    dies = [sys.executable, "-c", "raise SystemExit('no more memory')"]
    with (
        processes.running(dies, stderr=subprocess.PIPE) as process,
        pytest.raises(pytest.fail.Exception, match=r"ended with 1 before its time: .*\nno more memory"),
    ):
        processes.until(lambda: False, process)
