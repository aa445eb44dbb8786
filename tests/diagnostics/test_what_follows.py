"""What follows a layer where that is hard to see: sums over neighbours, halves, dropout, scripted functions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from actsweep.callbacks import ActivationHistogram, ActivationMoments, DeadUnits, Layer, watched
from actsweep.diagnostics.activations import mean_and_std, signal
from actsweep.diagnostics.elementwise import is_affine, random_like
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.trace import Trace
from tests.diagnostics.test_zoo import Counts, Keeps, fit
from tests.diagnostics.zoo_parts import Function, Of, Own, two

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(24, 4, generator=GENERATOR)
DATA = TensorDataset(ROWS, torch.arange(24) % 3)
EDGES = torch.randint(0, 8, (2, 20), generator=GENERATOR)
SHARES = torch.rand(20, 1, generator=GENERATOR)


class Trains(Counts):
    def __init__(self, net: nn.Module, optimizer: Any = torch.optim.SGD) -> None:
        super().__init__()
        self.net, self.optimizer = net, optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.noted(F.cross_entropy(self.net(batch[0]).float(), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters(), lr=0.01)


def added(x: Tensor) -> Tensor:
    """A graph convolution's sum over neighbours."""
    return torch.zeros(8, x.shape[1]).index_add_(0, EDGES[1], x[EDGES[0]])


def scattered(x: Tensor) -> Tensor:
    places = EDGES[1][:, None].expand(-1, x.shape[1])
    return x.new_zeros(8, x.shape[1]).scatter_add_(0, places, SHARES * x[EDGES[0]])


def by_matrix(x: Tensor) -> Tensor:
    return torch.zeros(8, 8).index_put((EDGES[0], EDGES[1]), torch.ones(())) @ x


@pytest.mark.parametrize("aggregate", [added, scattered, by_matrix])
def test_a_sum_over_neighbours_may_stand_between(aggregate: Function) -> None:
    module, keeps = Trains(two(lambda x: F.relu(aggregate(x)))), Keeps()
    layer = module.net.get_submodule("a")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight[:2] = 0  # type: ignore[index, operator]
    trainer = fit(module, DATA, [keeps, DeadUnits()], max_steps=1)
    assert [row["activation"] for row in watched(module)] == ["relu", "none"]
    assert trainer.logger.rows[0][1]["dead_fraction/net.a"] >= 2 / 6  # type: ignore[union-attr]
    shown: Layer = keeps.seen[0]["net.a"]
    assert shown.pre is not None
    assert shown.post is not None
    assert torch.equal(shown.post, shown.pre.clamp(min=0))
    assert (shown.pre[..., 2:] != 0).any(dim=1).all()  # units are in their places


@pytest.mark.parametrize(
    ("function", "name"),
    [(F.hardsigmoid, "hardsigmoid"), (lambda x: x.clamp(-5, 5), "clamp"), (lambda x: x.clamp(-30, 20), "none")],
)
def test_a_function_that_is_straight_around_0_is_an_activation_if_it_bends_within_10(
    function: Function, name: str
) -> None:
    module = Trains(two(function))
    fit(module, DATA, [DeadUnits()], max_steps=1)
    assert [row["activation"] for row in watched(module)] == [name, "none"]


@pytest.mark.parametrize("number", [-torch.inf, torch.finfo(torch.float32).min])
@pytest.mark.parametrize(
    ("before", "name"), [(lambda x: x, "none"), (F.relu, "relu"), (Own(lambda x: x.softmax(dim=1)), "none")]
)
def test_what_fills_masked_places_is_no_activation(before: Function, name: str, number: float) -> None:
    masking = Own(lambda x: before(x).masked_fill(torch.arange(8)[:, None] > 5, number))
    module = Trains(two(lambda x: (masking if name == "none" else masking.function)(x).amax(dim=0).expand(8, 6)))
    trainer = fit(module, DATA, [ActivationMoments()], max_steps=1)
    assert [row["activation"] for row in watched(module)] == [name, "none"]
    assert all(map(math.isfinite, trainer.logger.rows[0][1].values()))  # type: ignore[union-attr]


