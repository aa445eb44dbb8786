"""The atlas: which functions there are and which can't be measured, what a function is, and its networks' numbers."""

import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from actsweep.atlas import fitness
from actsweep.atlas.measure import Trial, measure
from actsweep.config.schema import Atlas, Settings
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.statistics import atlas
from actsweep.theory import critical
from actsweep.theory.integrals import Function
from actsweep.theory.properties import properties
from actsweep.training.stack.activating import by_member, members_last, one_by_one, way
from actsweep.training.stack.stacks import train_group
from tests.conftest import SMALL, names_in

Make = Callable[..., Settings]
INF = math.inf
STUDY = OmegaConf.load(REPOSITORY / "sweeps" / "atlas.yaml")
TINY = [*SMALL, "diagnostics=[]", "patience=null", "threads=1", "trainer.max_epochs=1"]


class Rectified(nn.Module):
    """ReLU under another name, as a person would write it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))


class Picking(nn.Module):
    """Picks numbers out, which vmap can't follow, and learns a slope."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = x.clone()
        result[x < 0] = x[x < 0] * self.slope
        return result


class DrawsItsSlope(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.rand(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, self.slope * x)


def test_the_study_lists_each_of_the_projects_of_torchs_and_of_the_packages_functions_once() -> None:
    listed = [each.strip() for each in STUDY.hydra.sweeper.params.act.split(",")]
    assert len(set(listed)) == len(listed) == 469
    package = import_module("torch_activation")
    classes = {
        member
        for module in walk_packages(package.__path__, "torch_activation.")
        for member in vars(import_module(module.name)).values()
        if isinstance(member, type) and issubclass(member, nn.Module) and member.__module__ == module.name
    }
    theirs = [each for each in listed if each.startswith("torch_activation.")]
    assert {getattr(import_module(each.rpartition(".")[0]), each.rpartition(".")[2]) for each in theirs} == classes
    assert len(theirs) == len(classes) == 435
    assert [each for each in listed if "." not in each and each not in names_in("act")] == []
    chosen = [OmegaConf.load(REPOSITORY / "conf" / "act" / f"{act}.yaml")._target_ for act in names_in("act")]
    torchs = {f"torch.nn.{name}" for name in nn.modules.activation.__all__} - {"torch.nn.MultiheadAttention"}
    assert torchs - set(listed) <= set(chosen)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("torch.nn.Threshold", "needs arguments"),
        ("torch_activation.base.BaseActivation", "abstract"),
        ("torch.nn.GLU", "changes the shape"),
        ("torch_activation.CReLU", "changes the shape"),
        ("torch.nn.RReLU", "random"),
        ("torch.nn.Softmax2d", "raises"),
        ("math.pi", "raises"),
        ("torch.nn.functional", "raises"),
        ("torch.Tensor", "raises"),
        ("torch_activation.ABReLU", "not elementwise"),
        ("torch_activation.LSReLU", "not finite"),
        ("tests.network.own_activations.Counting", "keeps state"),
        ("torch_activation.Smish", None),
        (f"{__name__}.Picking", None),
    ],
)
def test_what_cant_be_measured_is_named_with_its_kind(act: str, kind: str | None) -> None:
    generator = torch.random.get_rng_state()
    found = fitness.unfit({"_target_": act})
    assert (found and found.kind) == kind
    assert found is None or found.reason
    assert torch.equal(torch.random.get_rng_state(), generator)


