"""Mean-field theory against curves and points that others published, and its log-normal gradients against networks."""

import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from scipy.optimize import brentq  # type: ignore[import-untyped]
from torch import nn

from actsweep import predict
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import Layers, MeanField, layers, limit

# ghliu/mean-field-fcdnn's ξ_c of tanh at σ_b² = 0.05, by σ_w²; next to criticality theirs is cut off at 300 layers
DEPTH_SCALES = {
    1.0: 3.62697316, 1.30612245: 7.97576114, 1.48979592: 15.10592591, 1.6122449: 29.43711484,
    2.04081633: 22.33870794, 2.53061224: 11.53313507, 2.95918367: 9.19628363, 4.0: 6.98030292,
}  # fmt: skip
# Hayou, Doucet & Rousseau 2019: (σ_b, σ_w) on the edge of chaos, to their rounding; χ₁ and q* by independent quadrature
ON_THE_EDGE = [
    (nn.ReLU(), 0.0, math.sqrt(2), 1.0, None),
    (nn.ELU(), 0.2, 1.227, 0.9987, 1.080),
    (nn.Tanh(), 0.2, 1.302, 0.9988, 0.509),
]
WIDTH, DEPTH, SEEDS = 128, 32, 200


def test_the_published_depth_scales_of_tanh() -> None:
    tanh = Function(nn.Tanh())
    found = {variance: limit(MeanField(tanh, variance, 0.05)).correlation_scale for variance in DEPTH_SCALES}
    assert found == pytest.approx(DEPTH_SCALES, rel=5e-4)


def test_the_published_critical_variance_of_tanh() -> None:
    tanh = Function(nn.Tanh())

    def margin(variance: float) -> float:
        return limit(MeanField(tanh, variance, 0.05)).chi - 1

    assert brentq(margin, 1.5, 2.0, xtol=1e-8) == pytest.approx(1.7604, rel=5e-4)  # ours: 1.76095


@pytest.mark.parametrize(("act", "bias", "weight", "chi", "q"), ON_THE_EDGE, ids=lambda value: str(value))
def test_the_published_pairs_lie_on_the_edge_of_chaos(
    act: nn.Module, bias: float, weight: float, chi: float, q: float | None
) -> None:
    found = limit(MeanField(Function(act), weight**2, bias**2))
    assert found.chi == pytest.approx(chi, abs=5e-5)
    assert q is None or found.q == pytest.approx(q, abs=1e-3)


def log_gradients(act: nn.Module, weight_variance: float, seeds: int) -> np.ndarray:
    """ln ‖∂L/∂z_1‖²/‖∂L/∂z_out‖² of random networks of DEPTH hidden layers at one input each of mean square 1."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(seeds, 1, WIDTH, dtype=torch.float64, generator=generator)
    hidden = hidden / hidden.square().mean(dim=-1, keepdim=True).sqrt()
    weights = torch.randn(DEPTH + 1, seeds, WIDTH, WIDTH, generator=generator) * math.sqrt(weight_variance / WIDTH)
    pre: list[torch.Tensor] = []
    for weight in weights.double():
        pre.append((hidden @ weight.mT).requires_grad_())
        hidden = act(pre[-1])
    loss = (pre[-1] * torch.randn(pre[-1].shape, generator=generator)).sum()
    first, last = torch.autograd.grad(loss, [pre[0], pre[-1]])
    return (first.square().sum((1, 2)) / last.square().sum((1, 2))).log().numpy()


def of_theory(act: nn.Module, weight_variance: float) -> Layers:
    variances = [weight_variance] * (DEPTH + 1)
    return layers(Function(act), 1.0, variances, [0.0] * (DEPTH + 1), [WIDTH] * (DEPTH + 1))


def test_the_gradients_of_critical_relu_networks_are_log_normal() -> None:
    beta = of_theory(nn.ReLU(), 2.0).log_variances
    assert beta == pytest.approx(5 / WIDTH * np.arange(DEPTH, 0, -1))  # Hanin & Nica 2020: 5 Σ 1/width
    found = log_gradients(nn.ReLU(), 2.0, SEEDS)
    assert found.mean() == pytest.approx(-beta[0] / 2, abs=3 * math.sqrt(beta[0] / SEEDS))
    assert found.var(ddof=1) == pytest.approx(beta[0], abs=3 * beta[0] * math.sqrt(2 / (SEEDS - 1)))
    assert stats.kstest(found, stats.norm(-beta[0] / 2, math.sqrt(beta[0])).cdf).pvalue > 0.01


def test_the_command_says_between_what_the_gradients_of_single_networks_lie() -> None:
    found = of_theory(nn.ReLU(), 2.0)
    low, high = predict.single_networks(found, 0)
    beta = 5 * (DEPTH - 1) / WIDTH  # relative to the last hidden layer
    ends = [math.exp(-beta / 4 + sign * 1.96 * math.sqrt(beta) / 2) for sign in (-1, 1)]
    assert (low, high) == pytest.approx(ends)
    assert predict.single_networks(found, DEPTH - 1) == (1, 1)
