"""What draws random numbers between two layers is repeated with the numbers that it drew, on a GPU too."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actsweep.diagnostics import randomness
from actsweep.diagnostics.observation import observe
from tests.devices import DEVICE, needs_a_gpu

GPU = torch.device("cuda", 0)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 2)

    def activation(self, x: Tensor) -> Tensor:
        """Something between the two that no module is."""
        return F.rrelu(x, 0.1, 0.9, training=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(x)))


def assert_slopes_are_of_what_was_drawn(network: Network, device: torch.device) -> None:
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(1)).to(device)
    first, _ = observe(network.to(device), lambda: network(inputs).square().mean())
    assert first.pre is not None
    assert first.post is not None
    assert first.slope is not None
    torch.testing.assert_close(first.slope, first.post / first.pre)
    assert len(first.slope.unique()) > 50


def test_on_a_cpu() -> None:
    assert_slopes_are_of_what_was_drawn(Network(), torch.device("cpu"))


@needs_a_gpu
def test_on_a_gpu() -> None:
    assert_slopes_are_of_what_was_drawn(Network(), DEVICE)


def test_the_generator_of_a_gpu_is_put_back_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.Generator()  # stands for a GPU's
    monkeypatch.setattr(randomness, "_gpus", lambda of: [GPU] if list(of) else [])
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: own.get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: own.set_state(state))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    before = own.get_state()
    with randomness.kept(torch.zeros(1)):
        known = randomness.states([torch.zeros(1)])
        drawn = torch.rand(3, generator=own)
        randomness.draw_from(known)
        assert torch.equal(torch.rand(3, generator=own), drawn)
    assert torch.equal(own.get_state(), before)
