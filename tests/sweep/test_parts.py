"""Parts of one's own are tried before any run."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import pytorch_lightning as L
import torch
from torch.optim import SGD

from actsweep.config.schema import Settings, Target
from actsweep.errors import UserError
from actsweep.sweep import parts
from tests.conftest import SMALL


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


class OfAList(L.Callback):
    def __init__(self, names: list[str], table: dict[str, int]) -> None:
        assert type(names) is list
        assert type(table) is dict


def test_a_callback_is_tried_with_what_a_run_gives_it(settings_for: Callable[..., Settings]) -> None:
    mine = {"_target_": f"{__name__}.OfAList", "names": ["a", "b"], "table": {"a": 1}}
    update = {"diagnostics": {"mine": Target.model_validate(mine)}}
    parts.check(settings_for(*SMALL).model_copy(update=update))


EARLY, TIMER = ({"_target_": f"pytorch_lightning.callbacks.{name}"} for name in ("EarlyStopping", "Timer"))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"mine": EARLY | {"monitor": "val_accuracy", "mode": "max"}},
            "diagnostics.mine: Lightning can't tell its state from that of the run's own, which stops it by patience, "
            "min_delta and monitor=val_accuracy",
        ),
        ({"one": TIMER, "two": TIMER}, "diagnostics.two: Lightning can't tell its state from that of diagnostics.one"),
        ({"mine": TIMER}, "diagnostics.mine: Lightning can't tell its state from that of trainer.max_time"),
        ({"mine": TIMER}, None),
        ({"mine": EARLY | {"monitor": "val_loss"}, "other": EARLY | {"monitor": "train_loss"}}, None),
    ],
)
def test_callbacks_whose_states_lightning_cant_tell_apart_are_refused_before_any_run(
    settings_for: Callable[..., Settings], given: dict[str, Any], line: str | None
) -> None:
    diagnostics = {name: Target.model_validate(each) for name, each in given.items()}
    words = ["+trainer.max_time=00:01:00:00"] if "max_time" in (line or "") else []
    settings = settings_for(*SMALL, *words).model_copy(update={"diagnostics": diagnostics})
    with pytest.raises(UserError, match=f"^{re.escape(line)}$") if line else nullcontext():
        parts.check(settings)
