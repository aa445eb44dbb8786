"""The other processes of a run on several devices, as whose rank 0 this process trains.

Flow: around **training**. Lightning would start the whole command once more for each, the sweep and its report
included, and kill this process when one of them dies; here they get this one run to train, and this process learns
what went wrong. They end with it, however it ends.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as L
import torch
from pytorch_lightning.strategies import ParallelStrategy

from actsweep.config.command_line import quiet_libraries
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.results.rank import expect, is_zero

logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)  # it greets
ENDS = 5.0  # seconds that a process gets to end by itself after one has failed
READY = "ACTSWEEP_READY"  # the file descriptor on which a rank says that it is about to meet the others
Process = subprocess.Popen[bytes]


def check(settings: Settings, devices: int) -> None:
    """Raise UserError for what can't be shared out over so many devices."""
    if devices == 1:
        expect(asked := settings.trainer.devices)
        if not is_zero():
            raise UserError(
                f"trainer.devices={asked}: is one device here, and by the environment another process would write the "
                "run's result; use trainer.devices=1 for a run in each process"
            )
        return
    batch = settings.data.batch_size
    if batch != "all" and batch % devices:
        raise UserError(f"data.batch_size={batch}: must be divisible by the {devices} devices of trainer.devices")
    if settings.norm == "batch":
        raise UserError(
            f"norm=batch: each of the {devices} devices of trainer.devices would normalise its own share of a batch; "
            "use trainer.devices=1, or norm=layer"
        )


@contextmanager
def beside(trainer: L.Trainer, train: Callable[[], Any]) -> Iterator[None]:
    """Have the other ranks call `train` while the context is open, if this process has to start them. Raises
    RuntimeError where one of them failed, with what it wrote as a note."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    before, in_group = dict(os.environ), torch.distributed.is_initialized()
    if trainer.num_devices == 1 or environment is None or environment.creates_processes_externally:
        _say_ready()
        try:
            yield
        finally:
            if trainer.num_devices == 1 and isinstance(trainer.strategy, ParallelStrategy):  # as of strategy=ddp
                _restore(before)
                if torch.distributed.is_initialized() and not in_group:
                    torch.distributed.destroy_process_group()
        return
    assert isinstance(trainer.strategy, ParallelStrategy)
    shared = {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
    os.environ |= shared | {"NODE_RANK": str(environment.node_rank()), "LOCAL_RANK": "0"}
    with ExitStack() as stack:
        stack.callback(_restore, before)
        others = [(stack.enter_context(_started(rank, train)), rank) for rank in range(1, trainer.num_devices)]
        failed: Exception | None = None
        try:
            for (_, _, ready), rank in others:
                if not os.read(ready, 1):  # else torch would wait half an hour for it, deaf to signals
                    raise RuntimeError(f"the process of device {rank} ended before it trained")
            yield
        except Exception as error:
            failed = error
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the next run of a sweep makes its own
        for (process, said, _), rank in others:
            _join(process, said, rank, failed)
        if failed:
            raise failed


def _restore(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@contextmanager
def _started(rank: int, train: Callable[[], Any]) -> Iterator[tuple[Process, IO[bytes], int]]:
    """A rank, what it writes, and from where a byte can be read as soon as it is ready, none if it dies before."""
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    ready, there = os.pipe()
    environment = os.environ | {"LOCAL_RANK": str(rank), "PYTHONPATH": path, READY: str(there)}
    command = [sys.executable, "-P", "-m", __name__]  # the current folder comes where it comes here
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True,
            pass_fds=[there],
        )  # fmt: skip
        os.close(there)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it has died: nothing comes out of `ready`
                process.stdin.write(pickle.dumps(train))
                process.stdin.flush()
            yield process, said, ready
        finally:
            process.kill()
            process.wait()
            os.close(ready)
            with suppress(BrokenPipeError):
                process.stdin.close()


def _say_ready() -> None:
    if there := os.environ.pop(READY, None):
        os.write(int(there), b".")
        os.close(int(there))


def _join(process: Process, said: IO[bytes], rank: int, failed: Exception | None) -> None:
    """Wait for a rank's end. Raises RuntimeError if it failed, which may also be why this process did."""
    try:
        code = process.wait(ENDS if failed else None)
    except subprocess.TimeoutExpired:
        return  # it waits for this process, which failed by itself
    if code:
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
        ending = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        last = text.splitlines()[-1] if code > 0 and text else ending
        error = RuntimeError(f"the process of device {rank} failed: {last}")
        error.add_note(text)
        raise error from failed


def _end_with_rank_0() -> None:
    while os.read(0, 1):  # nothing comes, until it is gone
        pass
    os._exit(1)


def main() -> None:
    """One of the other ranks."""
    train = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    quiet_libraries()
    train()


if __name__ == "__main__":
    main()
