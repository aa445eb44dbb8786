"""One run among the many of a stack: its loggers and callbacks, its files, its end.

Flow: training → diagnostics → **results**. What callbacks and loggers are handed as their trainer is the Member: it has
the attributes that early stopping and the project's own diagnostics use. What is measured is kept until the files are
written, when a member ends or a save is due; loggers get it in the order, and with the time, in which it was recorded.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_float
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as L
import torch
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn, TrainerState
from torch import Tensor

from actsweep.config import schema
from actsweep.data.datamodule import DataModule
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.jacobian import Jacobian
from actsweep.diagnostics.steps import EveryStep
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio
from actsweep.network.classifier import Classifier
from actsweep.results import run_folder
from actsweep.results.tables import Tables, device_name
from actsweep.results.tensorboard import TensorBoard
from actsweep.training.checkpoints import BestAndLast, EarlyStopping
from actsweep.training.stack.steps import autocast

MOST_NUMBERS = 2**21  # that are kept
HOOKS = ("on_train_start", "on_test_start", "on_test_batch_end")  # those that a Member calls
STACKED = (ActivationHistogram, DeadUnits, EveryStep, Jacobian, UpdateRatio)  # for whose own hooks diagnose.py stands
Record = tuple[Callable[..., object], Mapping[str, Any], int, int, float]  # what sends what; of which epoch, step, time


def unsupported(diagnostics: dict[str, Any]) -> str | None:
    """Why callbacks of these settings can't watch a stack; None if all can: this project's own, and Diagnostics, which
    do with what a Member has. Any other callback may ask Lightning's Trainer for anything."""
    for name, part in diagnostics.items():
        kind = type(part.make())
        base = Diagnostic if issubclass(kind, Diagnostic) else L.Callback
        others = {"layers", "record", "setup", "teardown"}
        own = {hook for hook in dir(kind) if hook.startswith("on_") or hook in others}
        called = HOOKS if base is Diagnostic or kind.__module__.startswith("actsweep.") else ()
        changed = sorted(hook for hook in own - {*called} if getattr(kind, hook) is not getattr(base, hook, None))
        if changed and kind not in STACKED:
            is_called = changed[0] in HOOKS
            why = "may ask for more of a trainer than a stack has" if is_called else "is not called in a stack"
            return f"diagnostics={name}: {changed[0]} {why}"
    return None


