"""Activations that learn in a stack: parameters of any shape, however their gradients lie in memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from actsweep import one_run
from actsweep.config.schema import Settings, Target
from actsweep.results import run_folder
from actsweep.training.stack import grouping
from actsweep.training.stack.activating import unsupported
from actsweep.training.stack.training import Training
from tests.conftest import SMALL
from tests.training.stack.test_stack import DOUBLE, assert_equal_to_alone, several

Make = Callable[..., Settings]


class Scaled(nn.Module):
    """Learns one number, without a dimension, and three that count by their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.parts = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.full((3,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.scale * x) + self.parts.sum() * x


class Held(nn.Module):
    """Holds what can't be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.function = lambda x: x.tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.gradient_clip_val=0.05"],
        ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value"],
        ["optim=rmsprop", "optim.lr=0.001"],
        ["optim=adamw", "trainer.gradient_clip_val=0.05"],
    ],
)
def test_single_numbers_and_sums_of_numbers_are_learnt_as_alone(settings_for: Make, overrides: list[str]) -> None:
    act = Target.model_validate({"_target_": f"{__name__}.Scaled"})
    base = several(settings_for, DOUBLE, "width=8", *overrides, acts=["relu"], seeds=(0, 1, 2))
    settings = [each.model_copy(update={"act": act}) if each.seed else each for each in base]
    assert {grouping.reason_against(each) for each in settings} == {None}
    assert_equal_to_alone(sorted(settings, key=lambda each: each.act.target), 40, 1e-9)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_prelus_are_stacked_in_bf16(settings_for: Make, norm: str, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "act=prelu", "trainer.precision=bf16-mixed", f"norm={norm}", "diagnostics=[]")
    jobs = [(settings.model_copy(update={"seed": seed}), tmp_path / str(seed)) for seed in (0, 1)]
    Training(jobs, torch.device("cpu")).run()
    (tmp_path / "alone").mkdir()
    alone, stacked = one_run.train(jobs[0][0], tmp_path / "alone"), run_folder.read_result(tmp_path / "0")
    assert stacked is not None
    assert stacked["test_loss"] == pytest.approx(alone["test_loss"], rel=0.02)
    assert alone["test_loss"] < 2.28  # it learns


def test_what_cant_be_looked_into_is_said_to_be_that() -> None:
    assert unsupported({"_target_": f"{__name__}.Held"}) == (
        f"{__name__}.Held holds what can't be pickled, so that nobody sees whether it keeps state"
    )


def above_the_mean(x: Tensor) -> Tensor:
    return (x - x.mean()).relu()


def branched_by_the_mean(x: Tensor) -> Tensor:
    return x.relu() if x.mean() > 0 else nn.functional.elu(x)


@pytest.mark.parametrize("name", [f"{__name__}.above_the_mean", f"{__name__}.branched_by_the_mean", "torch.msort"])
def test_what_looks_at_other_networks_numbers_is_not_stacked(name: str) -> None:
    assert unsupported({"_target_": name}) == f"{name} is not a function of one unit at a time"
