"""Where the callbacks' values go, and that they are the project's own."""

import csv
import json
import logging
import math
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from actsweep.callbacks import (
    ActivationHistogram,
    DeadUnits,
    Diagnostic,
    EveryStep,
    GradientNorm,
    Layer,
    Receiver,
    observe,
)  # fmt: skip
from actsweep.data.datamodule import open_data
from actsweep.diagnostics.bases import with_copys
from actsweep.errors import UserError
from actsweep.network.build import build_network
from tests.conftest import SMALL
from tests.diagnostics.test_foreign_modules import ForeignCNN
from tests.diagnostics.test_zoo import Keeps, Kept, fit
from tests.processes import lives

IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(IMAGES, torch.arange(16) % 10)
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
SILENT |= {"WANDB_X_DISABLE_STATS": "true", "WANDB_X_DISABLE_MACHINE_INFO": "true"}  # needs no second process


@pytest.fixture(autouse=True)
def _tells_nobody_and_writes_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {f"WANDB_{name}_DIR": str(tmp_path / "wandb's own") for name in ("CACHE", "CONFIG", "DATA")}
    for name, value in (SILENT | folders).items():
        monkeypatch.setenv(name, value)


def fitted(loggers: Any) -> tuple[Kept, Keeps]:
    """What a run sends to the loggers, and to one that keeps it."""
    torch.manual_seed(0)
    kept, keeps = Kept(), Keeps()
    callbacks = [GradientNorm(), ActivationHistogram(bins=8), keeps]
    fit(ForeignCNN(), DATA, callbacks, logger=[*loggers, kept])
    return kept, keeps


def norms(kept: Kept) -> dict[int | None, float]:
    return {step: row["grad_norm/head"] for step, row in kept.rows if "grad_norm/head" in row}


def test_tensorboard_has_the_scalars_and_numpys_histograms(tmp_path: Path) -> None:
    kept, keeps = fitted([TensorBoardLogger(tmp_path, name="", version="")])
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    found = {event.step: event.value for event in events.Scalars("grad_norm/head")}
    assert found == pytest.approx(norms(kept), rel=1e-6)
    for event, layers in zip(events.Histograms("pre_activation/features.0"), keeps.seen, strict=True):
        pre = layers["features.0"].pre
        assert pre is not None
        counts, edges = np.histogram(pre.numpy(), bins=8)
        assert event.histogram_value.bucket == counts.tolist()
        assert event.histogram_value.bucket_limit == pytest.approx(edges[1:], rel=1e-6)


def test_csv_has_the_scalars(tmp_path: Path) -> None:
    kept, _ = fitted([CSVLogger(tmp_path, name="", version="")])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = {int(row["step"]): float(row["grad_norm/head"]) for row in csv.DictReader(file) if row["grad_norm/head"]}
    assert rows == pytest.approx(norms(kept), rel=1e-6)


def test_where_no_logger_takes_histograms_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        fit(ForeignCNN(), DATA, [ActivationHistogram()], logger=CSVLogger(tmp_path))
    said = "ActivationHistogram: nothing is written: no logger takes histograms, as TensorBoard's does"
    assert caplog.messages.count(said) == 1


