"""When a run stops, its best.ckpt and last.ckpt, one of which is always whole, and how it resumes from them.

Lightning's ModelCheckpoint writes last.ckpt only in epochs that are the best so far, and moves files between file
systems, which a kill or a full disk can catch half way.
"""

import errno
import io
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from actsweep.config.schema import Settings
from actsweep.errors import causes
from actsweep.network import lightning_loops
from actsweep.results import claims, files, run_folder
from actsweep.results.rank import zero_only
from actsweep.results.tables import Tables


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but an epoch counts as better that beats the best so far by more than `min_delta`: scikit-learn's
    `tol`. Lightning's has to beat the last epoch that counted, so that many small steps become a large one. What is
    found in training is looked at when an epoch's training ends, what a validation finds when that does."""

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        when = {"check_on_train_epoch_end": monitor.startswith("train_")}
        super().__init__(monitor, min_delta, patience, mode=mode, **when)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._remember(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:  # what that finds, the superclass has passed over too
            self._remember(trainer.callback_metrics)

    def _remember(self, metrics: dict[str, Any]) -> None:
        score = metrics.get(self.monitor)
        if score is not None and score.isfinite():
            best = self.best_score.to(score.device)
            self.best_score = torch.maximum(best, score) if self.mode == "max" else torch.minimum(best, score)


NO_MEMORY = re.compile("(can(no|')t allocate|not enough|out of) memory|alloc_failed|bad_alloc", re.IGNORECASE)


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its final place and renames it when it is on disk. Lightning would write it to the
    temporary folder first, which may be full, or on another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        torch.save(checkpoint, whole := io.BytesIO())
        with _beside(Path(path)) as temporary:
            temporary.write_bytes(whole.getbuffer())


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """What is written there while the context is open takes the target's place at its end."""
    temporary = files.temporary_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        files.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Start:
    """Where a run begins: at a checkpoint and its number of optimiser steps, or (None) at the beginning. `clock`: what
    time.perf_counter showed when the run began, or would have if it had not been interrupted."""

    clock: float = 0.0
    checkpoint: Path | None = None
    steps: int = 0


FRESH = Start()


class BestAndLast(Checkpoint):
    """Saves last.ckpt after every epoch, and best.ckpt whenever `monitor` is better than ever; best.ckpt is the same as
    last.ckpt until there has been a validation.

    A checkpoint also holds the configuration's hash and the sizes of the run's tables, so that a run resumes only from
    one of its own, and with the tables of that moment. What a signal does is left to whoever started the run: Lightning
    would end it upon SIGTERM, which clusters also send to what they merely suspend, and save the middle of an epoch.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, config_hash: str = "", clock: float = 0.0) -> None:
        self.folder, self.config_hash, self.clock = folder, config_hash, clock
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best: float | None = None
        self.stopped = False
        self.handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.stopped  # killed after its last epoch, before its test
        self._handle_signals(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._handle_signals(trainer)

    def _handle_signals(self, trainer: L.Trainer) -> None:
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            for number, handler in self.handlers.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        is_better = self.note(trainer.callback_metrics)
        self.stopped = trainer.should_stop
        self._write_tables(trainer)
        # best.ckpt first: if the process dies between the two, last.ckpt is an epoch older, which is then repeated.
        first = self.folder / (run_folder.BEST if is_better else run_folder.LAST)
        trainer.save_checkpoint(first, weights_only=False)
        if is_better and trainer.is_global_zero:
            _copy(first, self.folder / run_folder.LAST)

    def note(self, metrics: Mapping[str, Any]) -> bool:
        """Whether an epoch with these metrics is the best so far, which the first one is, whatever it is."""
        found = metrics.get(self.monitor)  # of the last validation, if there has been one
        score = None if found is None else self.sign * float(found)
        is_better = self.best is None or (score is not None and score > self.best)
        if is_better:
            self.best = score
        return is_better

    def _write_tables(self, trainer: L.Trainer) -> None:
        """All rows of the epoch: what training found, Lightning would log only after this callback."""
        found = trainer.callback_metrics.items()
        metrics = {name: float(value) for name, value in found if name != "step" and not name.startswith("val_")}
        for logger in trainer.loggers:
            if isinstance(logger, Tables):
                logger.log_metrics(metrics | {"epoch": trainer.current_epoch}, trainer.global_step)
            logger.save()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = {
            "config_hash": self.config_hash,
            "tables": run_folder.table_sizes(self.folder),
            "seconds": time.perf_counter() - self.clock,
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if "loops" in checkpoint:
            lightning_loops.recount(checkpoint)
        if trainer.testing:  # some callbacks, as WeightAveraging, have by now put in those that training goes on from
            pl_module.load_state_dict(checkpoint["state_dict"])

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.stopped = state_dict["best"], state_dict["stopped"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it, or what it came from, says that no memory is left: CUDA, its libraries, torch on a CPU, NumPy, Python
    and the system each say so in their own way."""
    return any(
        isinstance(each, torch.OutOfMemoryError | MemoryError)
        or getattr(each, "errno", None) == errno.ENOMEM
        or NO_MEMORY.search(str(each))
        for each in causes(error, contexts=True)
    )


def read(path: Path, sets_aside: bool = True) -> dict[str, Any]:
    """A checkpoint, its tensors still on disk; nothing where there is none, or a damaged one, which is set aside.
    Raises what the system says, or a lack of memory, where it can't be read now: that says nothing of what is in
    there."""
    try:
        path.open("rb").close()
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except Exception as error:  # of many kinds, for the many ways in which a file can be damaged or malicious
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):  # it is cut short
            raise
        if sets_aside:
            run_folder.set_aside(path, str(error).splitlines()[0] if str(error) else type(error).__name__)
        return {}
    return checkpoint if isinstance(checkpoint, dict) else {}


def prepare(folder: Path, settings: Settings, is_announced: bool = True) -> Start:
    """Make the run's folder ready: its tables cut back to the last checkpoint of the same settings, or emptied.
    `is_announced`: the person learns where it resumes. Raises UserError where the folder holds anything that is not of
    such a run."""
    claims.refuse(folder, settings)
    resumes, unfit = settings.rerun != "all" and not settings.untrained, False
    for path in (folder / run_folder.LAST, folder / run_folder.BEST) if resumes else ():
        checkpoint = read(path)
        run = checkpoint.get("run", {})
        if run.get("config_hash") != settings.hash():
            continue
        if run_folder.rewind(folder, run["tables"]):
            if path.name == run_folder.BEST.name:
                _copy(path, folder / run_folder.LAST)
            run_folder.resume(folder, settings)
            if is_announced:
                _say(f"{folder.name} resumes after epoch {checkpoint['epoch'] + 1}")
            return Start(time.perf_counter() - run["seconds"], path, checkpoint["global_step"])
        unfit = True
    if unfit:
        _say(f"{folder.name} begins anew: its tables have lost rows that its checkpoints count on")
    keeps = unfit or (settings.rerun == "all" and (folder / run_folder.LAST).exists())
    # A stack syncs its members' files at their ends.
    run_folder.prepare(folder, settings, durable=is_announced, keeps=keeps)
    return Start(time.perf_counter())


@zero_only
def _copy(source: Path, target: Path) -> None:
    with _beside(target) as temporary:
        shutil.copyfile(source, temporary)


@zero_only
def _say(message: str) -> None:
    print(message, flush=True)
