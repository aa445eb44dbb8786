"""What is drawn: the seed fixes it and a checkpoint holds it, or it is refused before any work."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actsweep import predict
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.network import activations, trying
from tests.conftest import SMALL

HERE = __name__
UNSEEDED = "draws numbers that torch's seed doesn't fix, others in each run: draw them with torch"
UNKEPT = "draws numbers when it is made that no checkpoint holds: make them parameters or buffers"

UNCOUNTED = "changes, as it is applied, by numbers that no checkpoint holds: make them buffers"


class Constant(nn.Module):
    """sin w x: w is drawn when it is made."""

    def __init__(self, held: str) -> None:
        super().__init__()
        drawn = 1 + torch.rand(())
        self.w = {"attribute": lambda: drawn.item(), "buffer": lambda: nn.Buffer(drawn),
                  "parameter": lambda: nn.Parameter(drawn)}[held]()  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w * x)


class Products(nn.Module):
    """Multiplies with a matrix in NumPy's type: works as all of the network's numbers have one type."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Buffer(torch.from_numpy(np.eye(6)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.own


class Counted(nn.Module):
    """Each one that is made is steeper."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.made += 1
        self.slope = Counted.made

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.slope / 10 * x)


class OfNumPy(nn.Module):
    """A slope of NumPy's random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(np.random.rand())))  # noqa: NPY002  # as people do

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x


class Annealed(nn.Module):
    """Less noisy the more often it was applied in training, of which it keeps count."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.applied: Any = nn.Buffer(torch.zeros(())) if held == "buffer" else 0

    def forward(self, x: Tensor) -> Tensor:
        self.applied += int(self.training)
        return x + torch.randn_like(x) / self.applied if self.training else x.tanh()


def noisy(x: Tensor) -> Tensor:
    return x + random.random()


def sharpened(x: Tensor) -> Tensor:
    return x.sin() * 2


def new_(weight: Tensor) -> Tensor:
    """Has an underscore, and returns another tensor nevertheless."""
    return torch.randn(weight.shape)


def numpys_(weight: Tensor) -> Tensor:
    return weight.copy_(torch.from_numpy(np.random.randn(*weight.shape)))  # noqa: NPY002


def doubled_(weight: Tensor) -> Tensor:
    """nn.Linear's own, twice as large."""
    return weight.mul_(2)


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("Constant", {"held": "attribute"}, UNKEPT),
        ("OfNumPy", {}, UNSEEDED),
        ("noisy", {}, UNSEEDED),
        ("Counted", {}, UNSEEDED),
        ("Annealed", {"held": "attribute"}, UNCOUNTED),
        ("Annealed", {"held": "buffer"}, None),
        ("Constant", {"held": "buffer"}, None),
        ("Constant", {"held": "parameter"}, None),
    ],
)
def test_an_activation_draws_what_the_seed_fixes_and_a_checkpoint_holds(
    name: str, arguments: dict[str, str], fault: str | None
) -> None:
    description = {"_target_": f"{HERE}.{name}", **arguments}
    if fault is None:
        trying.check(description, [6])
        return
    with pytest.raises(UserError) as refused:
        trying.check(description, [6])
    assert str(refused.value).endswith(f" on a layer of 6 units: {fault}")


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true"])
def test_what_is_drawn_is_looked_for_in_the_networks_type(precision: str) -> None:
    trying.check({"_target_": f"{HERE}.Products"}, [6], precision)


def test_functions_of_torchs_compiler_are_functions() -> None:
    with pytest.warns((FutureWarning, DeprecationWarning), match="deprecated|not supported"):
        scripted = torch.jit.script(sharpened)
    x = torch.linspace(-2, 2, 8).view(2, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{HERE}.sharpened", scripted)
        trying.check({"_target_": f"{HERE}.sharpened"}, [4])
        assert torch.equal(activations.build({"_target_": f"{HERE}.sharpened"})(x), x.sin() * 2)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["+init.weight.mode=fan_inn"], "init=kaiming, act=relu: ValueError: Mode fan_inn not supported"),
        (["+init.weight.gian=2"], "init=kaiming, act=relu: TypeError: kaiming_normal_() got an unexpected keyword arg"),
        (
            [f"init.weight={{_target_: {HERE}.new_}}"],
            f"init={HERE}.new_, act=relu: leaves the weights as they are: a function must fill the tensor",
        ),
        (
            ["init.bias._target_=torch.zeros_like"],
            "init=kaiming, act=relu: leaves the biases as they are: a function must fill the tensor that it is given",
        ),
        (
            [f"init.weight={{_target_: {HERE}.numpys_}}"],
            f"init={HERE}.numpys_, act=relu: draws weights that torch's seed doesn't fix, others in each run",
        ),
    ],
)
@pytest.mark.parametrize("many", [(), ("-m", "seed=0,1")])
def test_an_initialiser_that_would_fail_or_do_nothing_is_refused_before_any_work(
    many: tuple[str, ...], overrides: list[str], line: str, command: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    where = [f"hydra.run.dir={tmp_path}/out", f"hydra.sweep.dir={tmp_path}/out"]
    delete = ["~init.weight.nonlinearity"] if "_target_" in overrides[0] and "weight" in overrides[0] else []
    assert command(*many, *SMALL, "init=kaiming", *overrides, *delete, *where) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_theory_refuses_them_too(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(UserError, match="unexpected keyword argument 'gian'"):
        predict.predict(settings_for("init=xavier", "+init.weight.gian=2"))


def test_an_initialiser_may_change_what_torch_drew_and_is_given_numbers_for_any_function(
    settings_for: Callable[..., Settings],
) -> None:
    from actsweep.sweep import parts

    parts.check(settings_for(*SMALL, f"+init.weight._target_={HERE}.doubled_"))
    given = settings_for(*SMALL, "act=torch.sin", "init=matching", "+init.by_act.torch.sin=1.5")
    assert given.init.gain == 1.5
    parts.check(given)
