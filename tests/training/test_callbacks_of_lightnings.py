"""Callbacks that change how a run trains: frozen layers, averaged weights, a schedule by epoch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as L
import torch

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.diagnostics.observation import observe
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.results import run_folder
from tests.conftest import SMALL, names_in, weights_of

Make = Callable[..., Settings]
CALLBACKS = "+diagnostics.mine._target_=pytorch_lightning.callbacks"


class Frozen(L.Callback):
    """Nothing below the last `learning` parameters is learnt."""

    def __init__(self, learning: int) -> None:
        self.learning = learning

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for parameter in list(pl_module.parameters())[: -self.learning]:
            parameter.requires_grad_(False)


def test_a_frozen_layer_shows_what_it_would_show_but_for_its_gradient(settings_for: Make) -> None:
    settings = settings_for(*SMALL)
    data = datamodule.open_data(settings.data, settings.seed)
    model = build_network(settings, data.dataset.input_size, 10)
    whole = observe(model, lambda: model.loss(data.probe(64)))
    for parameter in list(model.parameters())[:2]:
        parameter.requires_grad_(False)
    found = observe(model, lambda: model.loss(data.probe(64)))
    assert [each.gradient is None for each in found] == [True, False, False]
    for one, other in zip(found, whole, strict=True):
        for name in ("pre", "post", "slope", "max_slope") if one.post is not None else ("pre",):
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert all(map(torch.equal, [each.gradient for each in found[1:]], [each.gradient for each in whole[1:]]))


@pytest.mark.parametrize("learning", [1, 2, 4])
def test_frozen_layers_stay_as_they_are_under_every_diagnostic_and_a_penalty(
    learning: int, settings_for: Make, tmp_path: Path
) -> None:
    frozen = [f"+diagnostics.mine._target_={__name__}.Frozen", f"+diagnostics.mine.learning={learning}"]
    settings = settings_for(*SMALL, f"diagnostics=[{','.join(names_in('diagnostics'))}]", "optim.l2=5.0", *frozen)
    one_run.train(settings, tmp_path)
    first, trained = build_network(settings, 64, 10).state_dict(), weights_of(tmp_path / run_folder.LAST)
    is_same = [torch.equal(value, trained[name]) for name, value in first.items()]
    assert is_same == [True] * (6 - learning) + [False] * learning
    rows = pd.read_csv(tmp_path / run_folder.LAYERS)
    with_gradient = [f"layer_0{number}" for number in (2, 3)][-(learning // 2) :] if learning > 1 else []
    assert sorted(set(rows.layer[rows.quantity == "grad_norm"])) == with_gradient
    assert sorted(set(rows.layer[rows.quantity == "dead_fraction"])) == ["layer_01", "layer_02"]


def test_what_a_test_finds_is_of_the_weights_in_the_checkpoint(settings_for: Make, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "diagnostics=[]", f"{CALLBACKS}.WeightAveraging")
    result = one_run.train(settings, tmp_path)
    model = Classifier.load_from_checkpoint(tmp_path / run_folder.BEST, map_location="cpu")
    data = datamodule.open_data(settings.data, settings.seed)
    (batch,) = data.test_dataloader()
    with torch.no_grad():
        assert result["test_loss"] == pytest.approx(float(model.loss(batch)), rel=1e-6)


def test_numbers_as_keys_are_numbers(command: Callable[..., int], tmp_path: Path) -> None:
    schedule: list[Any] = [f"{CALLBACKS}.GradientAccumulationScheduler", "+diagnostics.mine.scheduling={0:2,1:4}"]
    assert command(*SMALL, "diagnostics=[]", *schedule, f"hydra.run.dir={tmp_path}") == 0
    last = torch.load(tmp_path / run_folder.LAST, weights_only=True)
    assert last["global_step"] == 18 // 2 + -(-18 // 4)


def test_one_device_leaves_no_process_group_and_no_variables_behind(settings_for: Make, tmp_path: Path) -> None:
    before = dict(os.environ)
    one_run.train(settings_for(*SMALL, "diagnostics=[]", "+trainer.strategy=ddp"), tmp_path)
    assert dict(os.environ) == before  # LOCAL_RANK, for one, which says whose the next run's files are
    assert not torch.distributed.is_initialized()


@pytest.mark.filterwarnings("ignore:.*Profiler")
def test_a_profiler_leaves_its_traces_costs_no_table_and_no_repetition(
    command: Callable[..., int], tmp_path: Path
) -> None:
    run = [*SMALL, "diagnostics=[curve,theory]", "+trainer.limit_train_batches=6"]
    assert command(*run, f"hydra.run.dir={tmp_path / 'alone'}") == 0
    for _ in range(2):
        assert command(*run, "+trainer.profiler=pytorch", f"hydra.run.dir={tmp_path / 'profiled'}") == 0
    assert list(tmp_path.glob("profiled/fit-*.pt.trace.json"))
    for name in ("curves.csv", run_folder.LAYERS):
        assert (tmp_path / "profiled" / name).read_text() == (tmp_path / "alone" / name).read_text()
