"""On a GPU: a captured CUDA graph computes what the same steps do one by one. Defined only where there is one."""

from collections.abc import Callable
from pathlib import Path

import torch

from actsweep.config.schema import Settings
from actsweep.results import run_folder
from actsweep.training.stack.training import Training
from tests.conftest import SMALL

if torch.cuda.is_available():

    def _trained(settings: list[Settings], folder: Path, is_captured: bool) -> list[dict[str, torch.Tensor]]:
        """Two epochs, the second with a tenth of the learning rate."""
        training = Training([(each, folder / str(row)) for row, each in enumerate(settings)], torch.device("cuda", 0))
        assert training.steps.graph is not None
        if not is_captured:
            training.steps.graph = None
        training.each(lambda _, member: member.open())
        training.diagnoses.start()
        training.epoch(0)
        training.optimiser.numbers["lr"] *= 0.1
        training.epoch(1)
        return [training.stack.state_dict(row) for row in range(len(settings))]

    def test_a_graph_equals_eager_steps_bit_for_bit(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
        given = ["trainer=gpu", "trainer.max_epochs=3"]
        for optim in ("sgd", "adam", "adamw"):
            settings = [
                settings_for(*SMALL, *given, f"optim={optim}", f"act={act}", f"seed={seed}")
                for act in ("prelu", "relu", "tanh") for seed in (0, 1)
            ]  # fmt: skip
            captured, eager = (_trained(settings, tmp_path / f"{optim}{flag}", flag) for flag in (True, False))
            for one, other in zip(captured, eager, strict=True):
                assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_stack_on_the_gpu_ends_with_results(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
        settings = [settings_for(*SMALL, "trainer=gpu", "trainer.max_epochs=8", f"seed={seed}") for seed in (0, 1, 2)]
        jobs = [(each, tmp_path / str(each.seed)) for each in settings]
        Training(jobs, torch.device("cuda", 0)).run()
        for _, folder in jobs:
            result = run_folder.read_result(folder)
            assert result is not None
            assert result["status"] == "completed"
            assert result["test_accuracy"] > 0.3
