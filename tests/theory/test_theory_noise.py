"""How much single networks of finite width differ from mean-field theory: its noise against simulated networks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import layers

WIDTH = 64


def simulated(act: nn.Module, weight_variance: float, depth: int, outputs: int, examples: int, nets: int) -> np.ndarray:
    """χ of each hidden layer of random networks, (depth, nets), for inputs of mean square 1 and labels at random."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(nets, examples, WIDTH, generator=generator)
    hidden = inputs / inputs.square().mean(dim=-1, keepdim=True).sqrt()
    pre: list[torch.Tensor] = []
    for units in [WIDTH] * depth + [outputs]:
        weight = torch.randn(nets, units, WIDTH, generator=generator) * math.sqrt(weight_variance / WIDTH)
        pre.append((hidden @ weight.mT).requires_grad_())
        hidden = act(pre[-1])
    labels = torch.randn(pre[-1].shape, generator=generator)
    gradients = torch.autograd.grad((pre[-1] * labels).sum(), pre)
    stacked = torch.stack([gradient.double().square().sum(dim=(1, 2)) for gradient in gradients])
    return (stacked[:-1] / stacked[1:]).numpy()


def spread(chi: np.ndarray) -> np.ndarray:
    """width · Var χ / E[χ]², by layer."""
    return WIDTH * chi.var(axis=1) / chi.mean(axis=1) ** 2


def predicted(act: nn.Module, weight_variance: float, depth: int, outputs: int) -> np.ndarray:
    found = layers(
        Function(act), 1.0, [weight_variance] * (depth + 1), [0.0] * (depth + 1), [WIDTH] * depth + [outputs]
    )
    return WIDTH * (2 * found.chi_noise) ** 2


def test_relus_chi_varies_by_five_over_width_at_one_example() -> None:
    assert predicted(nn.ReLU(), 2.0, 3, 10) == pytest.approx([5, 5, 5])
    assert spread(simulated(nn.ReLU(), 2.0, 3, 10, examples=1, nets=4000)) == pytest.approx([5, 5, 5], rel=0.08)


@pytest.mark.parametrize(("act", "variance"), [(nn.Tanh(), 1.5), (nn.SiLU(), 2.0), (nn.ELU(), 1.5)])
def test_the_spread_of_chi_at_one_example_is_as_predicted(act: nn.Module, variance: float) -> None:
    found = spread(simulated(act, variance, 3, 10, examples=1, nets=4000))
    assert found == pytest.approx(predicted(act, variance, 3, 10), rel=0.15)  # to leading order in 1/64


def test_many_examples_that_share_the_gradients_direction_leave_two_over_width() -> None:
    assert spread(simulated(nn.ReLU(), 2.0, 1, 1, examples=1024, nets=400)) == pytest.approx([2], rel=0.15)


@pytest.mark.parametrize("outputs", [1, 10])
@pytest.mark.parametrize(("act", "variance"), [(nn.ReLU(), 2.0), (nn.Tanh(), 1.5)])
def test_many_examples_vary_less_than_the_bound_of_one(act: nn.Module, variance: float, outputs: int) -> None:
    found = spread(simulated(act, variance, 3, outputs, examples=1024, nets=60))
    assert (found < predicted(act, variance, 3, outputs)).all()
    assert (found > 0).all()
