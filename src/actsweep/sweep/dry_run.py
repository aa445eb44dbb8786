"""A dry run of what would train together, a run or a stack: what its start, its epochs and its steps take.

Flow: config → **dry run** → plan. The code that would train it does, in a folder that is thrown away, with diagnostics,
checkpoints and test, for a few steps of three epochs.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from actsweep import one_run
from actsweep.config.schema import Settings, Target, Trainer
from actsweep.data import datamodule
from actsweep.errors import UserError, causes, is_ours
from actsweep.threads import use_threads
from actsweep.training.checkpoints import is_out_of_memory
from actsweep.training.stack import grouping
from actsweep.training.stack.training import Training

EPOCHS, STEPS = 3, 8  # the first epoch and the last have more to do than those between
OF_EPOCHS = {  # arguments of Lightning's Trainer that count in whole epochs' batches, which a dry run's haven't got
    *("limit_train_batches", "overfit_batches", "val_check_interval", "check_val_every_n_epoch"),
}
FOREIGN = (MisconfigurationException, OSError, MemoryError)  # not our fault, though they arise below our code
MOST_MEMBERS = 32  # in a dry run; a larger stack is reckoned to take time in proportion


@dataclass(frozen=True)
class Parts:
    """Seconds of what trains as one: before and after its epochs, in an epoch besides its steps, in a step. Bytes that
    each run leaves: whatever its epochs, and of each."""

    start: float
    epoch: float
    step: float
    bytes: float
    epoch_bytes: float


class Clock(L.Callback):
    """Notes when epochs begin, and training ends; and after each batch how many steps were done, and when."""

    epochs: ClassVar[list[float]] = []
    steps: ClassVar[list[tuple[int, float]]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.epochs.append(time.perf_counter())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.steps.append((trainer.global_step, time.perf_counter()))

    def on_train_end(self, *_: Any) -> None:
        self.epochs.append(time.perf_counter())


def measure(together: Sequence[Settings]) -> Parts:
    """Train these, one alone or several as a stack. Raises UserError where that fails for a reason of the person's."""
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _stack(together, Path(folder)) if len(together) > 1 else _alone(together[0], Path(folder))
    except UserError:
        raise
    except Exception as error:
        *_, first = causes(error)
        if is_ours(first) and not (isinstance(first, FOREIGN) or is_out_of_memory(first)):
            raise
        raise UserError(f"act={together[0].names.act}: trying a run failed: {str(error) or repr(error)}") from error
    finally:
        use_threads(threads)


def _brief(settings: Settings) -> tuple[Settings, int]:
    """The same for a few epochs, and the steps of each, which hardly change the weights, so that nothing diverges."""
    data = datamodule.open_data(settings.data, settings.seed)
    steps = min(STEPS, data.sampling.steps(len(data.train)))
    trainer = {key: value for key, value in settings.trainer.model_dump(by_alias=True).items() if key not in OF_EPOCHS}
    brief = {"max_epochs": EPOCHS, "enable_progress_bar": False}
    changes = {
        "patience": None,
        "data": settings.data.model_copy(update={"steps_per_epoch": steps}),
        "optim": settings.optim.model_copy(update={"lr": 1e-9}),
        "trainer": Trainer.model_validate(trainer | brief),
    }
    return settings.model_copy(update=changes), steps


def _alone(settings: Settings, folder: Path) -> Parts:
    brief, steps = _brief(settings)
    clock = Target.model_validate({"_target_": f"{__name__}.{Clock.__name__}"})
    clocked = brief.model_copy(update={"diagnostics": settings.diagnostics | {"clock": clock}})
    Clock.epochs.clear()
    Clock.steps.clear()
    began = time.perf_counter()
    one_run.train(settings if settings.atlas else clocked, folder)
    whole = time.perf_counter() - began
    if settings.atlas or settings.untrained:  # what an atlas's function takes depends on which one it is: tried whole
        return Parts(whole, 0.0, 0.0, _bytes(folder), 0.0)
    durations = [after - before for before, after in pairwise(Clock.epochs)]
    epoch = median(durations[1:] or durations)
    inside = [
        after - before
        for (then, before), (now, after) in pairwise(Clock.steps)
        if now > then and then % steps  # else the end of an epoch lies between
    ]
    step = median(inside) if inside else epoch / steps
    return _parts(whole - EPOCHS * epoch, epoch, step, steps, folder)


def _stack(together: Sequence[Settings], folder: Path) -> Parts:
    members = [_brief(settings)[0] for settings in together[:MOST_MEMBERS]]
    steps, device = _brief(together[0])[1], grouping.device_for(together[0])
    ends: list[float] = []  # of the epochs but the last

    def note(*_: Any) -> None:
        _wait_for(device)
        ends.append(time.perf_counter())

    began = time.perf_counter()
    training = Training([(settings, folder / str(place)) for place, settings in enumerate(members)], device)
    built = time.perf_counter()
    training.feed.load(0)
    for _ in range(steps):
        training.steps()
    _wait_for(device)
    step = (time.perf_counter() - built) / steps
    training.run(note)
    whole = time.perf_counter() - began - steps * step
    epoch = ends[1] - ends[0] if len(ends) > 1 else whole / EPOCHS
    share = len(together) / len(members)
    return _parts(share * (whole - EPOCHS * epoch), share * epoch, share * step, steps, folder, len(members))


def _parts(start: float, epoch: float, step: float, steps: int, folder: Path, runs: int = 1) -> Parts:
    step = min(step, epoch / steps)
    checkpoints = _bytes(folder, "*.ckpt")
    others = (_bytes(folder) - checkpoints) / runs / EPOCHS
    return Parts(max(start, 0.0), epoch - steps * step, step, checkpoints / runs, others)


def _bytes(folder: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
