"""Progress in the terminal: a line per run (epoch, losses, accuracy, time left) and one for the sweep around them.

A run's numbers are those of the epoch before, so the line never makes the device wait.
"""

import time
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as L
from pytorch_lightning.callbacks import ProgressBar as LightningProgressBar
from tqdm import tqdm


class ProgressBar(LightningProgressBar):
    """A tqdm bar over all steps of a run; silent where the output is no terminal, or `shown` is false."""

    shown = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.bar: tqdm[Any] | None = None
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs = trainer.max_epochs or 0
        self.bar = tqdm(
            total=self.epochs * int(trainer.num_training_batches),
            desc=f"{self.name} epoch 1/{self.epochs}",
            unit="step",
            mininterval=0.2,
            leave=False,
            disable=None if self.enabled and self.shown else True,
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {elapsed}, at most {remaining} left{postfix}",
        )

    def on_train_batch_end(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shown = trainer.callback_metrics
        if self.bar is None or self.bar.disable or "train_loss" not in shown:
            return  # in the first epoch there is nothing to show
        self.bar.set_description(f"{self.name} epoch {trainer.current_epoch + 1}/{self.epochs}", refresh=False)
        forms = {"train_loss": ".3f", "val_loss": ".3f", "val_accuracy": ".1%"}
        known = [
            f"{name.replace('_', ' ')} {float(shown[name]):{form}}" for name, form in forms.items() if name in shown
        ]
        self.bar.set_postfix_str(", ".join(known), refresh=False)

    def on_train_end(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()


class Watcher(Protocol):
    """Whom those that train several runs at once report to."""

    def ended(self, folder: Path) -> None:
        """The run in this folder has ended."""

    def reached(self, runs: float, left: float, each: float) -> None:
        """So many runs are at work and need at most `left` more seconds; such a run takes about `each` seconds. One
        that resumes counts as the part that was left of it."""


class Unseen:
    """Nobody watches."""

    def ended(self, folder: Path) -> None: ...

    def reached(self, runs: float, left: float, each: float) -> None: ...


UNSEEN = Unseen()


class Bar(tqdm):  # type: ignore[type-arg]
    monitor_interval = 0  # no thread that looks after it: its process may be forked


class SweepProgress:
    """How far a sweep is: runs done, time left, the best. On a terminal one line that stays, else plain lines."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.found, self.started = total, 0, 0, time.monotonic()
        self.at_work, self.until, self.each = 0.0, 0.0, 0.0  # as those said who train several runs at once
        self.best: tuple[float, str] | None = None
        self.bar = Bar(
            total=total,
            desc="sweep",
            position=1,
            leave=False,
            disable=None,  # where the output is no terminal
            bar_format="{desc} {n}/{total} runs |{bar:20}| {elapsed}{postfix}",
        )

    def reached(self, runs: float, left: float, each: float) -> None:
        self.at_work, self.until, self.each = runs, time.monotonic() + left, each
        self._show()

    def ended(self, result: dict[str, Any], line: str, is_new: bool) -> None:
        """A run has ended, or was found done: say so above the progress line, or with how far the sweep is."""
        self.done += 1
        self.at_work -= min(1.0, self.at_work)
        self.found += not is_new
        accuracy = result.get("val_accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best[0]):
            self.best = accuracy, result["name"]
        if self.bar.disable:
            print(f"{self.done}/{self.total}{self._left()}: {line}", flush=True)
            return
        self.bar.write(line)
        self.bar.update()
        self._show()

    def _left(self) -> str:
        """The time that the sweep still needs, as far as that is known."""
        if self.done == self.total:
            return ""
        now, new = time.monotonic(), self.done - self.found
        if self.each:
            seconds = max(0.0, self.until - now) + self.each * max(0, self.total - self.done - self.at_work)
        elif new:
            seconds = (now - self.started) / new * (self.total - self.done)
        else:
            return ""
        return f", about {duration(seconds)} left"

    def _show(self) -> None:
        best = f", best {self.best[1]} (val accuracy {self.best[0]:.1%})" if self.best else ""
        self.bar.set_postfix_str((self._left() + best).removeprefix(", "), refresh=False)  # tqdm puts ", " before it

    def close(self) -> None:
        self.bar.close()


def duration(seconds: float) -> str:
    """In the unit that suits it.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