@dataclass(eq=False)
class Member:
    """One job of a stack. Times are counted in completed epochs and in optimiser steps."""

    settings: schema.Settings
    folder: Path
    classifier: Classifier
    datamodule: DataModule
    loggers: list[Logger] = field(default_factory=list)
    callbacks: list[L.Callback] = field(default_factory=list)
    global_step: int = 0
    current_epoch: int = 0
    is_global_zero: bool = True
    best_epoch: tuple[int, int] = (0, 0)  # completed epochs, steps
    should_stop: bool = False  # before its last epoch, or in it
    ended: bool = False
    records: list[Record] = field(default_factory=list)  # since its files were written last
    unseen: bool = False  # trains along and leaves nothing: it has its results, or somebody else is at work on it
    states: dict[str, Any] = field(default_factory=dict)  # of callbacks, in the checkpoint that it resumes from
    at: float | None = None  # when what its loggers are being sent was recorded; None: now

    # What early stopping asks besides.
    state, strategy = TrainerState(fn=TrainerFn.FITTING), SingleDeviceStrategy()
    sanity_checking = fast_dev_run = False

    def __post_init__(self) -> None:
        monitor, settings = self.classifier.monitor, self.settings
        self.early = EarlyStopping(**monitor, patience=settings.epochs_without_better, min_delta=settings.min_delta)
        self.saver = BestAndLast(self.folder, **monitor, config_hash=settings.hash())

    def go_on(self, states: Sequence[Any], best_epoch: tuple[int, int], epochs: int, steps: int) -> None:
        """Be where the run was after so many epochs and steps. `states`: of `early` and `saver`."""
        for callback, state in zip((self.early, self.saver), states, strict=True):
            callback.load_state_dict(state)
        self.best_epoch = best_epoch
        self.current_epoch, self.global_step = epochs - 1, steps

    def open(self) -> None:
        """Make what is written into the folder, and the folder, unless it is ready; of a member that is resumed, go on
        writing."""
        if self.unseen:
            return
        if not (self.folder / run_folder.RUN).exists():
            run_folder.prepare(self.folder, self.settings)
        made = [part.make() for part in self.settings.diagnostics.values()]
        self.callbacks = [each for each in made if not isinstance(each, EveryStep)]  # which notes what the stack does
        for each in self.callbacks:
            each.on_load_checkpoint(self, self.classifier, {"callbacks": self.states})  # type: ignore[arg-type]
            if each.state_key in self.states:
                each.load_state_dict(self.states[each.state_key])
        quantities = [quantity for each in self.callbacks for quantity in getattr(each, "quantities", ())]
        run_folder.write_quantities(self.folder, quantities, self.settings.loss)
        self.tables = Tables(self.folder)
        clock = lambda: self.at or time.time()  # noqa: E731
        events = TensorBoard(self.folder, self.settings.plain(), quantities, self.global_step, clock)
        self.loggers = [self.tables, events]
        if not self.global_step:
            for logger in self.loggers:
                logger.log_hyperparams({})
        self.call("on_train_start")

    def call(self, hook: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.classifier, *arguments)

    def log(self, metrics: dict[str, float]) -> None:
        rounded = {name: c_float(value).value for name, value in metrics.items()}  # to float32, as Lightning does
        for logger in self.loggers:
            logger.log_metrics(rounded | {"epoch": self.current_epoch}, self.global_step)

    def end_epoch(self, means: dict[str, float]) -> tuple[bool, bool]:
        """Of an epoch's means: whether its weights are the best so far, and whether it was the last."""
        self.callback_metrics = {name: torch.tensor(value) for name, value in means.items()}  # float32, as Lightning's
        losses = [means.get(f"{phase}_loss", 0.0) for phase in ("train", "val")]
        self.should_stop = self.classifier.diverged = not all(map(math.isfinite, losses))
        is_of_training = self.early.monitor.startswith("train_")
        look = self.early.on_train_epoch_end if is_of_training else self.early.on_validation_end
        look(self, self.classifier)  # type: ignore[arg-type]
        is_better, self.saver.stopped = self.saver.note(self.callback_metrics), self.should_stop
        if is_better:
            self.best_epoch = self.current_epoch + 1, self.global_step
        return is_better, self.should_stop or self.current_epoch + 1 >= self.settings.trainer.max_epochs

    def write(self) -> None:
        """Send what was recorded to the loggers, and have them write it."""
        now = self.current_epoch, self.global_step
        try:
            for send, own, epoch, step, at in self.records:
                self.current_epoch, self.global_step, self.at = epoch, step, at
                send(self, own, epoch)
        finally:
            (self.current_epoch, self.global_step), self.at = now, None
        self.records.clear()
        for logger in self.loggers:
            logger.save()

    def close(self) -> None:
        """After the last epoch: rows and events are on disk."""
        self.current_epoch += 1
        for logger in self.loggers:
            logger.finalize("success")

    def result(self, last: dict[str, Tensor], best: dict[str, Tensor], seconds: float) -> dict[str, Any]:
        """What result.json shall hold, after the test."""
        tested = None
        if not self.classifier.diverged:
            is_best = self.settings.test == "best"
            tested = self.test(best if is_best else last, self.best_epoch[0] if is_best else self.current_epoch)
        result = run_folder.describe(self.settings, self.folder) | self.tables.summarise(tested)
        result["classes"] = len(self.datamodule.dataset.classes)
        result["device"] = device_name(self.classifier.device)
        return result | {"seconds": round(seconds, 3)}

    def test(self, weights: dict[str, Tensor], epoch: int) -> dict[str, Any]:
        """Test these weights, of the end of this epoch; returns what `Classifier.tested` would."""
        classifier = self.classifier
        classifier.load_state_dict(weights)
        classifier.loaded_epoch = epoch
        classifier.eval()
        classifier.on_test_epoch_start()
        precision = str(self.settings.trainer.precision)
        with torch.no_grad():
            self.call("on_test_start")
            for number, batch in enumerate(self.datamodule.test_dataloader()):
                with autocast(classifier.device, precision):
                    outputs = classifier.test_step(batch, number)
                self.call("on_test_batch_end", outputs, batch, number)
        loss, correct, examples = classifier.running["test"].sums().tolist()
        means = {"test_loss": loss / examples}
        if classifier.objective.classifies:
            means["test_accuracy"] = correct / examples
        self.log(means)
        for logger in self.loggers:
            logger.finalize("success")
        return {"epoch": epoch} | means


class Records:
    """Gives each of the stack's `members` what is recorded of it; `numbers`: about how many since files were written.
    `epoch`: completed ones, or as loggers count them; `step`: optimiser steps so far."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self.numbers = members, 0

    def keep(
        self, send: Callable[..., object], of_each: Sequence[Mapping[str, Any]], epoch: int, step: int, size: int = 1
    ) -> None:
        """`send` will be called with a member, its own of `of_each` and the epoch. `size`: numbers by a name."""
        now = time.time()
        for member, own in zip(self.members, of_each, strict=False):  # of each there is nothing, or something
            if not (member.ended or member.unseen):
                member.records.append((send, own, epoch, step, now))
                self.numbers += len(own) * size
