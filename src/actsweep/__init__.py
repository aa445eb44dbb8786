"""What an activation function does to a deep network, measured. The public API; everything else may change.

`actsweep.callbacks` holds the diagnostics for a LightningModule of your own. Nothing heavy is imported before it is
used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actsweep.places import VERSION as __version__  # noqa: N811

if TYPE_CHECKING:
    from actsweep import callbacks as callbacks
    from actsweep.api import Loaded as Loaded

__all__ = ["Loaded", "__version__", "callbacks", "load", "train"]


def train(*, folder: str | Path | None = None, **overrides: Any) -> dict[str, Any]:
    """Train one network, as the command does, and return what its result.json holds.

    `overrides`: the command's keys. Those of a section may be a dict, or have dots in a dict that is passed with `**`.
    `folder`: where the run's files go, by default one below outputs/runs; one that holds the same run, finished, is
    read and not trained again. Raises UserError for what the command would refuse. Threads take turns; Hydra, which the
    caller may be using, and torch's random numbers are left as they were.

    >>> import tempfile
    >>> tiny = {"trainer.accelerator": "cpu", "trainer.enable_progress_bar": False, "depth": 1, "width": 8}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = train(act="relu", seed=0, data="digits", trainer={"max_epochs": 2}, folder=folder, **tiny)
    >>> result["status"], result["epochs"], len(result["grad_norm"])
    ('completed', 2, 2)
    >>> train(activation="relu")
    Traceback (most recent call last):
    actsweep.errors.UserError: activation: there is no such key; to add one, write +activation=…
    """
    from actsweep import api

    return api.train(api.path(folder) if folder else None, overrides)


def load(*folders: str | Path) -> "Loaded":
    """The tidy tables of all runs in or below the folders, as pandas frames, and what their report says.

    Each row begins with `run`, the run's folder, and what tells the run from the others: act, seed and what was varied.

    runs     one row per run: status (`repeated`: the same run as another one), epochs, best_epoch, accuracies as
             fractions, losses in nats (mean squares in a regression), seconds, device
    epochs   one row per epoch, from 1: step, and each measure of training and validation, in the same units
    layers   one row per epoch (0: untrained), step, layer and quantity: value; `definition` and `unit` say what it is
    report   what report.json holds (docs/report.schema.json), computed when it is first asked for; its lists as
             frames: settings (estimates with intervals and n), comparisons, findings (worst first)

    Raises UserError for a folder that isn't there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nothing = load(folder)
    >>> nothing.layers.columns.tolist()
    ['run', 'act', 'seed', 'epoch', 'step', 'layer', 'quantity', 'value', 'definition', 'unit']
    """
    from actsweep import api

    return api.load([api.path(folder) for folder in folders])


def __getattr__(name: str) -> Any:
    if name == "callbacks":
        return import_module("actsweep.callbacks")
    if name == "Loaded":
        return import_module("actsweep.api").Loaded
    raise AttributeError(f"module 'actsweep' has no attribute {name!r}")
