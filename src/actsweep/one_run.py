"""One run, from top to bottom: `python -m src.train act=relu seed=0`; with -m, every combination of several values.

Flow: config → data → network → training → diagnostics → results.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as L

from actsweep.config import schema
from actsweep.data import datamodule
from actsweep.errors import exits_are_errors
from actsweep.network.build import build_network
from actsweep.network.losses import outputs_for
from actsweep.network.mlp import threads_for
from actsweep.results import run_folder
from actsweep.results.tables import Tables, device_name
from actsweep.results.tensorboard import TensorBoard
from actsweep.threads import use_threads
from actsweep.training import checkpoints, ranks, trainer_arguments
from actsweep.training.checkpoints import FRESH, BestAndLast, EarlyStopping, Start, WholeFiles
from actsweep.training.progress import ProgressBar


def build_trainer(
    settings: schema.Settings, folder: Path, tables: Tables, monitor: dict[str, Any], start: Start = FRESH
) -> L.Trainer:
    """Lightning's Trainer with early stopping, best and last checkpoint, diagnostics, tables and TensorBoard."""
    diagnostics: list[L.Callback] = [part.make() for part in settings.diagnostics.values()]
    quantities = [quantity for each in diagnostics for quantity in getattr(each, "quantities", ())]
    run_folder.write_quantities(folder, quantities, settings.loss)
    parts = {
        "default_root_dir": folder,
        "logger": [tables, TensorBoard(folder, settings.plain(), quantities, start.steps)],
        "callbacks": [
            BestAndLast(folder, **monitor, config_hash=settings.hash(), clock=start.clock),
            EarlyStopping(**monitor, patience=settings.epochs_without_better, min_delta=settings.min_delta),
            *([ProgressBar(folder.name)] if settings.trainer.enable_progress_bar else []),
            *diagnostics,
        ],
        "plugins": [WholeFiles()],
    }
    return L.Trainer(**trainer_arguments.arguments(settings) | parts)


@exits_are_errors()
def train(settings: schema.Settings, folder: Path) -> dict[str, Any]:
    """Train, from the last checkpoint where there is one, test the best epoch, and write everything a run leaves
    behind. Returns what result.json holds."""
    if settings.atlas:
        from actsweep.atlas.measure import measure  # here, because it imports SciPy

        return measure(settings, folder)
    start = checkpoints.prepare(folder, settings)
    data = datamodule.open_data(settings.data, settings.seed)
    outputs = outputs_for(settings.loss, data.dataset)
    classifier = build_network(settings, data.dataset.input_size, outputs, data.dataset.scale)
    classifier.is_trained = not settings.untrained
    use_threads(settings.threads or threads_for(classifier.network, data.examples_per_step))
    trainer = build_trainer(settings, folder, tables := Tables(folder), classifier.monitor, start)
    with ranks.beside(trainer, partial(train, settings, folder)):
        if settings.untrained:
            trainer.validate(classifier, data, verbose=False)
        trainer.fit(classifier, data, ckpt_path=start.checkpoint, weights_only=True)
        if not classifier.diverged:
            checkpoint = folder / (run_folder.BEST if settings.test == "best" else run_folder.LAST)
            trainer.test(classifier, data, checkpoint, verbose=False, weights_only=True)
    result = run_folder.describe(settings, folder) | tables.summarise(classifier.tested())
    result["classes"] = len(data.dataset.classes)
    result["device"] = device_name(trainer.strategy.root_device)
    result["seconds"] = round(time.perf_counter() - start.clock, 3)
    run_folder.write_result(folder, result)
    return result
