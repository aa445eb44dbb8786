import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsweep.config.schema import Settings
from actsweep.diagnostics.observation import observe, weights_of
from actsweep.network.build import build_network
from actsweep.network.mlp import MLP
from tests.conftest import names_in

SettingsFor = Callable[..., Settings]


def network_of(settings: Settings, input_size: int = 784) -> MLP:
    return build_network(settings, input_size, 10).network


@pytest.mark.parametrize("act", names_in("act"))
def test_a_seed_gives_the_weights_of_plain_linears_built_in_order(act: str, settings_for: SettingsFor) -> None:
    torch.rand(7)  # what ran before must not matter
    network = network_of(settings_for(f"act={act}", "seed=42"))
    torch.manual_seed(42)
    sizes = [784, 512, 256, 256, 128, 10]
    pieces = [getattr(tap.activation, "pieces", 1) for tap in network.taps()]
    plain = [nn.Linear(fan_in, fan_out * n) for (fan_in, fan_out), n in zip(pairwise(sizes), pieces, strict=True)]
    for tap, linear in zip(network.taps(), plain, strict=True):
        assert torch.equal(tap.linear.weight, linear.weight)
        assert torch.equal(tap.linear.bias, linear.bias)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_layer_has_its_own_activation_and_its_name(norm: str, settings_for: SettingsFor) -> None:
    taps = network_of(settings_for("depth=11", "width=3", "act=prelu", f"norm={norm}")).taps()
    assert [tap.name for tap in taps] == [f"layer_{number:02d}" for number in range(1, 13)]
    assert all(isinstance(tap.linear, nn.Linear) for tap in taps)
    assert all(isinstance(tap.activation, nn.PReLU) for tap in taps[:-1])
    assert taps[-1].activation is None
    assert len({id(tap.activation) for tap in taps}) == 12


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_a_norm_stands_between_weights_and_activation(
    norm: str, kind: type[nn.Module], settings_for: SettingsFor
) -> None:
    layers = network_of(settings_for("depth=2", "width=5", f"norm={norm}")).layers
    assert [type(layer) for layer in layers] == [nn.Linear, kind, nn.ReLU, nn.Linear, kind, nn.ReLU, nn.Linear]


def test_depth_zero_is_a_linear_classifier(settings_for: SettingsFor) -> None:
    network = network_of(settings_for("depth=0"))
    x = torch.randn(5, 784)
    assert torch.equal(network(x), network.layers[0](x))
    assert len(network.taps()) == 1


def test_depth_and_width_mean_equal_hidden_layers(settings_for: SettingsFor) -> None:
    assert settings_for("depth=3", "width=7").layer_sizes == [7, 7, 7]
    assert settings_for("model=deep10").layer_sizes == [256] * 5 + [128] * 5


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("default", 1 / (3 * 1000)),
        ("kaiming", 2 / 1000),
        ("xavier", 2 / (1000 + 800)),
        ("lecun", 1 / 1000),
        ("normal", 0.01**2),
    ],
)
def test_an_initialisation_has_its_published_variance(init: str, variance: float, settings_for: SettingsFor) -> None:
    settings = settings_for("hidden_sizes=[800]", f"init={init}")
    linear = network_of(settings, 1000).taps()[0].linear
    n = linear.weight.numel()
    assert linear.weight.mean().item() == pytest.approx(0, abs=4 * math.sqrt(variance / n))
    assert linear.weight.var().item() == pytest.approx(variance, rel=6 / math.sqrt(n))
    assert (init == "default") == bool(linear.bias.abs().max() > 0)


def test_orthogonal_weights_keep_lengths(settings_for: SettingsFor) -> None:
    weight = network_of(settings_for("depth=2", "width=64", "init=orthogonal")).taps()[1].linear.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(64), atol=1e-5, rtol=0)


def test_normal_takes_its_std(settings_for: SettingsFor) -> None:
    weight = network_of(settings_for("init=normal", "init.std=0.2")).taps()[0].linear.weight
    assert weight.std().item() == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize(
    "init", sorted(set(names_in("init")) - {"matching", "notebook", "critical"})
)  # theirs depend on it
def test_activations_start_from_the_same_weights(init: str, settings_for: SettingsFor) -> None:
    first, second = (network_of(settings_for(f"act={act}", f"init={init}", "norm=layer")) for act in ("tanh", "prelu"))
    for one, other in zip(first.taps(), second.taps(), strict=True):
        assert torch.equal(one.linear.weight, other.linear.weight)


@pytest.mark.parametrize(("act", "gain"), [("tanh", 5 / 3), ("relu", math.sqrt(2)), ("sigmoid", 4.0)])
def test_a_matching_initialisation_has_the_activations_gain(act: str, gain: float, settings_for: SettingsFor) -> None:
    network = network_of(settings_for(f"act={act}", "init=matching", "depth=2", "width=784"))
    weight = network.taps()[1].linear.weight
    assert weight.std().item() == pytest.approx(gain / math.sqrt(784), rel=0.01)


def test_an_activation_without_a_matching_gain_is_told_how_to_give_one(settings_for: SettingsFor) -> None:
    with pytest.raises(
        ValueError, match=r"init=matching has no number for act=prelu: give one with \+init.by_act.prelu="
    ):
        settings_for("act=prelu", "init=matching")
    assert settings_for("act=prelu", "init=matching", "+init.by_act.prelu=1.2").init.gain == 1.2


class Filter(nn.Module):
    """Has a method `taps` of its own, which says nothing of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(1, 1, 3))

    def taps(self) -> Tensor:
        return self.kernel.flatten()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x[:, None], self.kernel, padding=1)[:, 0]


def test_taps_count_only_where_they_say_it_of_all_layers() -> None:
    def network() -> MLP:
        return MLP(4, [4], 4, {"_target_": "torch.nn.ReLU"})

    names = {}
    for name, net in {
        "one": nn.Sequential(network()),
        "two": nn.Sequential(network(), network()),
        "beside": nn.Sequential(nn.Linear(4, 4), network()),
        "another's": nn.Sequential(Filter(), nn.Linear(4, 4)),
    }.items():
        names[name] = list(weights_of(net))
        shown = [layer.name for layer in observe(net, lambda net=net: net(torch.randn(5, 4)).sum())]  # type: ignore[misc]
        assert shown == names[name]
    assert names == {
        "one": ["layer_01", "layer_02"],
        "two": ["0.layers.0", "0.layers.2", "1.layers.0", "1.layers.2"],
        "beside": ["0", "1.layers.0", "1.layers.2"],
        "another's": ["0.kernel", "1"],
    }
