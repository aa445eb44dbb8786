"""The figure of gradients from seed to seed: what it shows of runs whose distribution is known."""

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped]

from actsweep.report.figures.gradient_spread import draw
from tests.results.made_up_runs import sweep


def spread_over_seeds(folder: Path, seeds: int) -> list[dict[str, object]]:
    """Critical ReLU networks of two layers of five units: β = 5 (1/5 + 1/5) = 2, and the ratios are its quantiles."""
    runs = sweep(folder, acts=["relu"], seeds=range(seeds), sizes=[(5, 5)])
    for place, run in enumerate(runs):
        run["init"], run["config"]["act"] = "kaiming", {"_target_": "torch.nn.ReLU"}
        path = Path(run["folder"], "layers.csv")
        rows = pd.read_csv(path)
        at_start = (rows["epoch"] == 0) & rows["layer"].isin(["layer_01", "layer_02"])  # the output layer has none
        rows = rows[~(rows["quantity"].str.startswith("delta_ratio") & ~at_start)]
        log_ratio = stats.norm(-1, 2**0.5).ppf((place + 0.5) / seeds)
        rows.loc[at_start & (rows["quantity"] == "delta_ratio"), "value"] = 2.718281828459045 ** (log_ratio / 4)
        rows.loc[at_start & (rows["quantity"] == "delta_ratio_theory"), "value"] = 1.0
        rows.to_csv(path, index=False)
    return runs


def test_gradients_that_are_as_theory_says_are_said_to_be(tmp_path: Path) -> None:
    drawing = draw(spread_over_seeds(tmp_path, 100))
    assert len(drawing.table) == 100
    assert drawing.table["theory_mean"].unique() == pytest.approx([-1])
    assert drawing.table["theory_variance"].unique() == pytest.approx([2])
    assert drawing.table["log_ratio"].mean() == pytest.approx(-1)
    assert "mean -1.00 (theory -1.00)" in drawing.caption
    assert "Kolmogorov–Smirnov p = 1." in drawing.caption


def test_one_network_has_no_variance(tmp_path: Path) -> None:
    assert "variance – (theory 2.00)" in draw(spread_over_seeds(tmp_path, 1)).caption


def test_without_a_known_initialisation_only_the_measured_is_said(tmp_path: Path) -> None:
    drawing = draw(sweep(tmp_path, acts=["relu"], seeds=range(3), sizes=[(5, 5)]))
    assert len(drawing.table) == 3
    assert "theory not known" in drawing.caption
