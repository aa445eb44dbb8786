"""The network: a multi-layer perceptron whose layers can be watched, and its initialisation.

With `norm=none` the state dict has the keys of UvA Tutorial 3's networks (`layers.0.weight`, `layers.2.weight`, …), so
that the tutorial's files load as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from actsweep.config.descriptions import reason
from actsweep.errors import exits_are_errors
from actsweep.network import activations
from actsweep.threads import all_threads

NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
Weighted = nn.Linear | activations.Convolution
WORTH_SHARING = 10_000_000  # multiply-adds a step, about a millisecond's: below, threads wait longer than they work


@contextmanager
def _apart(act: Mapping[str, Any]) -> Iterator[None]:
    """Where an activation is made: what it draws must not shift the weights, which are the same for every activation;
    and one of one's own has memory also in a network without any, as it may hold numbers that no state dict does."""
    is_without = torch.get_default_device().type == "meta" and activations.foreign(act)
    with torch.random.fork_rng(devices=[]), torch.device("cpu") if is_without else nullcontext():
        yield


class Tap(NamedTuple):
    """Where one layer can be watched: a module's weights, and the activation that follows it, if any."""

    name: str
    linear: Weighted
    activation: nn.Module | None


class MLP(nn.Module):
    """Fully connected layers with one activation function between them.

    `hidden_sizes` may be empty: a linear classifier. Inputs of shape (N, …) are flattened to (N, input_size); the
    outputs (N, output_size), logits or real numbers, have no activation of their own. A hidden layer's size is what its
    activation gives; its linear part makes what the activation takes for that, which for Maxout or a gated linear unit
    is more. Every `stride`-th of `layers` is a linear one.
    """

    def __init__(
        self, input_size: int, hidden_sizes: Sequence[int], output_size: int, act: Mapping[str, Any], norm: str = "none"
    ) -> None:
        super().__init__()
        sizes = [input_size, *hidden_sizes, output_size]
        with _apart(act):
            taken = {units: activations.inputs_for(activations.build(act), units) for units in set(hidden_sizes)}
        made = [*(taken[units] for units in hidden_sizes), output_size]
        linears = [nn.Linear(fan_in, outputs) for fan_in, outputs in zip(sizes, made, strict=False)]
        with _apart(act):
            between = [activations.build(act) for _ in hidden_sizes]  # a fresh activation for every layer
        layers: list[nn.Module] = []
        for linear, activation in zip(linears, between, strict=False):
            normed = [] if norm == "none" else [NORMS[norm](linear.out_features)]
            layers += [linear, *normed, activation]
        self.layers = nn.Sequential(*layers, linears[-1])
        self.stride = 2 if norm == "none" else 3

    def forward(self, x: Tensor) -> Tensor:
        first = cast(nn.Linear, self.layers[0])
        outputs: Tensor = self.layers(x.flatten(1).to(first.weight.dtype))
        return outputs

    def taps(self) -> list[Tap]:
        """Every layer from the input to the output, named layer_01, layer_02, …"""
        linears = cast(list[nn.Linear], list(self.layers[:: self.stride]))
        activations = [*self.layers[self.stride - 1 :: self.stride], None]
        names = (f"layer_{number:02d}" for number in range(1, len(linears) + 1))
        return [Tap(*each) for each in zip(names, linears, activations, strict=True)]


def threads_for(network: nn.Module, examples: int) -> int:
    """CPU threads for steps of so many examples: one where the work is too small to share, else all.

    It matters most beside other programs: two threads that wait for each other's core are ten times slower than one.
    """
    weights = sum(parameter.numel() for parameter in network.parameters())
    return all_threads() if weights * examples >= WORTH_SHARING else 1


Initialiser = Callable[[Tensor], Any]
BiasInitialiser = Initialiser | Literal["alike"] | None


@torch.no_grad()
def fill(linear: Weighted, weight: Initialiser | None, bias: BiasInitialiser) -> None:
    """Fill a layer's weights and biases in place; None keeps what nn.Linear drew. Biases that are "alike" are a column
    of such weights, drawn anew."""
    if weight is not None:
        weight(linear.weight)
    if bias == "alike" and weight is not None and linear.bias is not None:  # nn.Linear's own are alike
        weight(drawn := torch.empty_like(linear.weight))
        linear.bias.copy_(drawn.flatten(1)[:, 0])
    elif callable(bias) and linear.bias is not None:
        bias(linear.bias)


def fault_of(make: Callable[[], tuple[Initialiser | None, BiasInitialiser]], inputs: int, outputs: int) -> str | None:
    """What is wrong with the initialisers that `make` gives, tried on a layer of this size; None if nothing."""
    made = []
    try:
        with torch.random.fork_rng(devices=[]), exits_are_errors():
            for _ in range(2):
                torch.default_generator.manual_seed(0)
                linear, functions = nn.Linear(inputs, outputs), make()
                before = [each.detach().clone() for each in linear.parameters()]
                fill(linear, *functions)
                made.append([each.detach() for each in linear.parameters()])
    except Exception as error:  # an initialiser may raise anything
        return reason(error)
    for name, function, was, one, again in zip(("weights", "biases"), functions, before, *made, strict=True):
        if callable(function) and torch.equal(was, one):
            return f"leaves the {name} as they are: a function must fill the tensor that it is given, in place"
        if not torch.allclose(one, again, rtol=0, atol=0, equal_nan=True):
            return f"draws {name} that torch's seed doesn't fix, others in each run: draw them with torch"
    return None
