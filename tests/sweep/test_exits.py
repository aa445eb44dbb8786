"""sys.exit() in code of a person's own ends the run or the part that called it, as an error does, not the command."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from actsweep.data.dataset import Dataset, Examples
from actsweep.errors import exits_are_errors
from tests.conftest import SMALL

OWN = __name__
Command = Callable[..., int]


class Leaves(nn.Module):
    """Calls sys.exit() where it is applied, or already where it is made."""

    def __init__(self, when: str = "applied") -> None:
        super().__init__()
        if when == "made":
            sys.exit(0)

    def forward(self, x: Tensor) -> Tensor:
        sys.exit()


def leaves() -> Dataset:
    sys.exit(0)


def scaled(x: Tensor) -> Tensor:
    sys.exit(0)


def with_scale() -> Dataset:
    return Dataset(Examples(torch.rand(8, 4), torch.arange(8) % 2), None, ("a", "b"), (4,), scaled)


@pytest.mark.parametrize("many", [[], ["-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([f"act={OWN}.Leaves"], f"act={OWN}.Leaves: {OWN}.Leaves on a layer of 16 units: RuntimeError: sys.exit() was"),
        ([f"act={OWN}.Leaves", "+act.when=made"], "RuntimeError: sys.exit(0) was called"),
        ([f"data.source._target_={OWN}.leaves"], f"data.source={OWN}.leaves: RuntimeError: sys.exit(0) was called"),
        ([f"data.source._target_={OWN}.with_scale"], "scale raises RuntimeError for the pool: sys.exit(0) was called"),
    ],
)
def test_before_any_run_it_is_a_mistake(
    many: list[str], asked: list[str], said: str, tmp_path: Path, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    key = "hydra.sweep.dir" if many else "hydra.run.dir"
    assert command(*many, *SMALL, *asked, f"{key}={tmp_path / 'there'}") == 2
    assert said in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "there").exists()


def test_an_exit_that_a_signal_asks_for_ends_the_program() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: sys.exit(-1))  # as submitit does
    try:
        with pytest.raises(SystemExit), exits_are_errors():
            signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    with pytest.raises(RuntimeError, match=r"sys.exit\(3\) was called"), exits_are_errors():
        sys.exit(3)