@pytest.mark.parametrize(
    ("module", "low", "high", "slopes", "words", "jumps", "kinks"),
    [
        (nn.ReLU(), 0, INF, (0, 1), ("increasing", "neither"), [], [0]),
        (nn.Hardtanh(-1, 1), -1, 1, (0, 1), ("increasing", "odd"), [], [-1, 1]),
        (nn.Tanh(), -1, 1, (0, 1), ("increasing", "odd"), [], []),
        (nn.Softsign(), -1, 1, (0, 1), ("increasing", "odd"), [], []),
        (nn.LogSigmoid(), -INF, 0, (0, 1), ("increasing", "neither"), [], []),
        (nn.SiLU(), -0.278465, INF, (-0.09984, 1.09984), ("no", "neither"), [], []),
        (nn.Identity(), -INF, INF, (1, 1), ("increasing", "odd"), [], []),
        (nn.Hardshrink(0.5), -INF, INF, (0, 1), ("increasing", "odd"), [-0.5, 0.5], []),
        (nn.Tanhshrink(), -INF, INF, (0, 1), ("increasing", "odd"), [], []),
    ],
)
def test_what_a_function_is_agrees_with_what_is_known_of_it(
    module: nn.Module, low: float, high: float, slopes: tuple[float, float], words: tuple[str, str],
    jumps: list[float], kinks: list[float],
) -> None:  # fmt: skip
    found = properties(Function(module))
    ends = [found.low, found.high, found.slope_low, found.slope_high]
    assert ends == pytest.approx([low, high, *slopes], abs=1e-4)
    assert (found.monotone, found.parity) == words
    assert found.jumps == pytest.approx(jumps, abs=1e-6)
    assert found.kinks == pytest.approx(kinks, abs=1e-6)


def test_functions_that_vmap_cant_follow_are_applied_member_by_member() -> None:
    module, learnt = Picking(), {"slope": torch.tensor([[0.5], [2.0]])}
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert way(module, ["slope"]) is one_by_one
    assert torch.equal(one_by_one(module, learnt, x), torch.where(x < 0, x * learnt["slope"].view(2, 1, 1), x))
    prelu, own = nn.PReLU(), {"weight": torch.tensor([[0.5], [2.0]])}
    assert way(prelu, ["weight"]) is by_member
    assert torch.equal(one_by_one(prelu, own, x), by_member(prelu, own, x))


class Branching(nn.Module):
    """Branches on what it learns; `whole`: on its numbers as well."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.slope, self.whole = nn.Parameter(torch.tensor([0.5])), whole

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.whole and x.abs().max() > 2:
            return 2 * self.slope * x
        return self.slope * x.sin() if self.slope < 1 else self.slope + x


@pytest.mark.parametrize("slopes", [(0.5, 0.7), (0.5, 2.0), (3.0, 2.0)])
def test_functions_that_branch_on_what_they_learn_are_applied_at_once_where_members_agree(
    slopes: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, learnt = Branching(), {"slope": torch.tensor(slopes).view(2, 1).requires_grad_()}
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert way(module, ["slope"]) is members_last
    with monkeypatch.context() as patch:
        if (slopes[0] < 1) == (slopes[1] < 1):
            patch.setattr("actsweep.training.stack.activating.one_by_one", None)
        y = members_last(module, learnt, x)
    expected = one_by_one(module, learnt, x)
    torch.testing.assert_close(y, expected)
    found, wanted = (torch.autograd.grad(each.cos().sum(), [x, learnt["slope"]]) for each in (y, expected))
    torch.testing.assert_close(found, wanted)


def test_functions_that_branch_on_all_their_numbers_are_applied_member_by_member() -> None:
    module, learnt = Branching(whole=True), {"slope": torch.tensor([[0.5], [0.7]])}
    x = torch.linspace(-3, 3, 24).view(2, 3, 4) * torch.tensor([1.0, 0.1]).view(2, 1, 1)  # one takes either branch
    assert torch.equal(members_last(module, learnt, x), one_by_one(module, learnt, x))


def of_atlas(settings: Settings, act: str, seeds: list[int]) -> Settings:
    protocol = Atlas(rates=[0.01, 0.1], choosing=[5], seeds=seeds)
    changed = {"act": settings.act.model_copy(update={"target": act}), "atlas": protocol}
    return settings.model_copy(update=changed | {"names": settings.names.model_copy(update={"act": act})})


def test_a_function_is_measured_on_the_networks_that_ordinary_runs_train(settings_for: Make, tmp_path: Path) -> None:
    base = settings_for(*TINY)
    settings = of_atlas(base, "torch.nn.Hardtanh", [0, 1])
    found = measure(settings, tmp_path / "whole")["atlas"]
    again = measure(settings, tmp_path / "again")["atlas"]
    assert {**found, "cost": 0} == {**again, "cost": 0}
    optim = base.optim.model_copy(update={"lr": found["lr"]})
    jobs = [
        (base.model_copy(update={"act": settings.act, "optim": optim, "seed": seed}), tmp_path / str(seed))
        for seed in (0, 1)
    ]
    for each, folder in jobs:
        run_folder.prepare(folder, each)
    train_group(jobs, torch.device("cpu"))
    results = [run_folder.read_result(folder) for _, folder in jobs]
    assert found["accuracies"] == [result["test_accuracy"] for result in results if result]
    assert found["lr"] == [0.01, 0.1][int(np.argmax(found["rates"]))]
    assert (found["learnt"], found["diverged"]) == (0, [])
    row = atlas.tables([json.loads((tmp_path / "whole" / "result.json").read_text())])[0].iloc[0]
    assert [float(each) for each in row["accuracies"].split(" ")] == pytest.approx(found["accuracies"], abs=1e-6)
    assert (row["package"], row["status"], row["kinks"]) == ("torch", "measured", "-1 1")


class Vanishing(nn.Module):
    """A slope of about 3e-5: gradients that pass eight of it are smaller than any normal float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3e-5 * x.tanh() + 0.5


