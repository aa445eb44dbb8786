"""Mean-field theory: closed forms, published numbers, and what wide random networks do."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor, nn

from actsweep.config.schema import Settings
from actsweep.network import activations
from actsweep.theory.critical import Critical, critical, normal_weight_, of_layer, on_the_edge, variances
from actsweep.theory.integrals import Function, jumps, mean, mean_of_pair
from actsweep.theory.meanfield import MeanField, limit, moments, scale, second_moment, slope_moment
from tests.conftest import names_in
from tests.network import own_activations

SettingsFor = Callable[..., Settings]


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class Staircase(nn.Module):
    """Somebody's own, without a formula: jumps at −1.3 and 2.7, a kink at 0.4."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x < -1.3, -1.0, torch.where(x < 2.7, (x - 0.4).abs(), 3.0 * torch.tanh(x)))


class Stepped(nn.Module):
    """Jumps by 2 at 0, and has a slope besides."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.3 * x + torch.sign(x)


class SignedRoot(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x) * x.abs().sqrt()


class Undefined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand_like(x)


class Shrinking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., :1] if x.shape[-1] > 1 else x


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if x.shape[-1] > 1 else x


def phi(name: str, settings_for: SettingsFor) -> Function:
    return Function(activations.build(settings_for(f"act={name}").act.plain()))


@pytest.mark.parametrize(
    ("act", "published"),
    [("sigmoid", 0.141), ("tanh", 0.576), ("relu", 0.408), ("leakyrelu", 0.410), ("elu", 0.568), ("swish", 0.289)],
)
def test_the_published_shrinkage_of_gradients_at_the_default_initialisation(
    act: str, published: float, settings_for: SettingsFor
) -> None:
    found = limit(MeanField(phi(act, settings_for), 1 / 3, 1 / (3 * 256)))
    assert round(math.sqrt(found.chi), 3) == pytest.approx(published, abs=0.0005)
    assert found.correlation == 1  # the ordered phase: all inputs end alike


@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_leaky_relus_moments_are_the_closed_form(slope: float, q: float) -> None:
    act = Function(nn.LeakyReLU(slope))
    half = (1 + slope**2) / 2
    assert second_moment(act, q) == pytest.approx(half * q, rel=1e-12)
    assert slope_moment(act, q) == pytest.approx(half, rel=1e-12)
    assert critical(act, q).weight_variance == pytest.approx(1 / half, rel=1e-10)  # ReLU: 2
    assert critical(act, q).bias_variance == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("q", [0.01, 1.0, 1000.0])
def test_erfs_moments_are_williams_closed_form(q: float) -> None:
    act = Function(Erf())
    assert second_moment(act, q) == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-10)
    assert slope_moment(act, q) == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-10)
    for c in (-0.5, 0.0, 0.9, 0.999):
        expected = 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))
        assert mean_of_pair(act, q, c, act.breaks) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.5, 0.9, 0.999])
def test_relus_covariances_are_the_arc_cosine_kernels(c: float) -> None:
    act, angle = Function(nn.ReLU()), math.acos(c)
    first = (math.sin(angle) + (math.pi - angle) * c) / (2 * math.pi)
    assert mean_of_pair(act, 3.0, c, act.breaks) == pytest.approx(3 * first, abs=1e-9)
    assert mean_of_pair(act.slope, 3.0, c, act.breaks) == pytest.approx((math.pi - angle) / (2 * math.pi), abs=1e-9)


@pytest.mark.parametrize("act", [nn.Tanh(), nn.ELU(), Erf(), Staircase()])
def test_errors_of_the_quadrature_fall_monotonically_to_rounding(act: nn.Module) -> None:
    function = Function(act)
    exact = mean(lambda x: function(x) ** 2, 2.0, function.breaks, order=40, width=0.1)
    errors = [
        abs(mean(lambda x: function(x) ** 2, 2.0, function.breaks, order, width=1.0) - exact) for order in (1, 2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-4
    assert abs(mean(lambda x: function(x) ** 2, 2.0, function.breaks) - exact) < 1e-13


def test_kinks_and_jumps_are_found_where_they_are() -> None:
    assert Function(Staircase()).breaks == pytest.approx([-1.3, 0.4, 2.7], abs=1e-12)
    assert Function(nn.ReLU6()).breaks == pytest.approx([0, 6], abs=1e-12)
    assert Function(nn.ELU()).breaks == pytest.approx([0], abs=1e-12)  # only its curvature jumps
    assert Function(nn.Tanh()).breaks.size == Function(nn.GELU()).breaks.size == 0


@pytest.mark.parametrize("name", ["exp", "sinh", "cosh", "expm1"])
def test_smooth_functions_that_grow_fast_jump_nowhere(name: str) -> None:
    smooth = Function(activations.build({"_target_": f"torch.{name}"}))
    assert smooth.breaks.size == smooth.jumps.size == 0


def test_small_jumps_poles_and_jumps_of_steep_functions_are_found() -> None:
    assert jumps(lambda x: 1e-5 * (x > 0.3)) == pytest.approx([0.3], abs=1e-12)
    assert jumps(lambda x: np.exp(x) + 1e7 * (x > 19.45)) == pytest.approx([19.45], abs=1e-12)
    with np.errstate(divide="ignore"):
        assert jumps(lambda x: 1 / (x - 0.3)) == pytest.approx([0.3], abs=1e-12)
        assert jumps(lambda x: 1 / x) == pytest.approx([0, 0], abs=1e-12)  # from both sides


def test_an_activation_without_a_formula_agrees_with_a_brute_sum() -> None:
    function = Function(Staircase())
    z = (np.arange(4_000_000) + 0.5) / 4e6 * 20 - 10
    brute = float(np.exp(-(z**2) / 2) @ function(math.sqrt(2) * z) ** 2 / math.sqrt(2 * math.pi) * 20 / 4e6)
    assert second_moment(function, 2.0) == pytest.approx(brute, rel=1e-6)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (Undefined(), "Undefined gives nan at -5"),
        (Random(), "Random draws random numbers"),
        (Shrinking(), "Shrinking changes the shape"),
        (Mixing(), "Mixing mixes units"),
        (activations.Maxout(), "Maxout takes several inputs per unit"),
    ],
)
def test_what_is_no_elementwise_function_is_named(act: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Function(act)


def test_an_elementwise_function_has_a_theory_whatever_it_calls_its_numbers() -> None:
    x = np.linspace(-3, 3, 7)
    assert Function(own_activations.Pieces())(x) == pytest.approx(np.tanh(x))


def test_published_points_of_the_edge_of_chaos() -> None:
    tanh = Function(nn.Tanh())
    at = min((on_the_edge(tanh, q) for q in np.linspace(0.5, 0.7, 401)), key=lambda p: abs(p.bias_variance - 0.05))
    assert at.weight_variance == pytest.approx(1.76, abs=0.005)  # Schoenholz et al. 2017: σ_b² = 0.05
    # Roberts, Yaida & Hanin 2022: the half-stable points of SWISH and GELU, C_W and C_b
    for act, q, weight, bias in ((nn.SiLU(), 14.32017, 1.988005, 0.555143), (nn.GELU(), 3.56155, 1.983058, 0.172922)):
        function = Function(act)
        point = on_the_edge(function, q)
        assert (point.weight_variance, point.bias_variance) == pytest.approx((weight, bias), abs=2e-6)
        assert MeanField(function, weight, bias).q_slope(q) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("act", sorted(set(names_in("act")) - {"step", "softplus", "maxout"}))
def test_at_the_critical_initialisation_gradients_keep_their_size(act: str, settings_for: SettingsFor) -> None:
    function = phi(act, settings_for)
    point = critical(function, 0.1)
    theory = MeanField(function, point.weight_variance, point.bias_variance)
    assert point.bias_variance >= 0
    assert theory.next_q(point.q) == pytest.approx(point.q, rel=1e-8)
    assert theory.chi(point.q) == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize(
    ("act", "message"),
    [("softplus", "Softplus has no useful edge of chaos"), ("step", "Step has no edge of chaos: its slope is 0")],
)
def test_an_activation_without_an_edge_of_chaos_is_refused(act: str, message: str, settings_for: SettingsFor) -> None:
    with pytest.raises(ValueError, match=f"init=critical, act={act}: {message}"):
        settings_for(f"act={act}", "init=critical")


def test_a_dead_zone_wider_than_q_reaches_is_no_edge_of_chaos() -> None:
    with pytest.raises(ValueError, match="Hardshrink has no useful edge of chaos"):
        critical(Function(nn.Hardshrink(5.0)), 0.1)
    with pytest.raises(ValueError, match="Hardshrink has no useful edge of chaos"):  # nor is its slope 0 everywhere
        critical(Function(nn.Hardshrink(20.0)), 0.1)


def test_a_slope_whose_mean_square_is_infinite_has_no_chi_and_no_edge_of_chaos() -> None:
    root = Function(SignedRoot())
    assert second_moment(root, 1.0) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-6)
    for ask in (lambda: critical(root, 0.1), lambda: limit(MeanField(root, 1.0, 0.1)), lambda: moments(root, 1.0)):
        with pytest.raises(ValueError, match="SignedRoot has no χ₁ and no edge of chaos"):
            ask()
    tame = Function(activations.build({"_target_": "torch.pow", "exponent": 2}))
    assert slope_moment(tame, 1.0) == pytest.approx(4)


def test_stated_variances_are_those_of_draws(settings_for: SettingsFor) -> None:
    for init in ("default", "kaiming", "xavier", "lecun", "orthogonal", "normal", "gain", "variance"):
        weight, bias = settings_for(f"init={init}").init.functions()
        stated = variances(weight, bias, 300, 200)
        if weight is None:
            linear = nn.Linear(300, 20_000)
            drawn: tuple[float, float] = of_layer(linear.weight, linear.bias)
        else:
            opaque = [None if each is None else lambda x, call=each: call(x) for each in (weight, bias)]
            drawn = variances(*opaque, 300, 200)
        assert stated == pytest.approx(drawn, rel=0.02, abs=1e-12), init
    with pytest.raises(ValueError, match="random weights around 0"):
        variances(*settings_for("init=ones").init.functions(), 30, 20)


def test_limits_of_variances() -> None:
    relu = Function(nn.ReLU())
    assert MeanField(relu, 1.0, 0.0).fixed_point() == 0
    assert MeanField(relu, 3.0, 0.0).fixed_point() == math.inf
    assert MeanField(relu, 2.0, 0.0).fixed_point(0.7) == 0.7
    assert MeanField(relu, 1.0, 0.3).fixed_point() == pytest.approx(0.6, rel=1e-12)
    chaos = limit(MeanField(Function(nn.Tanh()), 4.0, 0.05))
    assert chaos.chi > 1 > chaos.correlation > 0
    assert scale(math.exp(-0.5)) == pytest.approx(2)


def test_where_a_function_jumps_inputs_do_not_end_alike() -> None:
    step = limit(MeanField(Function(activations.Step()), 1.0, 0.0))
    assert step.correlation == pytest.approx(0.5 + math.asin(step.correlation) / math.pi, abs=1e-8)
    assert step.correlation == pytest.approx(0.78983, abs=1e-5)
    slope = 1 / (math.pi * math.sqrt(1 - step.correlation**2))
    assert step.correlation_scale == pytest.approx(scale(slope), rel=1e-5)
    assert step.depth_scale == 0  # for no gradient passes
    theory = MeanField(Function(Stepped()), 0.5, 0.1)
    found, c = limit(theory), 0.9999
    for _ in range(40):
        c = theory.correlation(c, found.q)
    assert found.depth_scale == found.gradient_scale < found.correlation_scale
    assert found.correlation == pytest.approx(c, abs=1e-5)
    near = theory.correlation(found.correlation + 1e-3, found.q) - found.correlation
    assert found.correlation_scale == pytest.approx(scale(near / 1e-3), rel=1e-3)


def test_where_variances_vanish_correlations_come_to_rest_nowhere() -> None:
    """ReLU's go to 1 as powers of depth, tanh's stay where they are when z has vanished, Hardshrink's are of zeros."""
    for act, weight in (
        (nn.ReLU(), 1.0),
        (nn.ReLU(), 1.9),
        (nn.Tanh(), 0.5),
        (nn.Tanh(), 0.99),
        (nn.Hardshrink(), 1.0),
    ):
        found = limit(MeanField(Function(act), weight, 0.0))
        assert found.q == 0
        assert math.isnan(found.correlation)
        assert math.isnan(found.correlation_scale)
    assert found.q_scale == 0
    assert limit(MeanField(Function(nn.ReLU()), 1.0, 0.0)).q_scale == pytest.approx(1 / math.log(2))
    for critical_one in (nn.Tanh(), nn.ELU()):  # whose q goes to 0 at their edge of chaos
        found = limit(MeanField(Function(critical_one), 1.0, 0.0))
        assert (found.q, found.correlation, found.correlation_scale) == (0, 1, math.inf)


def test_the_initialisers_fill_what_they_are_given() -> None:
    torch.manual_seed(0)
    assert normal_weight_(torch.empty(500, 400), 3.0).var().item() == pytest.approx(3 / 400, rel=0.02)
    assert Critical(2.0, 0.0, 1.0).weight_variance == 2
    assert erf(0.5) == pytest.approx(Function(Erf())(np.array([0.5]))[0])
