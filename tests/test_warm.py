"""tests/python is Python: what it starts has the same arguments, surroundings and ends as what Python starts."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import processes
from tests.warm import PYTHON

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs sockets without files, and process descriptors")
SURROUNDINGS = """
import json, os, signal, sys, threading
files = len([each for each in os.listdir("/proc/self/fd")
             if "libffi" not in os.path.realpath(f"/proc/self/fd/{each}")])  # which newer ones open for themselves
dispositions = {number.name: str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()
                if isinstance(number, signal.Signals)}
print(json.dumps([sys.argv, sys.path, __name__, os.getcwd(), files, dispositions,
                  threading.active_count(), len(os.listdir("/proc/self/task")), sys.stdin.read(),
                  {name: value for name, value in os.environ.items()
                   if name not in ("ACTSWEEP_STARTED_BY", "PWD")}]))
"""
ENDS = {
    "print('said')": (0, "said\n", ""),
    "raise SystemExit(7)": (7, "", ""),
    "raise SystemExit('too bad')": (1, "", "too bad\n"),
    "import atexit; atexit.register(print, 'last'); raise SystemExit": (0, "last\n", ""),
    "import os; os.kill(os.getpid(), 9)": (-9, "", ""),
    "import os; os.kill(os.getpid(), 15)": (-15, "", ""),
}
WAITS = "import time; print(1, flush=True); time.sleep(1e6)"


@pytest.mark.parametrize("flags", [[], ["-P"], ["-u", "-B"]])
def test_it_runs_where_and_as_python_would(flags: list[str], tmp_path: Path) -> None:
    program = [*flags, "-c", SURROUNDINGS, "-x", "y z"]
    cold = processes.run([os.environ[PYTHON], *program], {"AN_OWN": "ä ö"}, tmp_path)
    warm = processes.run([sys.executable, *program], {"AN_OWN": "ä ö"}, tmp_path)
    assert (cold.returncode, cold.stderr) == (warm.returncode, warm.stderr) == (0, "")
    assert json.loads(cold.stdout) == json.loads(warm.stdout)


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_as_python_would(code: str) -> None:
    ended = processes.run([sys.executable, "-c", code])
    assert (ended.returncode, ended.stdout, ended.stderr) == ENDS[code]


def test_an_exception_has_its_traceback() -> None:
    ended = processes.run([sys.executable, "-c", "1 / 0"])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Traceback (most recent call last)")
    assert ended.stderr.endswith("\nZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_it_and_nothing_of_it_outlives_them(number: signal.Signals) -> None:
    with processes.running([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "1\n"
        words = psutil.Process(process.pid).environ()[processes.MARK]
        started = processes.marked(words)
        assert len(started) == 3  # the program, the fork, and what waits for it
        process.send_signal(number)
        assert process.wait() == -number
        for each in started:
            while processes.lives(each):
                os.sched_yield()
    assert processes.marked(words) == []


def test_a_context_that_is_left_ends_forks_too() -> None:
    with processes.running([sys.executable, "-c", WAITS], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "1\n"
        started = processes.marked(psutil.Process(process.pid).environ()[processes.MARK])
        assert len(started) == 3
    while any(map(processes.lives, started)):  # what is killed may take a moment to be gone
        os.sched_yield()


def test_processes_of_multiprocessing_are_forks_with_their_pipes() -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there,))
    process.start()
    here.send(20)
    assert here.recv() == [21, True]
    process.join()
    assert process.exitcode == 3


def answer(pipe: "multiprocessing.connection.Connection") -> None:
    pipe.send([pipe.recv() + 1, "tests.warm" in psutil.Process().cmdline()])
    raise SystemExit(3)
