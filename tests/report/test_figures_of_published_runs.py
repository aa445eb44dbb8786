"""Figures that set runs beside published ones show those of the same network only."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from actsweep.report.figures.dead_units import draw as dead_units
from actsweep.report.figures.loss_over_steps import draw as loss_over_steps
from actsweep.report.figures.published_accuracy import draw as published_accuracy
from actsweep.report.figures.published_accuracy import one_more_run
from tests.results.made_up_runs import sweep, sweep_for


def test_published_counts_stand_beside_the_run_they_are_of(tmp_path: Path) -> None:
    tutorial = (512, 256, 256, 128)
    runs = sweep(tmp_path / "a", acts=["relu"], seeds=[42], sizes=[tutorial], data="fashion_mnist")
    table = dead_units(runs).table
    found = table[table["when"] == "untrained"].groupby("source")["dead_outputs"].apply(list).to_dict()
    assert found == {"actsweep": [0, 1, 2, 3], "PyTorch edition, seed 42": [0, 0, 3, 10], "JAX edition": [0, 0, 3, 7]}
    runs[0]["config"]["optim"]["lr"] = 0.1
    assert set(dead_units(runs).table.query("source != 'actsweep'")["when"]) == {"untrained"}
    for key, value in {"data": "digits", "init": "kaiming", "norm": "batch", "seed": 0}.items():
        assert set(dead_units([runs[0] | {key: value}]).table["source"]) == {"actsweep"}


def test_an_untrained_network_has_no_trained_panel(tmp_path: Path) -> None:
    assert set(dead_units(sweep(tmp_path, acts=["relu"], epochs=0)).table["when"]) == {"untrained"}


def test_published_accuracies_stand_beside_ours(tmp_path: Path) -> None:
    table = published_accuracy(sweep_for("published_accuracy", tmp_path)).table
    relu = table[table["act"] == "relu"].groupby("source")["accuracy"].apply(list).to_dict()
    assert relu == {"actsweep": [88.0, 89.0], "PyTorch edition, seed 42": [88.62], "JAX edition": [88.65]}


def test_a_published_run_is_held_against_the_interval_of_one_more_seed() -> None:
    seeds = [88.0, 88.4, 88.2, 89.1, 88.7]
    reach = stats.t.ppf(0.975, 4) * np.std(seeds, ddof=1) * math.sqrt(1 + 1 / 5)
    assert one_more_run(seeds) == pytest.approx((np.mean(seeds) - reach, np.mean(seeds) + reach), abs=1e-9)
    assert one_more_run([88.0]) is None


def test_another_network_is_not_compared_with_the_published_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no completed run is of the published network"):
        published_accuracy(sweep(tmp_path / "small", data="fashion_mnist"))
    runs = sweep_for("published_accuracy", tmp_path / "batches", acts=["relu"])
    runs[0]["config"]["data"]["batch_size"] = 64
    assert published_accuracy(runs).table.query("source == 'actsweep'")["seed"].tolist() == ["1"]


def test_published_losses_are_shown_for_the_notebooks_network_only(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0], sizes=[(50, 50)], data="spiral", steps=2500)
    assert "CS231n notebook" not in set(loss_over_steps(runs).table["source"])
    runs[0]["init"] = "notebook"
    runs[0]["config"]["optim"] |= {"lr": 0.1, "weight_decay": 0.001, "momentum": 0.0}
    table = loss_over_steps(runs).table.set_index(["source", "step"])["loss"]
    assert table["CS231n notebook"].to_dict() == {0: 1.116188, 1000: 0.275047, 2000: 0.152297}
    assert table["seed 0"][0] == pytest.approx(1.01)  # loss and penalty
    assert len(table["seed 0"]) == 1000
    source = runs[0]["config"]["data"]["source"]
    for changed, key, value in ((runs[0], "hidden_sizes", [9, 9]), (source, "noise", 0.1), (source, "points", 9)):
        before, changed[key] = changed[key], value
        assert "CS231n notebook" not in set(loss_over_steps(runs).table["source"])
        changed[key] = before
