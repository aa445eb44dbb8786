"""CS231n's spiral: the first and the last thousand of both nets' 50,000 steps; bench/spiral.py makes all.

The states in between are those of the plain NumPy loop, as `python -m bench.spiral --states` leaves them.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actsweep import one_run
from actsweep.diagnostics.steps import grad_magnitude
from actsweep.network.build import build_network
from bench import spiral
from bench.spiral import Array, Trained

LENGTH = spiral.EPOCH + 1  # to the next published loss


def state(act: str, step: int) -> list[Array]:
    if step == 0:
        return spiral.initial(act)
    stored = np.load(Path(__file__).with_name("spiral_states.npz"))
    return [stored[f"{act}-{step}-{place}"] for place in range(6)]


def trained_from(weights: list[Array], act: str, folder: Path, *overrides: str) -> Trained:
    """The run of `+sweeps=spiral`, but from these weights."""
    build = build_network

    def build_there(*arguments: Any) -> Any:
        classifier = build(*arguments)
        for tap, weight, bias in zip(classifier.network.taps(), weights[::2], weights[1::2], strict=True):
            tap.linear.weight.data.copy_(torch.from_numpy(weight.T))
            tap.linear.bias.data.copy_(torch.from_numpy(bias))
        return classifier

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_run, "build_network", build_there)
        return spiral.in_actsweep(act, folder, "trainer.max_epochs=1", *overrides)


@dataclass(frozen=True)
class Part:
    act: str
    start: int
    theirs: Trained
    ours: Trained


@pytest.fixture(
    scope="module",
    params=product(spiral.USED_BEFORE, (0, spiral.STATES[-1])),
    ids=lambda part: "-".join(map(str, part)),
)
def part(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Part:
    """A thousand steps of a net, in NumPy and here; the first from its own initialisation."""
    (act, start), folder = request.param, tmp_path_factory.mktemp("spiral")
    steps = min(LENGTH, spiral.STEPS - start)
    length = f"data.steps_per_epoch={steps}"
    there = trained_from(state(act, start), act, folder, length) if start else None
    ours = there or spiral.in_actsweep(act, folder, "trainer.max_epochs=1", length)
    return Part(act, start, spiral.in_numpy(act, steps, state(act, start)), ours)


def test_published_losses_to_six_decimals_and_accuracies(part: Part) -> None:
    printed = spiral.published()
    printed = printed[printed["iteration"].between(part.start, part.start + len(part.ours.losses) - 1)]
    found = part.ours.losses[printed["iteration"] - part.start]
    assert np.abs(found - printed[part.act]).max() <= spiral.HALF_A_DIGIT
    if part.start + len(part.ours.losses) == spiral.STEPS:
        assert len(printed) == 1
        assert round(part.ours.accuracy, 4) == {"sigmoid": 0.97, "relu": 0.9933}[part.act]
    else:
        assert len(printed) == 2


def test_every_steps_loss_and_gradient_magnitudes_equal_numpys(part: Part) -> None:
    assert len(part.ours.losses) == len(part.theirs.losses) >= spiral.EPOCH
    assert np.abs(part.theirs.losses - part.ours.losses).max() < 1e-8
    assert np.allclose(part.theirs.magnitudes, part.ours.magnitudes, rtol=1e-5, atol=1e-12)


def test_the_magnitude_divides_by_the_sum_of_the_dimensions() -> None:
    assert grad_magnitude(torch.tensor(12.0), 50, 2).item() == pytest.approx(12 / 52)
