"""steps.csv of somebody's own module: a row a step, each with the loss that its step was taken for."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from actsweep.callbacks import ActivationCurve, Diagnosis, EveryStep, Tables
from actsweep.diagnostics.predictions import DecisionRegions
from actsweep.errors import UserError
from tests.diagnostics.test_faults_of_callbacks import DATA, Gan, Plain
from tests.diagnostics.test_zoo import fit


class Noting(Plain):
    """Notes its losses, and breaks off at a batch if told to."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.breaks_at, self.losses = breaks_at, list[float]()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        if batch_idx == self.breaks_at:
            raise RuntimeError("broken off")
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss


class ByHand(Noting):
    """Manual optimisation; `way`: how the loss goes backward."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.automatic_optimization, self.way = False, way

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        if self.way == "raw":
            loss.backward()
        else:
            self.manual_backward(loss)
        optimizer.step()
        return None if self.way == "Lightning's" else loss


class Bfgs(Noting):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=5)


def steps_of(module: Noting, folder: Path, data: Any = DATA, **arguments: Any) -> pd.DataFrame:
    fit(module, data, [EveryStep()], logger=Tables(folder), **arguments)
    return pd.read_csv(folder / "steps.csv")


def test_the_loss_of_an_accumulated_step_is_the_mean_of_its_batches(tmp_path: Path) -> None:
    data = TensorDataset(*(each.repeat(2, *[1] * (each.ndim - 1))[:40] for each in DATA.tensors))
    found = steps_of(module := Noting(), tmp_path, data, accumulate_grad_batches=3)  # three batches, then two
    means = [sum(each) / len(each) for each in (module.losses[:3], module.losses[3:])]
    assert found["step"].tolist() == [0, 1]
    assert found["loss"].tolist() == pytest.approx(means, rel=1e-6)


def test_mixed_precision_scales_neither_loss_nor_gradients(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    found = steps_of(module := Noting(), tmp_path / "mixed", plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert found["loss"].tolist() == pytest.approx(module.losses, rel=1e-3)
    torch.manual_seed(0)
    whole = steps_of(Noting(), tmp_path / "whole")
    assert found["grad_mean_abs/first"].tolist() == pytest.approx(whole["grad_mean_abs/first"].tolist(), rel=1e-2)


def test_a_step_that_computes_the_loss_several_times_is_one_row_with_the_first(tmp_path: Path) -> None:
    found = steps_of(module := Bfgs(), tmp_path)
    assert len(module.losses) > 3
    assert found["step"].tolist() == [0, 1, 2]
    assert found["loss"][0] == pytest.approx(module.losses[0], rel=1e-6)


@pytest.mark.parametrize("way", ["raw", "Lightning's", "both"])
def test_a_loss_that_goes_backward_by_hand_is_noted(way: str, tmp_path: Path) -> None:
    found = steps_of(module := ByHand(way), tmp_path)
    assert found["loss"].tolist() == pytest.approx(module.losses, rel=1e-6)


def test_a_fit_that_broke_off_leaves_its_rows_and_nothing_in_the_next_ones(tmp_path: Path) -> None:
    callback = EveryStep()
    with pytest.raises(RuntimeError, match="broken off"):
        fit(module := Noting(breaks_at=2), DATA, [callback], logger=Tables(tmp_path / "first"))
    broken = pd.read_csv(tmp_path / "first" / "steps.csv")
    assert broken["step"].tolist() == [0, 1]
    assert broken["loss"].tolist() == pytest.approx(module.losses)
    fit(Noting(), DATA, [callback], logger=Tables(tmp_path / "second"))
    assert pd.read_csv(tmp_path / "second" / "steps.csv")["step"].tolist() == [0, 1, 2]


class SecondLayer(Noting):
    """Calls its layers as many people do."""

    def __init__(self) -> None:
        super().__init__()
        self.l2 = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.l2(super().forward(x))
        return outputs


def test_a_layer_called_l2_is_no_penalty(tmp_path: Path) -> None:
    assert steps_of(SecondLayer(), tmp_path)["penalty"].tolist() == [0, 0, 0]


def test_where_no_logger_keeps_tables_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        fit(Noting(), DATA, [EveryStep(), ActivationCurve()])
    said = "writes nothing: no logger keeps tables, as actsweep.callbacks.Tables does"
    assert [message for message in caplog.messages if "writes" in message] == [
        f"EveryStep {said}",
        f"ActivationCurve {said}",
    ]


def test_a_curve_of_a_module_that_names_no_activation_is_missed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        fit(Noting(), DATA, [ActivationCurve()], logger=Tables(tmp_path))
    assert "ActivationCurve writes nothing: Noting has no method taps()" in caplog.messages


def test_a_layer_that_is_made_when_it_is_used_first_is_noted(tmp_path: Path) -> None:
    class Lazy(Noting):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LazyLinear(8)  # type: ignore[assignment]

    found = steps_of(Lazy(), tmp_path)
    layers = [name for name in found if name.startswith("grad_mean_abs/")]
    assert sorted(layers) == ["grad_mean_abs/first", "grad_mean_abs/last"]


@pytest.mark.parametrize("raw", [False, True])
def test_of_two_optimisers_a_row_has_the_layers_of_the_one_that_steps(
    raw: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        fit(Gan(raw), DATA, [EveryStep()], logger=Tables(tmp_path))
    said = "EveryStep writes nothing of this epoch: no step was taken that Lightning knows of"
    assert (said in caplog.messages) == raw == (not (tmp_path / "steps.csv").exists())
    if not raw:
        found = pd.read_csv(tmp_path / "steps.csv").notna()
        assert found["grad_mean_abs/critic.0"].tolist() == [True, False] * 3
        assert found["grad_magnitude/generator.0"].tolist() == [False, True] * 3


class Predicts(ByHand):
    """Returns from its training step what is no loss."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        super().training_step(batch, batch_idx)
        return self(batch[0]).argmax(dim=1)  # type: ignore[no-any-return]


def test_what_a_training_step_by_hand_returns_need_be_no_loss(tmp_path: Path) -> None:
    diagnosis = Diagnosis()
    fit(Predicts("raw"), DATA, [EveryStep(), diagnosis], logger=Tables(tmp_path))
    assert pd.read_csv(tmp_path / "steps.csv")["loss"].isna().all()
    assert "train_loss" not in diagnosis._epochs[0]


@pytest.mark.parametrize("low", ["a", None, -math.inf, math.nan, 5.0])
def test_a_curve_between_what_are_no_two_numbers_is_refused(low: Any) -> None:
    with pytest.raises(UserError, match=f"needs numbers low < high, not {low} and 5.0"):
        ActivationCurve(low=low)


@pytest.mark.parametrize("margin", ["a", None, math.inf, -0.1])
def test_regions_around_the_data_by_what_is_no_width_are_refused(margin: Any) -> None:
    with pytest.raises(UserError, match=f"DecisionRegions.margin={margin}: must be a number, at least 0"):
        DecisionRegions(margin=margin)


@pytest.mark.parametrize("make", [ActivationCurve, DecisionRegions])
def test_a_grid_has_a_whole_number_of_points(make: Callable[..., object]) -> None:
    with pytest.raises(UserError, match=r"points=2.5: must be a whole number, at least 2"):
        make(points=2.5)
