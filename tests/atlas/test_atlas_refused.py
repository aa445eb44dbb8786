"""What an atlas would leave unheeded, or fail at, is refused before any work."""

from collections.abc import Callable
from pathlib import Path

import pytest

OWN = "tests.network.own_activations"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data=sine", "loss=mse"], "loss=mse: an atlas compares accuracies; use cross_entropy or bce"),
        (["depth=0"], "depth=0: an atlas is of networks with hidden layers"),
        (["test=last"], "test=last: must be best for an atlas"),
        (["trainer.accelerator=gpu"], "trainer.accelerator=gpu: must be cpu for an atlas, or auto"),
        (["trainer.precision=bf16-true"], "trainer.precision=bf16-true is not known to the stack: an atlas trains in"),
        (["+trainer.limit_train_batches=0.5"], "trainer.limit_train_batches is not known to the stack: an atlas"),
        (
            ["optim._target_=torch.optim.Adagrad", "~optim.momentum", "~optim.nesterov"],
            "torch.optim.Adagrad is not written per member: an atlas trains in stacks alone",
        ),
        ([f"act={OWN}.hard"], f"act={OWN}.hard: {OWN}.hard does not let a gradient pass to everything before it: the"),
        ([f"act={OWN}.Frozen"], f"act={OWN}.Frozen: {OWN}.Frozen has parameters that are not learnt: the stacks of"),
    ],
)
def test_it_is_named_in_one_line(
    overrides: list[str], line: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    act = [] if overrides[0].startswith("act=") else ["act=relu"]
    assert command("+sweeps=atlas", "init=default", *act, *overrides, f"hydra.sweep.dir={tmp_path}/out") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_numbers_in_numpys_float64_take_the_networks_type(command: Callable[..., int], tmp_path: Path) -> None:
    brief = ["atlas.rates=[0.1]", "atlas.choosing=[5]", "atlas.seeds=[0,1]", "depth=2", "width=16", "trainer=cpu"]
    asked = ["+sweeps=atlas", f"act={OWN}.FromNumPy", "init=default", *brief, "trainer.max_epochs=1"]
    assert command(*asked, f"hydra.sweep.dir={tmp_path}", "hydra.launcher.processes=1") == 0