@pytest.mark.parametrize("edges", [5, 24])
def test_messages_beside_a_residual_connection_are_activations(edges: int) -> None:
    def passed_on(h: Tensor) -> Tensor:
        messages = F.relu(h[torch.arange(edges) % 8])
        return h + torch.zeros_like(h).index_add(0, torch.arange(edges) // 3, messages)

    module = Trains(two(passed_on))
    fit(module, DATA, [DeadUnits()], max_steps=1)
    assert [row["activation"] for row in watched(module)] == ["relu", "none"]


def densely(self: Any, x: Tensor) -> Tensor:
    """As in a DenseNet: what has been is kept beside what is new."""
    kept = torch.cat([x, self.a(x)], dim=1)
    return self.b(F.relu(self.norm(kept)).flatten(1))  # type: ignore[no-any-return]


def test_what_stands_beside_a_layers_output_in_a_concatenation_is_not_its() -> None:
    net = Of(densely, a=nn.Conv1d(2, 4, 3, padding=1), norm=nn.BatchNorm1d(6), b=nn.Linear(30, 3))
    images = torch.randn(8, 2, 5, generator=GENERATOR)
    layers = {layer.name: layer for layer in observe(net, lambda: net(images).square().sum())}
    normed = net.get_submodule("norm")(torch.cat([images, net.get_submodule("a")(images)], dim=1))[:, 2:]
    expected = normed.movedim(1, -1).reshape(1, -1, 4)
    pre, post = layers["a"].pre, layers["a"].post
    assert pre is not None
    assert post is not None
    torch.testing.assert_close(pre, expected)
    assert torch.equal(post, pre.clamp(min=0))


@pytest.mark.parametrize(
    ("shape", "between"),
    [
        ((12,), lambda x: x.flip(1)),
        ((12,), lambda x: x.view(-1, 4, 3)),
        ((5, 12), lambda x: x.unflatten(2, (4, 3)).transpose(1, 2)),  # heads of an attention
        ((5, 12), lambda x: x.view(-1, 5, 2, 3, 2).permute(0, 2, 4, 1, 3)),
        ((12, 4, 4), lambda x: F.pixel_shuffle(x, 2)),
    ],
)
def test_units_may_lie_in_another_order_and_along_several_dimensions(shape: tuple[int, ...], between: Function) -> None:
    torch.manual_seed(0)
    kind = nn.Conv2d(12, 12, 1) if len(shape) == 3 else nn.Linear(12, 12)
    nn.init.constant_(kind.bias[:5], -100.0)  # type: ignore[index]
    net = Of(lambda s, x: F.relu(between(s.a(x))), a=kind)
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    [layer] = observe(net, lambda: net(x).sum())
    assert layer.pre is not None
    by_unit = net.get_submodule("a")(x).movedim(1 if len(shape) == 3 else -1, -1).reshape(-1, 12)
    torch.testing.assert_close(layer.pre[0].sort(dim=0).values, by_unit.sort(dim=0).values)
    assert DeadUnits().measure(layer)["dead_fraction"] == pytest.approx(5 / 12)


def test_a_sum_over_units_mixes_them() -> None:
    net = two(lambda x: F.relu(x.sum(dim=1, keepdim=True)).expand(-1, 6))
    first, _ = observe(net, lambda: net(ROWS).sum())
    assert first.post is None


class Branches(nn.Module):
    """`take` makes the head's input of six units: two of them are negative for every row, one is positive."""

    def __init__(self, take: Function, width: int) -> None:
        super().__init__()
        self.a, self.b, self.take = nn.Linear(4, 6), nn.Linear(width, 3), take
        with torch.no_grad():
            self.a.bias[:3] = torch.tensor([-100.0, -100.0, 100.0])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.take(self.a(x)))
        return y


@pytest.mark.parametrize(
    ("take", "width", "dead", "named"),
    [
        (lambda h: torch.cat([F.relu(h), F.relu(-h)], dim=1), 12, 0, "relu"),
        (lambda h: F.relu(h) - F.relu(-h), 6, 0, "relu"),
        (lambda h: torch.cat([F.relu(h), F.leaky_relu(h)], dim=1), 12, 0, "relu and leaky_relu"),
        (lambda h: torch.cat([F.relu(h), F.relu6(h)], dim=1), 12, 2 / 6, "relu and relu6"),
        (lambda h: h + F.tanh(F.relu(h)), 6, 0, "add"),
    ],
)
def test_a_unit_is_dead_only_behind_every_activation_that_takes_it(
    take: Function, width: int, dead: float, named: str
) -> None:
    module, keeps = Trains(Branches(take, width)), Keeps()
    fit(module, DATA, [keeps])
    layer = keeps.seen[0]["net.a"]
    assert DeadUnits().measure(layer)["dead_fraction"].item() == pytest.approx(dead)
    assert {row["layer"]: row["activation"] for row in watched(module)}["net.a"] == named


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_change_of_precision_is_no_activation(half: torch.dtype) -> None:
    assert is_affine(lambda x: x.to(half), ROWS)
    net = two(lambda x: torch.relu(x.to(half)).float())
    first, _ = observe(net, lambda: net(ROWS).sum())
    assert first.slope is not None
    assert set(first.slope.unique().tolist()) == {0.0, 1.0}