def test_numbers_too_small_for_weights_to_feel_are_0_in_the_steps_alone(
    settings_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of_atlas(settings_for(*TINY, "depth=8"), f"{__name__}.Vanishing", [0])
    asked: list[bool] = []
    flush = torch.set_flush_denormal

    def noted(mode: bool) -> bool:
        asked.append(mode)
        return flush(mode)

    def trained() -> tuple[Trial, list[torch.Tensor]]:
        trial = Trial(settings, [(seed, 0.1) for seed in (0, 1)], observed=True)
        return trial, [block.values.detach().clone() for block in trial.stack.blocks.values()]

    monkeypatch.setattr(torch, "set_flush_denormal", noted)
    (flushed, weights), epochs = trained(), settings.trainer.max_epochs
    assert asked == [True, False] * epochs
    tiny = torch.tensor([1e-39])
    assert (tiny * 0.5).item() > 0
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: False)
    kept, others = trained()
    assert all(map(torch.equal, weights, others))
    assert (flushed.scores, flushed.accuracies) == (kept.scores, kept.accuracies)
    assert flushed.observations == kept.observations
    assert 0 < max(kept.observations["gradient_ratios"]["untrained"]) < 1e-30


def test_the_command_leaves_tables_and_page_and_repeats_nothing(command: Callable[..., int], tmp_path: Path) -> None:
    brief = ["atlas.rates=[0.1]", "atlas.choosing=[5]", "atlas.seeds=[0,1]", "depth=2", "width=16", "trainer=cpu"]
    own = f"act=step,torch.nn.GLU,{__name__}.Rectified"
    asked = ["+sweeps=atlas", own, *brief, "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}"]
    assert command(*asked, "hydra.launcher.processes=1") == 0
    table = pd.read_csv(tmp_path / "atlas.csv", keep_default_na=False)
    assert list(table["act"]) == ["step", "step", f"{__name__}.Rectified", f"{__name__}.Rectified"]
    assert list(table["status"]) == ["measured", "no edge", "measured", "measured"]
    assert "no gradient passes" in table["reason"][1]
    assert list(pd.read_csv(tmp_path / "atlas_excluded.csv")["act"]) == ["torch.nn.GLU"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    assert len(times) == 6
    (tmp_path / "atlas.html").unlink()
    assert command(*asked, "hydra.launcher.processes=1") == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")} == times
    assert f"{__name__}.Rectified" in (tmp_path / "atlas.html").read_text()


def test_a_persons_function_that_is_none_of_one_number_is_refused() -> None:
    with pytest.raises(ValueError, match="is another function after it was applied"):
        fitness.refuse("tests.network.own_activations.Counting", {"_target_": "tests.network.own_activations.Counting"})
    fitness.refuse("torch_activation.GLU", {"_target_": "torch_activation.GLU"})  # of the package: the table names it


def test_what_a_function_draws_when_it_is_made_is_the_same_whatever_was_drawn_before(
    settings_for: Make, tmp_path: Path
) -> None:
    settings, found = of_atlas(settings_for(*TINY), f"{__name__}.DrawsItsSlope", [0, 1]), []
    for before in (5, 6):
        torch.manual_seed(before)
        critical._solved.cache_clear()
        edge = critical.critical_of(settings.act.plain(), 1.0)
        found.append({**measure(settings, tmp_path / str(before))["atlas"], "cost": 0, "edge": edge})
    assert found[0] == found[1]
