"""One run, from top to bottom: `python -m src.train act=relu seed=0`; with -m, every combination of several values.

Flow: config → data → network → training → diagnostics → results.
"""

import time
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from src import REPOSITORY, config, naming, results
from src.classifier import Classifier
from src.command_line import one_line_errors, quiet_libraries, stop
from src.data import datamodule
from src.diagnostics.diagnostic import Diagnostic
from src.mlp import initialise
from src.progress import ProgressBar
from src.tensorboard import TensorBoard

MONITOR = "val_accuracy"


def build_network(settings: config.Settings, input_size: int, num_classes: int) -> Classifier:
    """The untrained network: the seed alone fixes its weights."""
    network = {
        "input_size": input_size,
        "hidden_sizes": settings.layer_sizes,
        "num_classes": num_classes,
        "act": settings.act.plain(),
        "norm": settings.norm,
    }
    torch.manual_seed(settings.seed)  # immediately before: nothing that ran earlier can matter
    classifier = Classifier(network, settings.optim.plain(), settings.seed, settings.names.data)
    init = settings.init
    weight, bias = init.weight.function() if init.weight else None, init.bias.function() if init.bias else None
    initialise(classifier.network, weight, bias)
    return classifier


def build_trainer(settings: config.Settings, folder: Path, tables: results.Tables) -> L.Trainer:
    """Lightning's Trainer with early stopping, best and last checkpoint, diagnostics, tables and TensorBoard."""
    diagnostics: list[Diagnostic] = [instantiate(part.plain()) for part in settings.diagnostics.values()]
    results.write_quantities(folder, (quantity for each in diagnostics for quantity in each.quantities))
    return L.Trainer(
        **settings.trainer.plain(),
        default_root_dir=folder,
        logger=[tables, TensorBoard(folder)],
        callbacks=[
            ModelCheckpoint(
                folder / results.BEST.parent,
                results.BEST.stem,
                monitor=MONITOR,
                mode="max",
                save_last=True,
                enable_version_counter=False,  # best.ckpt keeps its name
            ),
            EarlyStopping(MONITOR, mode="max", patience=settings.patience),
            *([ProgressBar(folder.name)] if settings.trainer.enable_progress_bar else []),
            *diagnostics,
        ],
        num_sanity_val_steps=0,
        enable_model_summary=False,
        use_distributed_sampler=False,  # DataModule shares out the batches itself
    )


def train(settings: config.Settings, folder: Path) -> dict[str, Any]:
    """Train, test the best epoch, and write everything a run leaves behind. Returns what result.json holds."""
    started = time.perf_counter()
    results.prepare(folder)
    data = datamodule.open_data(settings.data, settings.seed)
    classifier = build_network(settings, data.dataset.input_size, len(data.dataset.classes))
    tables = results.Tables(folder)
    trainer = build_trainer(settings, folder, tables)
    trainer.fit(classifier, data)
    if not classifier.diverged:
        trainer.test(classifier, data, folder / results.BEST, verbose=False, weights_only=True)
    result = results.describe(settings, folder) | results.summarise(tables, classifier.means.get("test", {}))
    result["classes"] = len(data.dataset.classes)
    result["device"] = results.device_name(trainer.strategy.root_device)
    result["seconds"] = round(time.perf_counter() - started, 3)
    results.write_result(folder, result)
    return result


@hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """What Hydra calls for each run. Returns the best validation accuracy, which a sweeper may optimise."""
    quiet_libraries()
    settings, folder = config.read(cfg), Path(HydraConfig.get().runtime.output_dir)
    done = results.read_result(folder)
    if done and done["status"] != "failed" and done["config_hash"] == settings.hash():
        return done["val_accuracy"]  # a repeated sweep doesn't repeat its runs
    try:
        return train(settings, folder)["val_accuracy"]
    except Exception as error:
        results.write_failure(settings, folder, error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return None  # the sweep goes on; its end reports the failure
        raise stop(f"{folder.name} failed: {error} (traceback: {folder / results.ERROR})", code=1) from error


def main() -> None:
    naming.register()
    with one_line_errors(config.keys()):
        job()


if __name__ == "__main__":
    main()
