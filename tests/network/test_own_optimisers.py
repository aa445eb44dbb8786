"""Optimisers of a person's own: what a run couldn't do as they ask is refused before any work; the rest is trained."""

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.network import trying
from tests.conftest import SMALL, weights_of

Made = Callable[..., torch.optim.Optimizer]


class Deque(SGD):
    """Keeps gradients, as AdaShift does, in what checkpoints, which are read as data, can't hold."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        weight = self.param_groups[0]["params"][0]
        self.state[weight].setdefault("past", deque(maxlen=2)).append(weight.grad.clone())
        return loss


class Lambda(SGD):
    def __init__(self, params: Any, **named: Any) -> None:
        super().__init__([each | {"rule": lambda: None} for each in params], **named)


class Counts(SGD):
    """Steps become shorter by a number that is in no state_dict."""

    made = 0

    def step(self, closure: Any = None) -> Any:
        self.made += 1
        self.param_groups[0]["lr"] = 0.1 / self.made
        return super().step(closure)


class Draws(SGD):
    """From Python's generator, which no run seeds."""

    def step(self, closure: Any = None) -> Any:
        self.param_groups[0]["lr"] = random.random()
        return super().step(closure)


class Averages(SGD):
    """As schedule-free ones: evaluated with other weights."""

    def eval(self) -> None: ...


class Ascends(SGD):
    """As SAM: first up the gradient that it finds, then down the one that the closure computes there."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for each in self.param_groups[0]["params"]:
            each.add_(0 if each.grad is None else each.grad)
        return super().step(closure)


class AsksNothing(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step()


class Around(torch.optim.Optimizer):
    """Takes another optimiser's class, with some of its arguments."""

    def __init__(self, params: Any, inner: Made, lr: float) -> None:
        self.inner = inner(params, lr=lr)
        super().__init__(self.inner.param_groups, {})
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        self.inner.param_groups, self.inner.state = self.param_groups, self.state

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Deque", "its state_dict can't be read from a checkpoint: it holds a collections.deque"),
        ("Lambda", "its state_dict can't be read from a checkpoint: "),
        ("Counts", "a resumed run would go on otherwise: it remembers what its state_dict doesn't hold"),
        ("Draws", "a resumed run would go on otherwise: .* or draws numbers that torch's seed doesn't fix"),
        ("Averages", "evaluates other weights than it trains"),
        ("Ascends", "its step moves the weights before it calls the closure"),
        ("AsksNothing", "its step doesn't call the closure"),
    ],
)
def test_an_optimiser_that_no_run_can_serve_is_refused(name: str, line: str) -> None:
    with pytest.raises(UserError, match=f"^optim: {line}"):
        trying.stepped({"_target_": f"{__name__}.{name}", "lr": 0.1})


def test_an_optimiser_may_be_given_another_one(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    inner = "{_target_: torch.optim.SGD, momentum: 0.9, _partial_: true}"
    without = ["~optim.momentum", "~optim.nesterov", "~optim.fused"]
    around = [f"optim._target_={__name__}.Around", f"+optim.inner={inner}", *without]
    for name, words in (("around", around), ("plain", ["optim.fused=false"])):
        settings = settings_for(*SMALL, "diagnostics=[]", *words)
        trying.stepped(settings.optim.plain())
        one_run.train(settings, tmp_path / name)
    one, other = (weights_of(tmp_path / name / "checkpoints/last.ckpt") for name in ("around", "plain"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS", "Adagrad", "Adadelta", "NAdam", "RAdam", "Rprop", "ASGD"])
def test_torchs_own_are_taken_by_either_path(name: str) -> None:
    paths = f"torch.optim.{name}", f"torch.optim.{name.lower()}.{name}"  # the module's name is deleted from torch.optim
    one, other = (trying.stepped({"_target_": path, "lr": 0.1}) for path in paths)
    assert torch.equal(one, other)
