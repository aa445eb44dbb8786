"""Figures that others published, and that seeding, splitting, scaling and initialising exactly must reproduce."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actsweep import evaluate
from actsweep.config.schema import Settings
from actsweep.data import datamodule
from actsweep.diagnostics.gradients import grad_max_abs, grad_norm
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.units import count_over
from actsweep.network.build import build_network

SettingsFor = Callable[..., Settings]
GRADIENTS_AT_INITIALISATION = {
    "sigmoid": ([1.54e-3, 4.39e-3, 2.15e-2, 1.56e-1, 8.38e-1], [1.4e-5, 5.7e-5, 3.8e-4, 2.9e-3, 7.8e-2]),
    "tanh": ([3.01e-1, 2.33e-1, 1.65e-1, 1.70e-1, 1.24e-1], [3.0e-3, 5.9e-3, 3.8e-3, 5.7e-3, 1.5e-2]),
    "relu": ([9.49e-2, 7.11e-2, 4.87e-2, 4.78e-2, 3.57e-2], [1.1e-3, 2.5e-3, 2.7e-3, 4.7e-3, 4.7e-3]),
    "swish": ([2.79e-2, 2.07e-2, 1.41e-2, 1.55e-2, 1.80e-2], [4.1e-4, 8.8e-4, 4.5e-4, 5.5e-4, 1.9e-3]),
}


@pytest.mark.parametrize(
    ("model", "published"),
    [("tutorial", [0, 0, 3, 10]), ("deep10", [0, 0, 7, 27, 89, 60, 58, 61, 72, 56])],
)
def test_untrained_networks_have_the_published_dead_units(
    model: str, published: list[int], settings_for: SettingsFor
) -> None:
    settings = settings_for(f"model={model}", "act=relu", "seed=42")
    network = build_network(settings, 784, 10)
    counts = count_over(network, datamodule.open_data(settings.data, 42).all_training_batches())
    assert [int(count["dead_outputs"]) for count in counts.values()] == published


@pytest.mark.parametrize("act", GRADIENTS_AT_INITIALISATION)
def test_gradients_at_initialisation_are_the_published_ones(act: str, settings_for: SettingsFor) -> None:
    settings = settings_for(f"act={act}", "seed=42")
    network = build_network(settings, 784, 10)
    batch = datamodule.open_data(settings.data, 42).probe(256)
    layers = observe(network, lambda: network.loss(batch))
    norms, maxima = GRADIENTS_AT_INITIALISATION[act]
    assert [grad_norm(layer.gradient).item() for layer in layers] == pytest.approx(norms, rel=0.01)
    # The maxima are published with two digits: half a unit of the second one is up to 5 %.
    for layer, published in zip(layers, maxima, strict=True):
        assert f"{grad_max_abs(layer.gradient).item():.1e}" == f"{published:.1e}"


def test_a_tutorials_pair_has_exactly_its_models_accuracy(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = [784, 512, 256, 256, 128, 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.1)]
    model = nn.Module()
    model.layers = nn.Sequential(*layers[:-1])
    described = {
        "act_fn": {"name": "LeakyReLU", "alpha": 0.1},
        "input_size": 784,
        "num_classes": 10,
        "hidden_sizes": [512, 256, 256, 128],
    }
    (tmp_path / "m.config").write_text(json.dumps(described))
    torch.save(model.state_dict(), tmp_path / "m.tar", _use_new_zipfile_serialization=False)

    data = evaluate.open_named("fashion_mnist")
    with torch.no_grad():
        images = (data.test.inputs.float() / 255 - 0.5) / 0.5
        expected = (model.layers(images).argmax(1) == data.test.labels).double().mean().item()
    for name in ("m.config", "m.tar"):
        network, dataset, loss = evaluate.load(tmp_path / name)
        found = evaluate.measure(network, data)
        assert (dataset, loss) == ("fashion_mnist", "cross_entropy")
        assert found["test_accuracy"] == expected
    x = images[:100]
    assert torch.equal(F.softmax(network(x), 1), F.softmax(model.layers(x), 1))
