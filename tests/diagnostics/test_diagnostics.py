import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data import datamodule, digits, spiral
from actsweep.diagnostics.activations import mean_and_std, signal
from actsweep.diagnostics.gradients import grad_max_abs, grad_mean_abs, grad_norm
from actsweep.diagnostics.histograms import histogram
from actsweep.diagnostics.observation import Layer, observe
from actsweep.diagnostics.samples import sample_grid
from actsweep.diagnostics.units import DeadUnits, count_over, dead_units, saturated_fraction
from actsweep.diagnostics.updates import update_ratio
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.results import run_folder
from tests.conftest import SMALL, names_in
from tests.diagnostics.test_foreign_modules import rows_of

SettingsFor = Callable[..., Settings]
K3 = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("function", "oracle"),
    [
        (grad_norm, np.linalg.norm),
        (grad_mean_abs, lambda matrix: np.abs(matrix).mean()),
        (grad_max_abs, lambda matrix: np.abs(matrix).max()),
        (lambda x: mean_and_std(x)[0], np.mean),
        (lambda x: mean_and_std(x)[1], np.std),
        (lambda x: update_ratio(x, 1.5 * x), lambda matrix: 0.5),
    ],
)
def test_a_quantity_of_three_networks_is_that_of_each(function: Any, oracle: Any) -> None:
    expected = [oracle(member) for member in K3.double().numpy()]
    assert function(K3.double()).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_what_has_vanished_or_exploded_has_a_size_while_float32_holds_it(scale: float) -> None:
    values = K3 * scale
    exact = values.double()
    for function in (grad_norm, lambda x: mean_and_std(x)[1], signal):
        assert function(values).tolist() == pytest.approx(function(exact).tolist(), rel=1e-2 if scale < 1e-38 else 1e-5)
    assert update_ratio(values, 1.5 * values).tolist() == pytest.approx([0.5] * 3, rel=1e-2 if scale < 1e-38 else 1e-5)
    assert update_ratio(values, values).tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_norm_of_many_halves_is_not_infinite(kind: torch.dtype) -> None:
    found = grad_norm(torch.full((1, 10_000, 4), 6e4, dtype=kind))
    assert found.item() == pytest.approx(200 * 6e4, rel=1e-2)


def test_histograms_are_numpys() -> None:
    found = histogram(K3, bins=7)
    for k in range(3):
        counts, edges = np.histogram(K3[k].numpy(), bins=7)
        assert found.counts[k].tolist() == counts.tolist()
        assert (found.low[k].item(), found.high[k].item()) == pytest.approx((edges[0], edges[-1]))


@pytest.mark.parametrize(
    ("values", "total"), [([[1.0, 1.0, 1.0]], 3), ([[0.0, float("nan"), 2.0, float("inf")]], 2), ([[float("nan")]], 0)]
)
def test_histograms_leave_out_what_is_not_finite(values: list[list[float]], total: int) -> None:
    found = histogram(torch.tensor(values), bins=4)
    assert found.counts.sum().item() == total
    assert torch.isfinite(found.low).all()


def test_dead_means_no_slope_anywhere_and_silent_means_output_zero() -> None:
    pre = torch.tensor([[[-1.0, 30.0, 2.0], [-2.0, 40.0, -1.0]]], requires_grad=True)  # (K=1, N=2, H=3)
    tanh, relu = torch.tanh(pre), torch.relu(pre)
    slopes = [torch.autograd.grad(post.sum(), pre)[0] for post in (tanh, relu)]
    assert dead_units(slopes[0]).tolist() == [[False, True, False]]  # saturated, not silent
    assert dead_units(slopes[1]).tolist() == [[True, False, False]]
    assert dead_units(tanh).tolist() == [[False, False, False]]
    assert dead_units(relu).tolist() == [[True, False, False]]
    assert saturated_fraction(slopes[1], torch.ones(1)).item() == 0.5


