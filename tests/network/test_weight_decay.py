"""Weight decay is for the linear layers' weights, in both engines, whatever shape other parameters have."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.network.build import build_network
from actsweep.network.classifier import Classifier
from actsweep.training.stack.steps import Optimiser
from actsweep.training.stack.training import Training
from tests.conftest import SMALL, weights_of

Make = Callable[..., Settings]
MATRIX = "act=tests.network.own_activations.Matrix"
DECAY = ("optim.lr=0.1", "optim.weight_decay=0.1")
CPU = torch.device("cpu")


def decayed(classifier: Classifier) -> set[str]:
    """The names of the parameters in the optimiser's groups with weight decay."""
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    groups = classifier.configure_optimizers().param_groups
    return {names[id(each)] for group in groups if group["weight_decay"] for each in group["params"]}


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_only_the_weights_of_linear_layers_are_decayed(settings_for: Make, optim: str, norm: str) -> None:
    classifier = build_network(settings_for(*SMALL, MATRIX, f"optim={optim}", f"norm={norm}", *DECAY), 64, 10)
    stride = 2 if norm == "none" else 3
    assert decayed(classifier) == {f"network.layers.{place}.weight" for place in (0, stride, 2 * stride)}
    everything = [each for group in classifier.configure_optimizers().param_groups for each in group["params"]]
    assert sorted(map(id, everything)) == sorted(map(id, classifier.parameters()))


def test_the_order_of_an_ordinary_networks_parameters_is_as_ever(settings_for: Make) -> None:
    """A checkpoint's optimiser state belongs to them by their place."""
    classifier = build_network(settings_for(*SMALL, "act=prelu", "norm=layer", *DECAY), 64, 10)
    names = {id(parameter): name.removeprefix("network.layers.") for name, parameter in classifier.named_parameters()}
    groups = classifier.configure_optimizers().param_groups
    assert [[names[id(each)] for each in group["params"]] for group in groups] == [
        ["0.weight", "3.weight", "6.weight"],
        ["0.bias", "1.weight", "1.bias", "2.weight", "3.bias", "4.weight", "4.bias", "5.weight", "6.bias"],
    ]


@pytest.mark.parametrize("optim", ["sgd", "adamw"])
def test_what_an_activation_learns_is_not_decayed_in_either_engine(
    settings_for: Make, tmp_path: Path, optim: str
) -> None:
    """Its gradient is zero: without decay it stays where it began. Weights are decayed alike in both engines."""
    settings = settings_for(*SMALL, MATRIX, f"optim={optim}", "trainer.precision=64", *DECAY)
    folders = [tmp_path / name for name in ("plain", "stacked")]
    for folder in folders:
        folder.mkdir()
    one_run.train(settings, folders[0])
    Training([(settings, folders[1])], CPU).run()
    plain, stacked = (weights_of(folder / "checkpoints" / "last.ckpt") for folder in folders)
    for name, value in plain.items():
        torch.testing.assert_close(stacked[name], value, rtol=1e-9, atol=1e-12)
    for found in (plain, stacked):
        assert torch.equal(found["network.layers.1.mixed"], torch.full((3, 2), 0.5, dtype=torch.float64))
        assert torch.equal(found["network.layers.3.scale"], torch.tensor(2.0, dtype=torch.float64))


def test_a_step_of_the_stack_decays_the_weights_alone(settings_for: Make, tmp_path: Path) -> None:
    """SGD with gradients of zero: w ← (1 − lr · decay) w."""
    settings = settings_for(*SMALL, MATRIX, "norm=layer", "trainer.precision=64", *DECAY)
    stack = Training([(settings, tmp_path)], CPU).stack
    before = {name: block.values.detach().clone() for name, block in stack.blocks.items()}
    Optimiser(stack, [settings.optim.plain()]).step([torch.zeros_like(values) for values in stack.parameters()])
    shrunk = {name[0] for name, block in stack.blocks.items() if not torch.equal(block.values, before[name])}
    assert shrunk == {"layers.0.weight", "layers.3.weight", "layers.6.weight"}
    for name in shrunk:
        torch.testing.assert_close(stack.blocks[name, 0].values.detach(), 0.99 * before[name, 0])
