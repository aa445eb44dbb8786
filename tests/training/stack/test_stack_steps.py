"""What a stack notes of every step and of its histograms, and which of the studies in sweeps/ it takes."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from torch import Tensor, nn

from actsweep import composition, one_run
from actsweep.config.schema import Target
from actsweep.diagnostics.histograms import count_together, histogram
from actsweep.statistics import tuned
from actsweep.sweep import search
from actsweep.sweep.composing import Composing
from actsweep.training.stack import grouping, stacks
from tests.test_studies import STUDIES
from tests.training.stack.test_stack import CPU, DOUBLE, Make, assert_equal_to_alone, several

UNTRAINED = "untrained=true: nothing to train"
MOST = 60  # settings: those of the atlas are some hundred
NOT_STACKED = {  # settings of one seed
    "blog": {UNTRAINED: 6}, "born_dead": {UNTRAINED: 12},
    "atlas": {"atlas: each function at an initialisation has stacks of its own": MOST},
    "gradient_spread": {UNTRAINED: 2}, "notes05_chain": {UNTRAINED: 12}, "tutorial3_deep": {UNTRAINED: 1},
}  # fmt: skip


@pytest.mark.parametrize("decays", [(0.0, 0.01), (0.02, 0.01), (0.0, 0.0)])
def test_200_steps_are_noted_as_those_of_lone_runs(
    settings_for: Make, tmp_path: Path, decays: tuple[float, float]
) -> None:
    overrides = [
        DOUBLE,
        "diagnostics=[steps]",
        "data.steps_per_epoch=100",
        "data.replacement=true",
        "trainer.max_epochs=2",
        "norm=batch",
    ]
    clipped = "trainer.gradient_clip_val=0.1"
    jobs = [
        (each.model_copy(update={"optim": each.optim.model_copy(update={"weight_decay": decay})}), tmp_path / f"{row}")
        for row, (decay, each) in enumerate(
            zip(decays, several(settings_for, *overrides, clipped, acts=["relu"]), strict=True)
        )
    ]
    stacks.train_group(jobs, CPU)
    for settings, folder in jobs:
        one_run.train(settings, tmp_path / f"alone {folder.name}")
        found, alone = (pd.read_csv(place / "steps.csv") for place in (folder, tmp_path / f"alone {folder.name}"))
        assert len(found) == 200
        pd.testing.assert_frame_equal(found, alone, rtol=1e-10, atol=0)


def test_weights_whose_squares_are_infinite_are_no_penalty_of_a_run_that_has_none(
    settings_for: Make, tmp_path: Path
) -> None:
    huge = "act=tanh depth=1 width=4 data=spiral data.steps_per_epoch=2 optim.lr=1e22 trainer=cpu trainer.max_epochs=2"
    jobs = [
        (settings_for(*huge.split(), "diagnostics=[steps]", f"optim.l2={l2}"), tmp_path / str(l2)) for l2 in (0.0, 0.5)
    ]
    stacks.train_group(jobs, CPU)
    one_run.train(jobs[0][0], tmp_path / "alone")
    for table in ("epochs.csv", "steps.csv"):
        found, alone = (pd.read_csv(tmp_path / name / table) for name in ("0.0", "alone"))
        pd.testing.assert_frame_equal(found, alone, rtol=1e-5)
    assert alone["loss"].max() > 1e19


class Kinked(nn.Module):
    """Learns a matrix: a row of slopes for each sign of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([[0.1, 0.2], [0.7, 0.3]]))

    def forward(self, x: Tensor) -> Tensor:
        below, above = (row[0] * x + row[1] * x.tanh() for row in self.slopes)
        return torch.where(x < 0, below, above)


@pytest.mark.parametrize("optim", [["optim.weight_decay=0.01"], ["optim=rmsprop"], ["norm=batch"]])
def test_an_activation_that_learns_a_matrix_has_one_for_each_member(settings_for: Make, optim: list[str]) -> None:
    act = Target.model_validate({"_target_": f"{__name__}.Kinked"})
    base = several(settings_for, DOUBLE, "width=8", *optim, acts=["relu"], seeds=(0, 1, 2))
    settings = [each.model_copy(update={"act": act}) if each.seed else each for each in base]
    assert {grouping.reason_against(each) for each in settings} == {None}
    assert_equal_to_alone(sorted(settings, key=lambda each: each.act.target), 200, 1e-10)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_stacks_but_those_that_train_nothing(
    study: str, loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "learning_rate", lambda *_: 0.1)  # of a study that has not run here
    master = loader.load_configuration("config", [f"+sweeps={study}", "hydra.sweep.dir=x"], RunMode.MULTIRUN)
    HydraConfig.instance().set_config(master)
    jobs = search.grid(master, loader)
    of_one_seed = [job for job in jobs if not {each for each in job if each.startswith("seed=")} - set(jobs[0])]
    configs = Composing(loader).each(master, of_one_seed[:MOST])
    reasons = Counter(grouping.reason_against(composition.validated(each)) for each in configs)
    reasons = Counter({each: n for each, n in reasons.items() if each and "torch_activation" not in each})  # the best
    assert reasons == NOT_STACKED.get(study, {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [1, 7, 64])
def test_members_are_counted_as_histc_counts_each(bins: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(bins)
    values = torch.randn(7, 40, 50, generator=generator, dtype=dtype)
    values[1].relu_()
    values[2] = values[2].round()  # values on the bins' edges
    values[3] = 2.5
    values[4] *= 1e-30
    values[5, 0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    values[6] = torch.nan
    histc = [torch.histc(one.float(), bins, float(one.min()), float(one.max())) for one in values[:5]]
    together = count_together(values, bins)
    for found in (histogram(values[:5], bins), together):
        assert torch.equal(found.counts[:5], torch.stack(histc))
        assert torch.equal(found.low[:5], values[:5].flatten(1).amin(dim=1))
        assert torch.equal(found.high[:5], values[:5].flatten(1).amax(dim=1))
    assert torch.equal(histogram(values, bins).counts, together.counts)
    assert together.counts.sum(1).tolist() == [2000, 2000, 2000, 2000, 2000, 1997, 0]