def network(settings: Settings) -> tuple[Any, Any]:
    data = datamodule.open_data(settings.data, settings.seed)
    return build_network(settings, data.dataset.input_size, 10), data


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_looking_leaves_no_trace(norm: str, settings_for: SettingsFor) -> None:
    model, data = network(settings_for(*SMALL, f"norm={norm}", "act=torch.nn.RReLU"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.random.get_rng_state()
    observe(model, lambda: model.loss(data.probe(64)))
    count_over(model, data.all_training_batches())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(generator, torch.random.get_rng_state())
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert sum(hooks) == 0
    assert model.log.__func__ is L.LightningModule.log


def test_a_layer_is_what_a_plain_pass_shows(settings_for: SettingsFor) -> None:
    model, data = network(settings_for(*SMALL, "act=tanh"))
    inputs, labels = data.probe(50)
    layers = observe(model, lambda: model.loss((inputs, labels)))
    first, second, last = (tap.linear for tap in model.network.taps())
    z1 = first(inputs)
    z2 = second(torch.tanh(z1))
    logits = last(torch.tanh(z2))
    F.cross_entropy(logits, labels).backward()
    for layer, linear, pre in zip(layers, (first, second, last), (z1, z2, logits), strict=True):
        assert torch.equal(layer.gradient[0], linear.weight.grad)
        assert torch.equal(layer.pre[0], pre)
    assert layers[0].post is not None
    assert layers[0].slope is not None
    assert torch.equal(layers[0].post[0], torch.tanh(z1))
    torch.testing.assert_close(layers[0].slope[0], 1 - torch.tanh(z1) ** 2)
    assert layers[-1].slope is None


@pytest.mark.parametrize(
    ("act", "max_slope"), [("sigmoid", 0.25), ("tanh", 1.0), ("relu", 1.0), ("step", 0.0), ("linear", 1.0)]
)
def test_the_largest_slope_is_the_functions(act: str, max_slope: float, settings_for: SettingsFor) -> None:
    model, data = network(settings_for(*SMALL, f"act={act}"))
    layer = observe(model, lambda: model.loss(data.probe(8)))[0]
    assert layer.max_slope is not None
    assert layer.max_slope.tolist() == pytest.approx([max_slope])


def test_all_step_units_are_dead_and_no_linear_ones(settings_for: SettingsFor) -> None:
    for act, dead in (("step", [16, 16]), ("linear", [0, 0])):
        model, data = network(settings_for(*SMALL, f"act={act}"))
        counts = count_over(model, data.all_training_batches())
        assert [int(count["dead_units"]) for count in counts.values()] == dead


@pytest.mark.parametrize("name", names_in("diagnostics"))
def test_a_diagnostic_declares_exactly_what_it_publishes(name: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, f"diagnostics=[{name}]")
    result = one_run.train(settings, tmp_path)
    files = [tmp_path / run_folder.LAYERS, tmp_path / run_folder.HISTOGRAMS]
    published = {row["quantity"] for path in files if path.exists() for row in rows_of(path)}
    declared = set(json.loads((tmp_path / run_folder.QUANTITIES).read_text()))
    assert published == declared
    assert result["status"] == "completed"


@pytest.mark.parametrize("optim", ["sgd", "adam", "rmsprop"])
def test_each_epochs_numbers_are_those_of_its_own_weights(
    optim: str, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for(*SMALL, f"optim={optim}", "act=tanh", "seed=8")
    result = one_run.train(settings, tmp_path)
    data = datamodule.open_data(settings.data, 8)
    rows = [row for row in rows_of(tmp_path / run_folder.LAYERS) if row["quantity"] == "grad_norm"]
    for epoch, module in ((0, build_network(settings, 64, 10)), (2, load(tmp_path / run_folder.LAST))):
        layers = observe(module, lambda module=module: module.loss(data.probe(1024)))
        expected = [grad_norm(layer.gradient).item() for layer in layers]
        found = [float(row["value"]) for row in rows if row["epoch"] == str(epoch)]
        assert found == pytest.approx(expected, rel=1e-5)
    assert result["initial"]["grad_norm"] != pytest.approx(result["grad_norm"], rel=1e-3)


def test_the_initial_numbers_are_the_untrained_networks_however_often_is_measured(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    given = [*SMALL, "diagnostics=[gradients]", "trainer.max_epochs=1"]
    every_step = one_run.train(settings_for(*given, "diagnostics.gradients.every_n_steps=1"), tmp_path / "steps")
    each_epoch = one_run.train(settings_for(*given), tmp_path / "epochs")
    assert every_step["initial"]["grad_norm"] == each_epoch["initial"]["grad_norm"]


def load(checkpoint: Path) -> Classifier:
    return Classifier.load_from_checkpoint(checkpoint, weights_only=True).train()


def test_births_and_deaths_of_dead_units_are_counted() -> None:
    def layer(dead: list[int]) -> Layer:
        slopes = torch.ones(1, 3, 4)
        slopes[:, :, dead] = 0
        nothing = torch.zeros(1, 4, 2)
        return Layer("layer_01", nothing, nothing, slopes, slopes, slopes, torch.ones(1))

    units = DeadUnits()
    assert "units_died" not in units.measure(layer([0]))
    second = units.measure(layer([1, 2]))
    assert (second["units_died"].item(), second["units_revived"].item()) == (2, 1)
    third = units.measure(layer([1, 2]))
    assert (third["units_died"].item(), third["units_revived"].item()) == (0, 0)


def test_the_curve_is_the_function_and_its_derivative(settings_for: SettingsFor, tmp_path: Path) -> None:
    one_run.train(settings_for(*SMALL, "act=tanh"), tmp_path)
    x, value, slope = np.loadtxt(run_folder.table(tmp_path, "curves"), delimiter=",", skiprows=1).T
    assert (x[0], x[-1], len(x)) == (-5, 5, 201)
    assert np.allclose(value, np.tanh(x), atol=1e-12)
    assert np.allclose(slope, 1 / np.cosh(x) ** 2, atol=1e-12)


def test_predictions_are_those_of_the_tested_weights(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "seed=4")
    result = one_run.train(settings, tmp_path)
    rows = rows_of(run_folder.table(tmp_path, "predictions"))
    data = datamodule.open_data(settings.data, 4)
    assert [int(row["label"]) for row in rows] == data.test.labels.tolist()
    assert np.mean([row["label"] == row["prediction"] for row in rows]) == pytest.approx(result["test_accuracy"])
    assert np.mean([float(row["loss"]) for row in rows]) == pytest.approx(result["test_loss"], rel=1e-5)
    module = load(tmp_path / run_folder.BEST).eval()
    outputs = module(data.dataset.scale(data.test.inputs))
    assert [float(row["output"]) for row in rows] == pytest.approx(outputs.softmax(1).amax(1).tolist(), rel=1e-5)
    losses = F.cross_entropy(outputs, data.test.labels, reduction="none").tolist()
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses, rel=1e-4)


def test_every_step_is_recorded_with_its_own_gradient(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "diagnostics=[steps]", "optim.weight_decay=0.01", "trainer.gradient_clip_val=0.001")
    one_run.train(settings, tmp_path)
    rows = rows_of(run_folder.table(tmp_path, "steps"))
    assert [int(row["step"]) for row in rows] == list(range(36))
    data, module = datamodule.open_data(settings.data, settings.seed), build_network(settings, 64, 10)
    batch = next(iter(data.train_dataloader()))
    module.loss(batch).backward()
    for tap in module.network.taps():
        gradient, weight = tap.linear.weight.grad, tap.linear.weight
        assert gradient is not None
        assert float(rows[0][f"grad_mean_abs/{tap.name}"]) == pytest.approx(gradient.abs().mean().item(), rel=1e-5)
        magnitude = gradient.abs().sum().item() / sum(weight.shape)
        assert float(rows[0][f"grad_magnitude/{tap.name}"]) == pytest.approx(magnitude, rel=1e-5)
    squares = sum(tap.linear.weight.square().sum().item() for tap in module.network.taps())
    assert float(rows[0]["penalty"]) == pytest.approx(0.5 * 0.01 * squares, rel=1e-5)


def test_each_examples_gradient_is_that_of_its_own_loss(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "diagnostics=[per_example]", "act=tanh", "untrained=true")
    one_run.train(settings, tmp_path)
    rows = [row for row in rows_of(run_folder.table(tmp_path, "examples")) if row["example"] == "5"]
    data, module = datamodule.open_data(settings.data, settings.seed), build_network(settings, 64, 10)
    inputs, labels = data.probe(6)
    module.loss((inputs[5:], labels[5:])).backward()
    expected = [tap.linear.weight.grad.norm().item() for tap in module.network.taps()]  # type: ignore[union-attr]
    assert [float(row["grad_norm"]) for row in rows] == pytest.approx(expected, rel=1e-4)


def test_a_sample_grid_shows_the_first_images_of_each_class() -> None:
    data = digits.load()
    grid = sample_grid(data, per_class=3)
    assert grid is not None
    assert grid.shape == (80, 24)
    second_one = data.pool.inputs[data.pool.labels == 1][1].view(8, 8) / 16
    assert torch.equal(grid[8:16, 8:16], second_one)
    assert sample_grid(spiral.load()) is None


def test_decision_regions_lie_around_what_the_network_sees(settings_for: SettingsFor, tmp_path: Path) -> None:
    changed = ("data=spiral", "data.standardise=true", "diagnostics=[regions]", "trainer.max_epochs=1")
    settings = settings_for(*SMALL, *changed)
    one_run.train(settings, tmp_path)
    dataset = datamodule.open_data(settings.data, 0).dataset
    seen = dataset.scale(dataset.pool.inputs)
    found = pd.read_csv(tmp_path / "regions.csv")
    assert found.min()[:2].tolist() == pytest.approx((seen.amin(0) - 0.5).tolist(), abs=1e-5)
    assert found.max()[:2].tolist() == pytest.approx((seen.amax(0) + 0.5).tolist(), abs=1e-5)


def test_tensorboard_has_charts_histograms_images_text_and_hyperparameters(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    result = one_run.train(settings_for(*SMALL, "seed=7"), tmp_path)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    assert {"grad_norm/layer_01", "grad_norm/layer_03", "val_accuracy", "test_accuracy"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("val_accuracy")] == [18, 36]
    assert {"pre_activation/layer_01", "weight_gradient/layer_03"} <= set(tags["histograms"])
    assert tags["images"] == ["samples"]
    assert "configuration/text_summary" in tags["tensors"]
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert {"grad_norm", "dead_fraction", "update_ratio"} <= {category.title for category in layout.category}
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(plugin).session_start_info
    assert session.hparams["seed"].number_value == 7
    assert session.hparams["act"].string_value == "relu"
    assert events.Scalars("test_accuracy")[-1].value == pytest.approx(result["test_accuracy"], abs=1e-6)
