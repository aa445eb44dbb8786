import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.network.mlp import threads_for
from actsweep.results import run_folder
from actsweep.threads import all_threads, share
from tests.conftest import SMALL, names_in, weights_of

SettingsFor = Callable[..., Settings]
Command = Callable[..., int]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results tell the same, but for the time it took and where they lie."""
    ignored = {"seconds", "name"}
    return {k: v for k, v in one.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def test_training_is_the_plain_loop(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "act=tanh", "optim.fused=false", "seed=5")
    one_run.train(settings, tmp_path)
    data = datamodule.open_data(settings.data, 5)
    network = build_network(settings, 64, 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    batches = data.train_dataloader()
    for epoch in range(2):
        batches.set_epoch(epoch)
        for inputs, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
    trained = weights_of(tmp_path / run_folder.LAST)
    for name, value in network.state_dict().items():
        assert torch.equal(trained[name], value), name


def test_the_same_settings_give_the_same_weights_whatever_ran_before(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "act=torch.nn.RReLU", "seed=0")  # RReLU draws random slopes while it trains
    first = one_run.train(settings, tmp_path / "a")
    one_run.train(settings_for(*SMALL, "act=elu", "optim=adam", "seed=9", "norm=batch"), tmp_path / "between")
    torch.rand(5)
    second = one_run.train(settings, tmp_path / "b")
    assert same(first, second)
    one, other = (weights_of(tmp_path / folder / run_folder.LAST) for folder in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    files = (run_folder.EPOCHS, run_folder.LAYERS, run_folder.HISTOGRAMS)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_diagnostics_do_not_change_training(settings_for: SettingsFor, tmp_path: Path) -> None:
    common = [*SMALL, "norm=batch", "act=torch.nn.RReLU"]
    one_run.train(settings_for(*common), tmp_path / "watched")
    one_run.train(settings_for(*common, "diagnostics=[]"), tmp_path / "unwatched")
    one, other = (weights_of(tmp_path / name / run_folder.LAST) for name in ("watched", "unwatched"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optim", names_in("optim"))
def test_every_optimiser_learns(optim: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "width=64", "trainer.max_epochs=15", f"optim={optim}")
    result = one_run.train(settings, tmp_path)
    losses = pd.read_csv(tmp_path / run_folder.EPOCHS)["train_loss"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert result["test_accuracy"] > 0.8


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_train(norm: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    result = one_run.train(settings_for(*SMALL, f"norm={norm}", "width=64", "trainer.max_epochs=8"), tmp_path)
    assert result["test_accuracy"] > 0.8


@pytest.mark.parametrize("depth", [0, 1])
def test_shallow_networks_train(depth: int, settings_for: SettingsFor, tmp_path: Path) -> None:
    result = one_run.train(settings_for(*SMALL, f"depth={depth}", "trainer.max_epochs=20"), tmp_path)
    assert result["test_accuracy"] > 0.8
    assert len(result["dead_outputs"] or []) == depth


def test_bfloat16_learns_what_float32_learns(settings_for: SettingsFor, tmp_path: Path) -> None:
    common = [*SMALL, "width=64", "trainer.max_epochs=12"]
    exact = one_run.train(settings_for(*common), tmp_path / "32")
    short = one_run.train(settings_for(*common, "trainer.precision=bf16-mixed"), tmp_path / "16")
    assert short["test_accuracy"] == pytest.approx(exact["test_accuracy"], abs=0.05)
    assert weights_of(tmp_path / "16" / run_folder.LAST)["network.layers.0.weight"].dtype == torch.float32


def test_clipping_bounds_the_first_step(settings_for: SettingsFor, tmp_path: Path) -> None:
    one_step = ["trainer.max_epochs=1", "data.batch_size=1200", "optim.lr=1.0", "optim.momentum=0.0"]
    settings = settings_for(*SMALL, *one_step, "trainer.gradient_clip_val=0.01")
    one_run.train(settings, tmp_path)
    before, after = build_network(settings, 64, 10).state_dict(), weights_of(tmp_path / run_folder.LAST)
    step = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm().item()
    assert step == pytest.approx(0.01, rel=1e-3)


def test_early_stopping_waits_for_patience_and_tests_the_best_epoch(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "patience=3", "trainer.max_epochs=200", "optim.lr=0.1")
    result = one_run.train(settings, tmp_path)
    accuracies = pd.read_csv(tmp_path / run_folder.EPOCHS)["val_accuracy"]
    best = int(accuracies.idxmax()) + 1  # the first of equals
    assert (result["best_epoch"], result["epochs"]) == (best, best + 3)
    assert len(accuracies) == best + 3
    assert result["val_accuracy"] == accuracies.max()
    data = datamodule.open_data(settings.data, 0)
    network = Classifier.load_from_checkpoint(tmp_path / run_folder.BEST, weights_only=True).eval()
    with torch.no_grad():
        correct = network(data.dataset.scale(data.test.inputs)).argmax(1) == data.test.labels
    assert result["test_accuracy"] == pytest.approx(correct.double().mean().item(), abs=1e-12)


def test_a_run_leaves_what_the_design_says(settings_for: SettingsFor, tmp_path: Path) -> None:
    result = one_run.train(settings_for(*SMALL, "act=relu", "seed=0"), tmp_path)
    assert json.loads((tmp_path / run_folder.RESULT).read_text()) == json.loads(json.dumps(result))
    wanted = {"status", "act", "hidden_sizes", "seed", "epochs", "best_epoch", "val_accuracy", "test_accuracy",
              "dead_outputs", "seconds", "device", "versions", "waiting", "git", "config_hash"}  # fmt: skip
    assert wanted <= set(result)
    assert 0 <= result["test_accuracy"] <= 1
    assert len(result["dead_outputs"]) == 2
    assert len(result["grad_norm"]) == len(result["initial"]["grad_norm"]) == 3
    epochs = pd.read_csv(tmp_path / run_folder.EPOCHS)
    assert epochs["step"].dtype == int  # no 18.0, as in a stack's
    assert epochs["epoch"].tolist() == [1, 2]
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} <= set(epochs)
    layers = pd.read_csv(tmp_path / run_folder.LAYERS)
    norms = layers[layers["quantity"] == "grad_norm"].pivot_table(index="epoch", columns="layer", values="value")
    assert norms.shape == (3, 3)
    assert (norms > 0).all().all()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"grad_norm/layer_03", "val_accuracy", "dead_fraction/layer_01"} <= set(events.Tags()["scalars"])
    assert {"pre_activation/layer_01", "weight_gradient/layer_03"} <= set(events.Tags()["histograms"])
    [first, *_] = events.Histograms("pre_activation/layer_01")
    assert first.histogram_value.num == 1024 * 16


class FailsInTraining(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.shape[-2] == 64:  # of a stack, too
            raise RuntimeError("a defect of this activation")
        return x


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_terminal_sees_epoch_losses_and_time_left(
    kind: type[io.StringIO], settings_for: SettingsFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = kind()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    monkeypatch.delenv("COLUMNS", raising=False)  # the screen's width is not that of whoever started the tests
    one_run.train(settings_for(*SMALL, "trainer.enable_progress_bar=true", "trainer.max_epochs=30"), tmp_path / "run")
    shown = screen.getvalue()
    for part in ("run epoch 1/30", "train loss ", "val loss ", "val accuracy ", " left"):
        assert (part in shown) == (kind is Terminal), part


def test_the_last_checkpoint_is_the_last_epochs_and_the_best_ones_the_bests(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for(*SMALL, "patience=4", "trainer.max_epochs=100", "optim.lr=0.3")
    result = one_run.train(settings, tmp_path)
    best, last = (torch.load(tmp_path / name, weights_only=True) for name in (run_folder.BEST, run_folder.LAST))
    assert best["epoch"] + 1 == result["best_epoch"] == result["epochs"] - 4
    assert last["epoch"] + 1 == result["epochs"]
    assert last["global_step"] == 18 * result["epochs"]
    tests_last = settings_for(*SMALL, "patience=4", "trainer.max_epochs=100", "optim.lr=0.3", "test=last", "rerun=all")
    again = one_run.train(tests_last, tmp_path)
    assert again["best_epoch"] == again["epochs"] == result["epochs"]


def test_an_untrained_network_is_measured_and_tested_as_it_is(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "untrained=true", "seed=3")
    result = one_run.train(settings, tmp_path)
    assert (result["status"], result["epochs"], result["best_epoch"]) == ("completed", 0, 0)
    fresh, kept = build_network(settings, 64, 10).state_dict(), weights_of(tmp_path / run_folder.BEST)
    assert all(torch.equal(fresh[name], kept[name]) for name in fresh)
    assert set(pd.read_csv(tmp_path / run_folder.LAYERS)["epoch"]) == {0}
    assert result["grad_norm"] == result["initial"]["grad_norm"]


def test_measurements_every_nth_step_are_at_multiples_of_n_and_update_ratios_after_them(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    every = "diagnostics.gradients.every_n_steps=4"
    one_run.train(settings_for(*SMALL, every, "diagnostics.updates.every_n_steps=6"), tmp_path)
    layers = pd.read_csv(tmp_path / run_folder.LAYERS)
    steps = {name: sorted(set(layers[layers["quantity"] == name]["step"])) for name in ("grad_norm", "update_ratio")}
    assert steps["grad_norm"] == list(range(0, 37, 4))
    assert steps["update_ratio"] == [1, 7, 13, 19, 25, 31]


def test_float64_weights_stay_float64(settings_for: SettingsFor, tmp_path: Path) -> None:
    one_run.train(settings_for(*SMALL, "trainer.precision=64-true"), tmp_path)
    assert all(value.dtype == torch.float64 for value in weights_of(tmp_path / run_folder.LAST).values())


def test_weight_decay_is_for_weights_alone(settings_for: SettingsFor) -> None:
    network = build_network(settings_for(*SMALL, "act=prelu", "optim.weight_decay=0.1"), 64, 10)
    decays = {
        id(p): group["weight_decay"] for group in network.configure_optimizers().param_groups for p in group["params"]
    }
    for name, parameter in network.named_parameters():
        assert decays[id(parameter)] == (0.1 if parameter.ndim == 2 else 0.0), name


def test_maxout_takes_two_pieces_per_unit(settings_for: SettingsFor, tmp_path: Path) -> None:
    result = one_run.train(settings_for(*SMALL, "act=maxout", "width=64", "trainer.max_epochs=12"), tmp_path)
    assert result["test_accuracy"] > 0.8
    assert weights_of(tmp_path / run_folder.LAST)["network.layers.2.weight"].shape == (128, 64)


@pytest.mark.parametrize(("act", "examples", "threads"), [("relu", 256, torch.get_num_threads()), ("relu", 1, 1)])
def test_tiny_networks_train_on_one_thread(act: str, examples: int, threads: int, settings_for: SettingsFor) -> None:
    network = build_network(settings_for(f"act={act}"), 784, 10)
    assert threads_for(network, examples) == threads


def test_a_tiny_run_leaves_those_after_it_all_threads(settings_for: SettingsFor, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        share(2)
        all_threads.cache_clear()  # nobody has asked yet, as where a launcher of somebody else's starts with such a run
        one_run.train(settings_for(*SMALL, "trainer.max_epochs=1"), tmp_path)
        assert (torch.get_num_threads(), all_threads()) == (1, 2)
    finally:
        share(before)