def test_mlflow_has_the_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # newer ones want a database instead
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}")  # the logger sets it, for good
    kept, _ = fitted([logger := MLFlowLogger(tracking_uri=f"file:{tmp_path}")])
    found = logger.experiment.get_metric_history(logger.run_id, "grad_norm/head")
    assert {each.step: each.value for each in found} == norms(kept)


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of a Weights & Biases run, from its file: records in the form of LevelDB's log, behind seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # a second

    file, place, block, record, rows = path.read_bytes(), 7, 2**15, b"", []
    while place < len(file):
        if (room := block - place % block) < 7:  # too little for a header
            place += room
            continue
        length, kind = struct.unpack_from("<HB", file, place + 4)
        record, place = record + file[place + 7 : place + 7 + length], place + 7 + length
        if kind in (1, 4):  # whole, or a last part
            items, record = Record.FromString(record).history.item, b""
            rows.append({"/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return [row for row in rows if row]


def test_weights_and_biases_has_scalars_and_histograms(tmp_path: Path) -> None:
    import wandb  # a second

    try:
        kept, keeps = fitted([WandbLogger(save_dir=tmp_path, offline=True)])
        service = [each for each in psutil.Process().children() if each.name() == "wandb-core"]
    finally:
        wandb.teardown()
    assert [lives(each) for each in service] == [False]
    [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows = history(file)
    assert {row["trainer/global_step"]: row["grad_norm/head"] for row in rows if "grad_norm/head" in row} == norms(kept)
    tag = "pre_activation/features.0"
    for row, layers in zip([row for row in rows if f"{tag}/values" in row], keeps.seen, strict=True):
        pre = layers["features.0"].pre
        assert pre is not None
        counts, edges = np.histogram(pre.numpy(), bins=8)
        assert row[f"{tag}/values"] == counts.tolist()
        assert row[f"{tag}/bins"] == pytest.approx(edges, rel=1e-6)


@pytest.mark.filterwarnings("ignore:There is a wandb run already in progress")
def test_more_bins_than_weights_and_biases_takes_are_refused_before_the_first_step(tmp_path: Path) -> None:
    import wandb

    module = ForeignCNN()
    try:
        with pytest.raises(UserError, match="bins=513: Weights & Biases takes up to 512"):
            fit(module, DATA, [ActivationHistogram(bins=513)], logger=WandbLogger(save_dir=tmp_path, offline=True))
    finally:
        wandb.teardown()
    assert module.calls == 0


class Namesakes(L.Callback):
    """Somebody's methods, called as ours are."""

    def log_layers(self, trainer: L.Trainer) -> None:
        raise AssertionError("called")


class Tabular(Kept):
    """As Lightning's logger for Weights & Biases."""

    def log_table(self, key: str, columns: list[str] | None = None, data: Any = None) -> None:
        raise AssertionError("called")

    log_histograms = log_image = log_table


def test_methods_that_are_only_called_as_ours_are_left_alone() -> None:
    callbacks = [GradientNorm(), ActivationHistogram(), EveryStep(), Namesakes()]
    trainer = fit(ForeignCNN(), DATA, callbacks, logger=Tabular())
    assert "grad_norm/head" in trainer.logger.rows[0][1]  # type: ignore[union-attr]


class OwnLogger(Receiver, Kept):
    """Somebody's logger that has a place for tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[str, dict[str, Any]]] = []

    def log_table(self, name: str, columns: dict[str, Any]) -> None:
        self.tables.append((name, columns))


def test_a_logger_of_ones_own_that_is_a_receiver_gets_tables_and_as_any_other_scalars() -> None:
    fit(ForeignCNN(), DATA, [GradientNorm(), EveryStep()], logger=(logger := OwnLogger()))
    [(name, columns)] = logger.tables
    assert (name, list(columns["step"])) == ("steps", [0, 1])
    assert [step for step, row in logger.rows if "grad_norm/head" in row] == [0, 1]


def test_two_of_a_kind_with_two_schedules_stand_beside_each_other_and_each_resumes(tmp_path: Path) -> None:
    callbacks = [DeadUnits(), DeadUnits(every_n_steps=1)]
    trainer = fit(ForeignCNN(), DATA, callbacks)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    expected = [each.state_dict() for each in callbacks]
    assert torch.load(tmp_path / "both.ckpt")["callbacks"].keys() == {each.state_key for each in callbacks}
    again = [DeadUnits(every_n_steps=1), DeadUnits()]
    fit(ForeignCNN(), DATA, again, ckpt_path=tmp_path / "both.ckpt")
    torch.testing.assert_close([each.state_dict() for each in reversed(again)], expected)


def test_a_checkpoint_from_before_schedules_were_told_apart_still_resumes() -> None:
    states = {"DeadUnits": {"were_dead": {}}}
    callback = DeadUnits(every_n_steps=2)
    trainer = L.Trainer(callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu")
    callback.on_load_checkpoint(trainer, ForeignCNN(), {"callbacks": states})
    assert states[callback.state_key] == {"were_dead": {}}
    beside = L.Trainer(callbacks=[callback, DeadUnits()], logger=False, enable_checkpointing=False, accelerator="cpu")
    del states[callback.state_key]
    callback.on_load_checkpoint(beside, ForeignCNN(), {"callbacks": states})
    assert states.keys() == {"DeadUnits"}  # that is the other's


@pytest.mark.parametrize("kind", [L.Callback, Logger])
def test_ours_derive_from_the_class_of_lightnings_copy_too_where_that_is_loaded(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert with_copys(kind).__mro__[1:] == kind.__mro__
    name = kind.__module__.replace("pytorch_lightning", "lightning.pytorch")
    monkeypatch.setitem(sys.modules, name, copy := ModuleType(name))
    assert with_copys(kind).__mro__[1:] == kind.__mro__  # half loaded
    vars(copy)[kind.__name__] = its = type(kind.__name__, (), {})
    assert issubclass(with_copys(kind), kind)
    assert issubclass(with_copys(kind), its)


def test_no_logger_is_needed() -> None:
    fit(ForeignCNN(), DATA, [GradientNorm(), ActivationHistogram()], logger=False)


class Own(Diagnostic):
    """A diagnostic of one's own: the share of the output that is negative."""

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        return {} if layer.post is None else {"negative": (layer.post < 0).double().mean(dim=(1, 2))}


def test_a_diagnostic_of_ones_own_is_logged_for_every_layer_that_it_speaks_of() -> None:
    trainer = fit(ForeignCNN(), DATA, [Own(every_n_steps=1)])
    tags = {tag: value for _, row in trainer.logger.rows for tag, value in row.items() if "negative" in tag}  # type: ignore[union-attr]
    assert tags.keys() == {"negative/features.0", "negative/features.2"}
    assert tags["negative/features.0"] == 0  # a ReLU
    assert 0 < tags["negative/features.2"] < 1  # a tanh


class Alone(L.LightningModule):
    """The layers of our network, and nothing that says that they are ours."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self.layers(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("act", ["tanh", "relu", "swish"])
def test_a_watched_step_shows_what_the_projects_own_measurement_shows(act: str, settings_for: Any) -> None:
    settings = settings_for(*SMALL, f"act={act}", "norm=batch")
    data = open_data(settings.data, settings.seed)
    module, keeps = build_network(settings, data.dataset.input_size, 10), Keeps()
    inputs, labels = data.probe(8)
    ours = observe(module, lambda: module.loss((inputs, labels)))
    ours = [replace(layer, weight=layer.weight.clone()) for layer in ours]
    fit(Alone(module.network.layers), TensorDataset(inputs, labels), [keeps])
    for own, watched in zip(ours, keeps.seen[0].values(), strict=True):
        for name in ("weight", "gradient", "pre", "post", "slope", "max_slope"):
            expected, found = getattr(own, name), getattr(watched, name)
            assert (expected is None) == (found is None)
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert math.isfinite(float(ours[0].gradient.norm()))  # type: ignore[union-attr]
