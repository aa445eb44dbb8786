"""Python without the price of its imports: `tests/python -m src.train …` is a fork of a process that has made them.

The program tests/python takes what Python takes (`-m MODULE …`, `-c CODE …`) and hands it to a server, with its
environment, folder and open files. The server, which pytest starts and which imports at the first order, forks; the
fork does the work and ends as any Python ends, and the program with it, in the same way. Other arguments go to Python.
"""

import atexit
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import types
from contextlib import suppress
from typing import Any

Order = dict[str, Any]
MARK = "ACTSWEEP_STARTED_BY"  # whose first word is also the server's address
PYTHON = "ACTSWEEP_PYTHON"
WORDS = 400  # bytes that a fork has for the words of its mark
MOST = 200  # files
IMPORTED = ("multiprocessing.spawn", "actsweep.one_run", "actsweep.sweep.launcher", "actsweep.sweep.callback",
            "actsweep.report.writing", "actsweep.evaluate", "actsweep.predict", "submitit.core._submit",
            "joblib.externals.loky.backend.popen_loky_posix")  # fmt: skip
REALLY_STARTED = "resource_tracker", "submitit.local._local"  # serves other tests, too; is known by its process id
HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def address(mark: str) -> str:
    return f"\0actsweep-{mark.split()[0]}"


# The program, without any package


def program(arguments: list[str]) -> None:
    real = os.environ[PYTHON]
    words = arguments
    while words[:1] in (["-u"], ["-B"], ["-P"]):  # no bytecode: the environment says so, to the server too
        words = words[1:]
    flags = arguments[: len(arguments) - len(words)]
    if words[:1] not in (["-m"], ["-c"]) or any(name in words[1] for name in REALLY_STARTED):
        os.execv(real, [real, *arguments])
    found = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address(os.environ[MARK]))
        files = [number for number in found if number != connection.fileno() and is_open(number)]
        order = {"arguments": words, "flags": flags, "files": files, "folder": os.getcwd()}
        order["environment"] = dict(os.environ)
        signals = received_signals()
        socket.send_fds(connection, [b"!"], files)
        connection.sendall(json.dumps(order).encode() + b"\n")
        child = heard(connection)
        for number in files:
            os.close(number)  # who waits for the end of a pipe waits for the fork's alone
        while connection not in select.select([connection, signals], [], [])[0]:
            hand_on(child, os.read(signals, 100))
        code = os.waitstatus_to_exitcode(heard(connection))
    if code < 0:
        if -code in HANDED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def received_signals() -> int:
    """A file that holds the numbers of signals as they come: none is missed between two looks."""
    here, there = os.pipe()
    os.set_blocking(there, False)
    signal.set_wakeup_fd(there)
    for number in HANDED_ON:
        signal.signal(number, lambda *_: None)
    return here


def hand_on(child: int, numbers: bytes) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        for number in numbers:
            os.kill(child, number)


def heard(connection: socket.socket) -> int:
    word = connection.recv(8, socket.MSG_WAITALL)
    if len(word) < 8:
        os._exit(71)  # there is no server any more
    return int.from_bytes(word, "big")


def is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True


# The server


def serve() -> Order:
    """For ever, in the server; in each fork, returns its order."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    mark = libc.getenv(MARK.encode())  # where others read it, also when os.environ has changed
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=0) as listener:
        while True:
            connection, _ = listener.accept()
            imported()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    order, files = received(connection)
    ctypes.memmove(mark, order["environment"][MARK].encode().ljust(WORDS)[:WORDS], WORDS)
    child = os.fork()
    if child:
        keep(connection, child, files)
    connection.close()
    take(order, files)
    return order


def imported() -> None:
    from importlib import import_module

    from actsweep.threads import numpy_starts_none, wait_briefly

    wait_briefly()  # before torch
    numpy_starts_none()
    for name in IMPORTED:
        with suppress(ModuleNotFoundError):  # of an extra that is not installed
            import_module(name)
    gc.freeze()


def received(connection: socket.socket) -> tuple[Order, list[int]]:
    """An order, and its files at numbers that none of them asks for."""
    _, files, _, _ = socket.recv_fds(connection, 1, MOST)
    order = json.loads(connection.makefile().readline())
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 3 + max(order["files"] + files)) for number in files]
    for number in files:
        os.close(number)
    return order, high


def keep(connection: socket.socket, child: int, files: list[int]) -> None:
    """Tell the program of its fork's end; when the program is killed, the fork is."""
    for number in files:
        os.close(number)
    connection.sendall(child.to_bytes(8, "big"))
    ends = os.pidfd_open(child)
    if ends not in select.select([ends, connection], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    try:
        connection.sendall(os.waitpid(child, 0)[1].to_bytes(8, "big"))
    finally:
        os._exit(0)


def take(order: Order, files: list[int]) -> None:
    """Become the process that was ordered."""
    os.setsid()
    for number, asked in zip(files, order["files"], strict=True):
        os.dup2(number, asked)
        os.close(number)
    if "-u" in order["flags"]:
        sys.stdout.reconfigure(write_through=True)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.executable = os.path.join(os.path.dirname(__file__), "python")
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = [] if "-P" in order["flags"] else [""] if order["arguments"][0] == "-c" else [order["folder"]]
    sys.path[:1] = [*first, *(path for path in paths if path not in sys.path)]


def run(kind: str, what: str, *rest: str) -> None:
    """Raises what the program raises, for Python to deal with as ever."""
    if kind == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


def end_at_once(codes: list[int]) -> None:
    """The last that Python calls before it takes all modules apart, which takes it half a second."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # Python says so
    if codes:
        os._exit(codes[0])


def main() -> None:
    codes: list[int] = []
    atexit.register(end_at_once, codes)  # before anybody else's
    order = serve()
    try:
        run(*order["arguments"])
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else bool(end.code))
        raise
    except Exception:
        codes.append(1)
        raise


if __name__ == "__main__":
    main() if sys.argv[1:] == ["serve"] else program(sys.argv[1:])