def test_an_activation_that_learns_is_seen_in_halves_too() -> None:
    module = Trains(nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 3)))
    fit(module, DATA, [DeadUnits()], max_steps=1, precision="bf16-true")
    assert [row["activation"] for row in watched(module)] == ["PReLU", "none"]


def test_moments_of_halves_are_those_of_their_numbers() -> None:
    values = torch.tensor([100.0, 100.5]).repeat(50)[None, :, None]
    for half in (torch.bfloat16, torch.float16):
        assert signal(values.to(half)).item() == pytest.approx(0.25)
        mean, std = mean_and_std(values.to(half))
        assert (mean.item(), std.item()) == (pytest.approx(100.25), pytest.approx(0.25))


class Drops(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Dropout(0.5), nn.ReLU()),
        lambda: Drops(lambda x: F.relu(F.dropout(x, 0.5))),
        lambda: Drops(lambda x: F.dropout(F.relu(x), 0.5)),
    ],
)
def test_a_dropout_in_one_module_with_the_activation_is_no_part_of_it(make: Callable[[], nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(4, 64), make(), nn.Linear(64, 3))
    first, _ = observe(net, lambda: net(ROWS).sum())
    assert first.pre is not None
    assert first.slope is not None
    assert torch.equal(first.slope, (first.pre > 0).float())
    assert first.max_slope == 1


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
def test_what_hides_from_torchs_functions_is_said_not_to_be_watched() -> None:
    module = Trains(two(torch.jit.script(swish)))  # type: ignore[no-untyped-call]
    fit(module, DATA, [DeadUnits()], max_steps=1)
    said = [row["activation"] for row in watched(module)]
    assert said == ["not watched: what becomes of it isn't seen", "none"]


def test_of_an_optimiser_that_looks_several_times_the_first_look_counts() -> None:
    keeps = Keeps()
    fit(Trains(two(F.relu), torch.optim.LBFGS), DATA, [keeps, ActivationHistogram()], max_steps=1)
    pre = keeps.seen[0]["net.a"].pre
    assert pre is not None
    assert pre.shape == (1, 8, 6)


class Alternates(Trains):
    """Trains one of two networks, then the other."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        net = self.net.get_submodule("ab"[batch_idx % 2])
        return self.noted(F.cross_entropy(net(batch[0]), batch[1]))


def test_the_table_has_what_a_later_step_shows_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("actsweep.diagnostics.table.rank_zero_info", said.append)
    module = Alternates(Of(lambda self, x: x, a=two(F.relu), b=two(torch.tanh)))
    fit(module, DATA, [GradientNorm(every_n_steps=1)])
    assert [row["activation"] for row in watched(module)] == ["relu", "none", "tanh", "none"]
    assert said == [
        "4 Linear: gradient: yes (4); activation: relu (1), none (1), not watched (2)",
        "2 Linear: gradient: yes (2); activation: tanh (1), none (1)",
    ]


def test_numbers_to_try_come_from_the_cpu_whatever_the_default_device() -> None:
    with torch.device("meta"):
        found = random_like(torch.zeros(3, device="cpu"))
    assert torch.equal(found, random_like(torch.zeros(3)))


@pytest.mark.parametrize(
    ("function", "given"), [(F.relu, (True,)), (F.elu, (1.0, True)), (F.rrelu, (0.1, 0.3, False, True))]
)
def test_a_function_told_by_place_to_work_in_place_is_seen_to(function: Any, given: tuple[Any, ...]) -> None:
    x, weight = torch.ones(2, 4), nn.Parameter(-torch.ones(3, 4))
    with Trace([weight]) as trace:
        function(F.linear(x, weight), *given)
    assert [call.overwrites for call in trace.calls] == [False, True]
