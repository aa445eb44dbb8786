"""Parts of one's own are tried before any run."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD

from actsweep.errors import UserError
from actsweep.sweep import parts


class OfAnotherName(SGD):
    def step(self, again: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        return super().step(again)


class OfTensors(SGD):
    def __init__(self, params: Any, lr: float) -> None:
        assert all(isinstance(each, torch.Tensor) for each in params), "wants tensors"
        super().__init__(params, lr)


class Twice(SGD):
    """Computes the loss, goes a step, and does so again."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        super().step(closure)
        return super().step(closure)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("OfAnotherName", "OfAnotherName.step() got an unexpected keyword argument 'closure'"),
        ("OfTensors", "wants tensors"),
    ],
)
def test_an_optimiser_that_can_take_no_step_is_refused_before_any_run(name: str, line: str) -> None:
    with pytest.raises(UserError, match=f"^optim: .*{re.escape(line)}"):
        parts._try("optim", {"_target_": f"{__name__}.{name}", "lr": 0.1, "weight_decay": 0.0})


@pytest.mark.parametrize("name", [f"{__name__}.Twice", "torch.optim.LBFGS", "torch.optim.Rprop"])
def test_an_optimiser_may_compute_the_loss_itself(name: str) -> None:
    parts._try("optim", {"_target_": name, "lr": 0.1, "weight_decay": 0.0})
