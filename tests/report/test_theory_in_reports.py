"""Correlations, Jacobians and the band of 95 % of networks beside theory: in the figure and on the page."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actsweep.config.schema import Settings
from actsweep.report import reach
from actsweep.report.figures.accuracy_by_depth import draw as accuracy_by_depth
from actsweep.report.figures.born_dead import draw as born_dead
from actsweep.report.figures.theory_by_layer import draw
from actsweep.report.page.layers import layers_of
from actsweep.report.page.theory import theory_of
from actsweep.results import run_folder
from actsweep.results.folders import Folders
from actsweep.results.reading import Run
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import sweep

Rows = Sequence[tuple[str, str, float]]


def runs_with(folder: Path, rows: dict[str, Callable[[int], Rows]], seeds: int = 2) -> list[Run]:
    """Runs of two hidden layers whose layers.csv holds these rows of epoch 0: layer, quantity, value, by seed."""
    runs = sweep(folder, acts=list(rows), seeds=range(seeds), sizes=[(8, 8)])
    for run in runs:
        own = [(0, 0, f"layer_0{layer}", name, value) for layer, name, value in rows[run["act"]](run["seed"])]
        columns = ["epoch", "step", "layer", "quantity", "value"]
        pd.DataFrame(own, columns=columns).to_csv(Path(run["folder"], "layers.csv"), index=False)
    return runs


def correlations(seed: int) -> Rows:
    measured = [(layer, "correlation", 0.1 * seed - 0.1 * layer) for layer in (1, 2, 3)]
    return [*measured, (2, "correlation_theory", -0.2), (3, "correlation_theory", -0.3)]


def test_correlations_are_averaged_as_they_are_and_the_map_begins_in_the_first_layer(tmp_path: Path) -> None:
    drawing = draw(runs_with(tmp_path, {"tanh": correlations, "maxout": lambda seed: correlations(seed)[:3]}))
    own = drawing.table[drawing.table["act"] == "tanh"]
    assert own["measured"].tolist() == pytest.approx([-0.05, -0.15, -0.25])
    assert own["theory"].tolist() == pytest.approx([np.nan, -0.2, -0.3], nan_ok=True)
    (axes,) = drawing.figure.axes
    assert (axes.get_yscale(), axes.get_title()) == ("linear", "correlation of two inputs")
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines[:2]]
    assert lines[0] == pytest.approx([-0.05, -0.2, -0.3])
    assert lines[1] == pytest.approx([-0.05, -0.15, -0.25])
    assert "Of correlations at most 0.05. Theory says nothing of maxout." in drawing.caption
    assert "Bands" not in drawing.caption


def test_the_band_of_95_percent_of_networks_is_log_normal(tmp_path: Path) -> None:
    def ratios(seed: int) -> Rows:
        row = {"delta_ratio": 1.0 + seed, "delta_ratio_theory": 2.0, "delta_ratio_noise": 0.1}
        return [(1, name, value) for name, value in row.items()]

    drawing = draw(runs_with(tmp_path, {"relu": ratios}))
    # ln of the squared ratio has variance (2 · 0.1)², and its mean lies half of that below ln 2²
    ends = [2 * np.exp(0.5 * (-0.02 + sign * 1.96 * 0.2)) for sign in (-1, 1)]
    assert drawing.table[["measured", "theory", "low", "high"]].iloc[0].tolist() == pytest.approx(
        [np.sqrt(2), 2, *ends]
    )
    assert "Bands: 95 % of single networks by theory, at one example" in drawing.caption


def test_what_is_measured_later_in_the_first_epoch_is_not_of_the_untrained_network(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"tanh": correlations}, seeds=1)
    path = Path(runs[0]["folder"], "layers.csv")
    rows = pd.read_csv(path)
    later = rows[rows["quantity"] == "correlation"].assign(step=5, value=9.0)
    pd.concat([rows, later]).to_csv(path, index=False)
    assert draw(runs).table["measured"].tolist() == pytest.approx([-0.1, -0.2, -0.3])
    (quantity,) = (each for each in page(runs)["quantities"] if each["name"] == "correlation")
    assert quantity["settings"][0]["ends"]["untrained"]["mean"] == pytest.approx([-0.1, -0.2, -0.3])


def page(runs: list[Run]) -> dict[str, Any]:
    return layers_of(settings_of(runs), Folders(), {})


@pytest.mark.parametrize(
    ("init", "variances", "changed"),
    [
        ("default", (1 / 3, 1 / 1536), "+init.weight._target_=torch.nn.init.orthogonal_"),
        ("kaiming", (2, 0), "init.bias._target_=torch.nn.init.ones_"),
        ("lecun", (1, 0), "+init.weight.mode=fan_out"),
        ("variance", (1, 0), "init.weight.variance=4"),
        ("critical", None, "init.weight.variance=4"),
        ("xavier", None, "norm=none"),
    ],
)
def test_theory_is_of_initialisations_as_they_are_named(
    init: str, variances: tuple[float, float] | None, changed: str, settings_for: Callable[..., Settings]
) -> None:
    def run(*overrides: str) -> Run:
        return run_folder.asked(settings_for("act=tanh", f"init={init}", *overrides), "run")

    assert reach.variances(run()) == (variances and pytest.approx(variances))
    assert math.isnan(reach.reach(run())) == (init == "xavier")
    for other in (changed, "norm=layer", "norm=batch"):
        assert reach.variances(run(other)) is None
        assert math.isnan(reach.reach(run(other)))


def test_depths_of_theory_are_not_drawn_of_normalised_networks(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid"], seeds=[0], sizes=[(8,), (8, 8)], norm="layer")
    for run in runs:
        run["config"] |= {"norm": "layer", "act": {"_target_": "torch.nn.Sigmoid"}}
    assert accuracy_by_depth(runs).table["theory_depth"].isna().all()
    with pytest.raises(ValueError, match="without normalisation"):
        born_dead([run | {"act": "relu"} for run in runs])


def test_the_page_says_how_far_they_are_without_claiming_what_was_not_looked_for(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"tanh": correlations, "maxout": lambda seed: correlations(seed)[:3]})
    found = theory_of(settings_of(runs), page(runs))
    assert found is not None
    assert found["sentences"] == [
        "Of the means over seeds, half are within 5 % of theory, all within 5 %.",
        "Theory says nothing of maxout.",
    ]
    assert found["headings"] == ["n", "correlation, median error, %", "correlation, largest error, %", "deviates"]
    (row,) = found["rows"]
    assert [cell["text"] for cell in row["cells"]] == ["2", "5", "5", "–"]
    json.dumps(found)


def test_an_error_of_less_than_a_thousandth_is_told_in_its_own_digits(tmp_path: Path) -> None:
    close = {"pre_activation_rms": 0.635492, "pre_activation_rms_theory": 0.635108}  # of 0.6355 and 0.6351: 0.063 %
    runs = runs_with(tmp_path, {"tanh": lambda seed: [(1, name, value) for name, value in close.items()]})
    found = theory_of(settings_of(runs), page(runs))
    assert found is not None
    assert [cell["text"] for cell in found["rows"][0]["cells"][1:3]] == ["0.06", "0.06"]
