"""bfloat16 in a stack: masters in float32, what autocast computes for lone networks, and what `auto` chooses."""

from pathlib import Path

import pytest
import torch

from actsweep import one_run
from actsweep.training import trainer_arguments
from actsweep.training.stack import stacks
from tests.training.stack.test_stack import CPU, Make, several, stacked_steps, train_stacked


def test_masters_stay_float32_and_ten_small_steps_add_up(settings_for: Make) -> None:
    """Each is less than half a bfloat16's last place: cast masters would stand still."""
    settings = several(settings_for, "trainer.precision=bf16-mixed", "optim.lr=1e-5", acts=["relu", "tanh"])
    steps = stacked_steps(settings)
    steps.precision = "bf16-mixed"
    before = [each.detach().clone() for each in steps.stack.weights()]
    train_stacked(steps, 10)
    for weight, start in zip(steps.stack.weights(), before, strict=True):
        assert weight.dtype == torch.float32
        assert (weight != start).float().mean() > 0.9
        assert torch.equal(weight.bfloat16(), start.bfloat16()) or (weight - start).abs().max() < 1e-3


def test_a_stack_in_bf16_learns_what_lone_runs_in_bf16_learn(settings_for: Make, tmp_path: Path) -> None:
    jobs = [
        (each, tmp_path / f"{row}")
        for row, each in enumerate(several(settings_for, "trainer.precision=bf16-mixed", acts=["relu", "tanh"]))
    ]
    stacks.train_group(jobs, CPU)
    for settings, folder in jobs:
        alone = one_run.train(settings, tmp_path / f"alone {folder.name}")
        found = stacks.run_folder.read_result(folder)
        assert found is not None
        assert found["val_loss"] == pytest.approx(alone["val_loss"], rel=0.05)


@pytest.mark.parametrize(
    ("fast", "width", "chosen"), [("AMX", 256, "bf16-mixed"), ("AMX", 32, "32-true"), (None, 256, "32-true")]
)
def test_auto_takes_bf16_where_it_is_fast_and_layers_are_large_and_says_so(
    settings_for: Make, fast: str | None, width: int, chosen: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(trainer_arguments, "_has_fast_bf16", lambda _: fast)
    trainer_arguments._say.cache_clear()
    settings = several(settings_for, "trainer.precision=auto", f"width={width}", acts=["relu"])
    assert {each.trainer.precision for each in settings} == {chosen}
    assert f"trainer.precision=auto: {chosen}, " in capsys.readouterr().out
