"""The Lightning logger that writes a run's tidy tables, and what the training side alone knows of a run.

Flow: diagnostics → **results**. Apart from results/run_folder.py, so that what only reads runs loads neither torch nor
Lightning.
"""

import csv
import io
import math
import os
from argparse import Namespace
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as L
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from actsweep.diagnostics.bases import Logger
from actsweep.diagnostics.diagnostic import Receiver
from actsweep.errors import UserError
from actsweep.results import ownership, run_folder
from actsweep.results.files import write_atomically
from actsweep.results.rank import zero_only

Numbers = npt.NDArray[np.float64]


def device_name(device: torch.device) -> str:
    """The device as a person names it, with the number of threads where that changes results."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


class Tables(Receiver, Logger):
    """A Lightning logger that writes a run's tidy tables, in the first process only where there are several.

    What a LightningModule logs once per epoch goes to epochs.csv; what diagnostics measure goes to layers.csv and
    histograms.csv. Rows are in their files at the end of each epoch. The folder holds one fit's: those of an earlier
    one that isn't resumed are moved into `.replaced/`, and what a resumed one measures again is there once. What
    `trainer.validate` and `trainer.test` find by themselves is of no epoch, and isn't kept.

    Raises UserError where files of these names are somebody else's.
    """

    name, version = "tables", ""

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"Tables: {self.folder} is no folder")
        ownership.refuse_taken(self.folder, run_folder.EPOCHS, run_folder.LAYERS, run_folder.HISTOGRAMS)
        self._trainer: L.Trainer | None = None  # while it is at work
        self._resumes, self._again = False, set[tuple[str, str]]()  # of which tables and quantities rows were dropped
        self._listed: set[str] = set()  # tables that are known to be ours
        self._has_earlier = bool(run_folder.table_sizes(self.folder))  # a fit's tables
        self.epochs = self._read_epochs()  # of a run that is resumed, else none
        self._changed: set[int] = set()  # epochs whose rows are not on disk as they are here
        self._columns: list[str] = []  # on disk
        self._last, self._last_at = 0, 0  # the epoch of the last row on disk, and where in the file that begins
        self._layer_rows: list[tuple[Any, ...]] = []
        self._histogram_rows: list[tuple[Any, ...]] = []

    @property
    def save_dir(self) -> str:
        """By which Lightning knows it: its command line writes config.yaml there, and `trainer.log_dir` is it."""
        return str(self.folder)

    def _read_epochs(self) -> dict[int, dict[str, float]]:
        path = self.folder / run_folder.EPOCHS
        if not path.exists():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        number = lambda text: int(text) if text.isdigit() else float(text)  # noqa: E731
        return {int(row.pop("epoch")): {name: number(value) for name, value in row.items() if value} for row in rows}

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass  # they are in result.json

    @zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Lightning's call as it begins: a fit that doesn't resume moves an earlier one's tables aside, and says so."""
        self._trainer = trainer = getattr(model, "trainer", None)
        if trainer is None or trainer.state.fn != TrainerFn.FITTING:
            return
        sizes = run_folder.table_sizes(self.folder)
        if self._has_earlier and sizes and not (trainer.ckpt_path or trainer.global_step):
            aside = ownership.move_aside(self.folder, [self.folder / name for name in sizes], run_folder.REPLACED)
            rank_zero_info(f"{self.folder}: tables of an earlier fit, which this one doesn't resume, are in {aside}")
            self.epochs, self._columns, self._last = {}, [], 0
        self._has_earlier, self._resumes, self._again = True, bool(trainer.ckpt_path), set()

    @zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._trainer and self._trainer.state.fn != TrainerFn.FITTING:
            return
        metrics = dict(metrics)
        if "epoch" not in metrics and self._trainer and "step" in self._trainer.logged_metrics:
            metrics["epoch"] = self._trainer.current_epoch  # which Lightning leaves out where a module logs the step
        epoch = int(metrics.pop("epoch", -1)) + 1  # Lightning counts from 0, the tables count completed epochs
        if epoch and not any(name.startswith("test_") for name in metrics):
            self._drop_later(epoch)
            before = dict(self.epochs.get(epoch, {}))
            steps = int(step or 0)  # Lightning's are a float where a module logs them
            row = self.epochs.setdefault(epoch, {"step": steps})
            if row.keys() & metrics.keys():  # found again, as by a second validation or at a later step
                row["step"] = max(row["step"], steps)
            row.update({name: float(f"{value:.7g}") for name, value in metrics.items()})  # all that float32 holds
            if row != before:
                self._changed.add(epoch)

    def _drop_later(self, epoch: int) -> None:
        """Of a fit that resumes, the epochs behind its first one: they broke off behind its checkpoint."""
        if self._resumes and (run_folder.EPOCHS, "") not in self._again:
            self._again.add((run_folder.EPOCHS, ""))
            if any(each > epoch for each in self.epochs):
                self.epochs, self._columns = {each: self.epochs[each] for each in self.epochs if each <= epoch}, []
                self._changed.add(epoch)

    @zero_only
    def log_layers(self, metrics: dict[str, float], epoch: int, step: int) -> None:
        """Values by `quantity/layer`."""
        for tag, value in metrics.items():
            quantity, _, layer = tag.partition("/")
            self._layer_rows.append((epoch, step, layer, quantity, repr(value)))

    @zero_only
    def log_histograms(self, found: dict[str, tuple[Numbers, Numbers]], epoch: int, step: int) -> None:
        """Counts and edges by `quantity/layer`."""
        for tag, (counts, edges) in found.items():
            quantity, _, layer = tag.partition("/")
            row = (epoch, step, layer, quantity, repr(float(edges[0])), repr(float(edges[-1])))
            self._histogram_rows.append((*row, " ".join(map(str, counts.astype(int).tolist()))))

    @zero_only
    def log_table(self, name: str, columns: dict[str, Iterable[Any]]) -> None:
        """Append rows to NAME.csv: values by column."""
        self._append(f"{name}.csv", tuple(columns), list(zip(*columns.values(), strict=True)))

    @zero_only
    def save(self) -> None:
        self._append(run_folder.LAYERS, run_folder.LAYER_COLUMNS, self._layer_rows)
        self._append(run_folder.HISTOGRAMS, run_folder.HISTOGRAM_COLUMNS, self._histogram_rows)
        if self._changed:
            self._save_epochs()

    def _save_epochs(self) -> None:
        """Append what is new. The last row is replaced where more of it is known, all rows where a column was added.

        Not forced to disk in every epoch: a checkpoint knows how long the file has to be.
        """
        path, changed = self.folder / run_folder.EPOCHS, sorted(self._changed)
        if changed[0] < self._last or any(name not in self._columns for each in changed for name in self.epochs[each]):
            self._columns = list(dict.fromkeys(["epoch", *(name for row in self.epochs.values() for name in row)]))
            csv.writer(header := io.StringIO(), lineterminator="\n").writerow(self._columns)
            lines = [header.getvalue(), *map(self._line, self.epochs)]
            ownership.record(self.folder, run_folder.EPOCHS)
            write_atomically(path, "".join(lines), durable=False)
        else:
            lines = [self._line(epoch) for epoch in changed]
            with path.open("r+", newline="", encoding="utf-8") as file:
                file.seek(*((self._last_at, os.SEEK_SET) if changed[0] == self._last else (0, os.SEEK_END)))
                file.truncate()
                file.writelines(lines)
        self._last, self._last_at = max(self.epochs), path.stat().st_size - len(lines[-1].encode())
        self._changed.clear()

    def _line(self, epoch: int) -> str:
        row = {"epoch": epoch} | self.epochs[epoch]
        return ",".join(str(row.get(name, "")) for name in self._columns) + "\n"

    def _append(self, name: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        path = self.folder / name
        is_new = not path.exists()
        if name not in self._listed:
            ownership.record(self.folder, name)
            self._listed.add(name)
        if not is_new and self._resumes and "step" in columns:
            self._drop_repeated(path, columns, rows)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(columns)
            writer.writerows(rows)
        rows.clear()

    def _drop_repeated(self, path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        """Of what a resumed fit measures again, what is on disk from the first new step on: it broke off behind its
        checkpoint."""
        step, quantity = columns.index("step"), columns.index("quantity") if "quantity" in columns else None
        key = lambda row: (path.name, "" if quantity is None else row[quantity])  # noqa: E731
        first: dict[tuple[str, str], float] = {}
        for row in rows:
            if key(row) not in self._again:
                first[key(row)] = min(float(row[step]), first.get(key(row), math.inf))
        self._again |= first.keys()
        if not first:
            return
        with path.open(newline="", encoding="utf-8") as file:
            header, *old = csv.reader(file)
        kept = [row for row in old if float(row[step]) < first.get(key(row), math.inf)]
        if len(kept) < len(old):
            csv.writer(text := io.StringIO(), lineterminator="\n").writerows([header, *kept])
            write_atomically(path, text.getvalue(), durable=False)

    def finalize(self, status: str) -> None:
        self.save()
        self._trainer = None

    def layer_values(self) -> dict[tuple[int, str], dict[str, float]]:
        """What layers.csv holds, as (epoch, quantity) → layer → value; of several steps in an epoch the last, but
        of epoch 0 the first, the untrained network's."""
        self.save()
        values: dict[tuple[int, str], dict[str, float]] = {}
        path = self.folder / run_folder.LAYERS
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for epoch, _, layer, quantity, value in islice(csv.reader(file), 1, None):
                    found = values.setdefault((int(epoch), quantity), {})
                    found[layer] = float(value) if int(epoch) else found.get(layer, float(value))
        return values

    def summarise(self, tested: dict[str, Any] | None) -> dict[str, Any]:
        """What a run found. Accuracies are fractions; per-layer lists run from the input to the output layer.

        `tested`: the epoch whose weights were tested, test_loss and, unless it is a regression, test_accuracy. A run
        that was not tested is `diverged`: its loss stopped being finite, and it has no accuracy.
        """
        layers = self.layer_values()
        epoch: int | None = tested["epoch"] if tested else None
        at_epoch = {} if epoch is None else self.epochs.get(max(epoch, 1), {})  # untrained: validated in epoch 1

        def per_layer(quantity: str, at: int | None) -> list[float | None] | None:
            # Where it is not measured in every epoch: the latest before the tested weights.
            epochs = [epoch for epoch, name in layers if name == quantity and at is not None]
            measured = max((epoch for epoch in epochs if epoch == at or 0 < epoch < (at or 0)), default=-1)
            values = layers.get((measured, quantity))
            as_number = int if quantity in run_folder.COUNTS else float
            return [as_number(value) if math.isfinite(value) else None for value in values.values()] if values else None

        return {
            "status": "completed" if tested else "diverged",
            "epochs": 0 if epoch == 0 else max(self.epochs, default=0),
            "best_epoch": epoch,
            **{name: at_epoch.get(name) for name in ("val_accuracy", "val_loss")},
            **{name: (tested or {}).get(name) for name in ("test_accuracy", "test_loss")},
            "initial": {name: per_layer(name, 0) for name in run_folder.SUMMARY},
            **{name: per_layer(name, epoch) for name in run_folder.SUMMARY},
        }
