"""Processes that end with the test that started them, however that ends, and with pytest, also by `kill -9`.

Every process that a test starts, directly or not, inherits the environment's MARK: pytest's own word, and behind it the
test's and that of `running`. A watcher, which hears from a pipe that pytest is gone, ends what bears pytest's word.
Nothing here has a deadline: who waits, waits for as long as the process lives that he waits for.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.warm import MARK, PYTHON, WORDS, address

REPOSITORY = Path(__file__).resolve().parent.parent


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Its environment; for an instant while it becomes another program, a process shows none, and no arguments."""
    for _ in range(100):
        if (found := process.environ()) or process.cmdline() or not process.exe():  # of the kernel's own: no program
            break
        time.sleep(0.01)
    return dict(found)


def marked(words: str) -> list[psutil.Process]:
    """Other living processes that have inherited these words, and perhaps more."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and f"{environment_of(process).get(MARK, '')} ".startswith(f"{words} "):
                found.append(process)
    return found


def lives(process: psutil.Process) -> bool:
    """Whether it still runs, seen from anywhere: a dead one that nobody has asked for is kept as a zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def of_a_pool(process: psutil.Process) -> bool:
    """Whether it is one of those, joblib's and multiprocessing's, that serve later tests too and end by themselves."""
    with suppress(psutil.Error):
        return any("loky" in word or "resource_tracker" in word for word in process.cmdline())
    return False


def end(words: str, but: Callable[[psutil.Process], bool] = lambda _: False) -> None:
    """Kill all that bear these words; again, where they have started others meanwhile."""
    while found := [process for process in marked(words) if not but(process)]:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(lives, found)):
            time.sleep(0.01)


def with_another_word() -> str:
    return f"{os.environ.get(MARK, '')} {secrets.token_hex(6)}".strip()


@contextmanager
def running(arguments: Sequence[str], variables: Mapping[str, str] = {}, **options: Any) -> Iterator[Any]:
    """A process of this project's, killed at the end of the context with all that it has started.

    `variables`: further ones of its environment. `options`: Popen's.
    """
    words = with_another_word()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = inherited | {MARK: words} | dict(variables)
    try:
        with subprocess.Popen(arguments, text=True, env=environment, **{"cwd": REPOSITORY} | options) as process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        end(words)


def run(
    arguments: Sequence[str], variables: Mapping[str, str] = {}, folder: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """A process's end, waited for, and what it said."""
    with running(arguments, variables, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = process.communicate()
        return subprocess.CompletedProcess(list(arguments), process.returncode, *said)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait while the process lives that shall bring it about; fail at once when it has ended without."""
    while not condition():
        if process.poll() is not None and not condition():
            said = process.stderr.read() if process.stderr else ""
            pytest.fail(f"ended with {process.returncode} before its time: {process.args}\n{said}", pytrace=False)
        time.sleep(0.02)


# In pytest: conftest.py has these as its own.


@pytest.fixture(autouse=True)
def started_warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python that a test starts is forked from one that has made the imports. A test of the start itself is `cold`."""
    program, before = str(REPOSITORY / "tests" / "python"), spawn.get_executable()
    if sys.platform == "linux" and not request.node.get_closest_marker("cold"):
        monkeypatch.setattr(sys, "executable", program)
        spawn.set_executable(program)
    yield
    spawn.set_executable(before)


def pytest_configure() -> None:
    """Start the watcher; the first pytest of all also starts the server of forks. Ctrl-C is heard, also in the
    background of a script, whose shell has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    first, words = MARK not in os.environ, with_another_word()
    others = {name: value for name, value in os.environ.items() if name != MARK}
    os.environ[MARK] = words
    here, there = os.pipe()  # `there` closes with this process: other programs don't inherit it,
    os.register_at_fork(after_in_child=lambda: os.close(there))  # and copies of this one close theirs
    started_for_good("tests.processes", words, stdin=here, env=others)
    os.close(here)
    if first and sys.platform == "linux":
        os.environ[PYTHON] = sys.executable
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address(words))
            listener.listen()
            started_for_good("tests.warm", "serve", stdin=listener, env=os.environ | {MARK: words.ljust(WORDS)})


def started_for_good(module: str, *arguments: str, **options: Any) -> None:
    """A process that is nobody's: it outlives them all, and no key pressed in the terminal reaches it."""
    command = [sys.executable, "-m", module, *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": REPOSITORY, "start_new_session": True}
    process = subprocess.Popen(command, **quiet | options)
    process.returncode = 0  # nobody waits for it, and Popen shall not miss that


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """What a test has started ends when it fails. What a fixture has started may be other tests' too."""
    before, words = os.environ[MARK], with_another_word()
    os.environ[MARK] = words
    try:
        return (yield)
    except BaseException:
        end(words, but=of_a_pool)
        raise
    finally:
        os.environ[MARK] = before


if __name__ == "__main__":
    sys.stdin.buffer.read()  # nothing is ever written: this is the end of the one that started us
    end(sys.argv[1])
