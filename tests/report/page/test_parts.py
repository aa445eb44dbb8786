"""What the page is made of: its tables, its embedded data, its imports, and theory beside measurement."""

import ast
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actsweep.report import page, wording
from actsweep.report.page.layers import mean_over_seeds
from actsweep.report.summary import summarise
from actsweep.results.folders import Folders, measured
from actsweep.results.reading import read_runs
from actsweep.statistics.setting import settings_of
from tests.report.page.conftest import Open, Opened, add_run, written


def test_rows_before_a_tables_torn_end_are_kept(tmp_path: Path) -> None:
    run = {"name": "torn", "folder": str(tmp_path)}
    (tmp_path / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\n0,0,layer_01,grad_norm,nan\n1,5,layer_01,grad_norm,0.0"
    )
    folders = Folders()
    table = folders.read(run, "layers", ("epoch", "step", "layer", "quantity", "value"))
    assert table is not None
    assert table["epoch"].tolist() == [0]
    assert folders.damaged == [("torn", "layers.csv is cut off in its last line, which is left out")]


def test_means_are_geometric_where_asked_and_keep_zeros_and_infinities() -> None:
    stack = np.array([[1.0, 0.0, np.inf, np.nan, 3.0], [100.0, 4.0, 1.0, np.nan, np.nan]])
    assert mean_over_seeds(stack, logarithmic=True) == pytest.approx([10, 0, math.inf, math.nan, 3], nan_ok=True)
    assert mean_over_seeds(stack, logarithmic=False) == pytest.approx([50.5, 2, math.inf, math.nan, 3], nan_ok=True)


def test_embedded_data_can_not_end_the_element_it_stands_in() -> None:
    data = {"a": "</script><!--&\u2028\u2029"}
    text = str(wording.embedded(data))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data


def test_the_same_runs_give_the_same_page_and_nothing_else_is_left(sweep: Path, tmp_path: Path) -> None:
    runs = settings_of(read_runs([sweep]))
    first = page.write(summarise(runs, {}), tmp_path).read_bytes()
    assert page.write(summarise(runs, {}), tmp_path).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [".actsweep", "report.html"]
    with pytest.raises(ValueError, match="at least one run"):
        summarise([], {})


def imported(module: str, known: set[str]) -> set[str]:
    """The module and all of actsweep that it imports, directly or not."""
    path = Path("src", *module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in known or not module.startswith("actsweep.") or not source.is_file():
        return known
    known.add(module)
    for node in ast.walk(ast.parse(source.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for name in [base.rstrip("."), *(base + name for name in names)] if names else []:
            imported(name, known)
    return known


def test_the_page_needs_none_of_the_code_that_trains() -> None:
    modules = imported("actsweep.report.page", set())
    assert {
        "actsweep.report.page.layers",
        "actsweep.statistics.setting",
        "actsweep.statistics.inference",
        "actsweep.report.dataset",
    } <= modules
    assert [name for name in modules if re.match(r"actsweep\.(train|training|network|diagnostics)\b", name)] == []


def test_several_measurements_in_an_epoch_are_told_apart_by_their_step() -> None:
    rows = [(1, 10, "layer_01", "a", 1.0), (1, 20, "layer_01", "a", 2.0), (1, 20, "layer_01", "b", 3.0)]
    table = pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])
    found = measured(table.astype({"layer": "category", "quantity": "category"}))
    assert (found["a"].by_step, found["a"].times.tolist(), found["a"].values.tolist()) == (
        True,
        [10, 20],
        [[1.0], [2.0]],
    )
    assert (found["b"].by_step, found["b"].times.tolist()) == (False, [1])


def add_theory(run: Path, factor: float, deviates: Sequence[str] = ()) -> None:
    """Predictions of 0.5 per layer for both factors, measurements `factor` times that, and where they part."""
    table = pd.read_csv(run / "layers.csv")
    rows: list[tuple[int, int, str, str, float]] = []
    for layer in sorted(table["layer"].unique()):
        names = ("pre_activation_rms",) if layer == max(table["layer"]) else ("pre_activation_rms", "delta_ratio")
        rows += [(0, 0, layer, f"{name}_theory", 0.5) for name in names]
        rows += [(0, 0, layer, name, 0.5 * factor) for name in names]
        rows.append((0, 0, layer, "theory_deviates", float(layer in deviates)))
    pd.concat([table, pd.DataFrame(rows, columns=table.columns)]).to_csv(run / "layers.csv", index=False)


def test_theory_stands_beside_measurement_and_where_they_part_is_said(tmp_path: Path, open_page: Open) -> None:
    for seed in (0, 1):
        add_theory(add_run(tmp_path, "tanh", seed), 1.02)
        add_theory(add_run(tmp_path, "relu", seed), 1.5, ["layer_02"] if seed else [])
    opened = open_page(written(tmp_path))
    assert opened.problems == []
    said = opened.text("#theory .verdict")
    assert said.startswith(
        "Theory and measurement deviate by more than 4 standard deviations of networks this wide in 1 of "
    )
    assert "in 1 of 16 layers of all untrained networks: relu (layer 2; 2 runs)" in said
    assert "half are within 26 % of theory, all within 50 %" in said
    lines = opened.view.locator("#theory tbody tr").all_inner_texts()
    assert [line.split() for line in lines] == [["tanh", "2", *"2222", "0/8"], ["relu", "2", *["50"] * 4, "1/8"]]
    traces = opened.traces("theory")
    assert [trace["mode"] for trace in traces] == ["lines", "markers"] * 4
    assert traces[0]["y"] == [0.5] * 4
    assert traces[1]["y"] == [0.51] * 4
    assert traces[1]["text"][0] == "tanh, layer 1: measured 0.51 (0.51 to 0.51, n = 2), theory 0.5, error 2 %"


def test_the_correlation_map_and_the_band_of_single_networks_are_drawn(tmp_path: Path, open_page: Open) -> None:
    run = add_run(tmp_path, "tanh", 0)
    add_theory(run, 1.02)
    table = pd.read_csv(run / "layers.csv")
    rows = [(0, 0, "layer_01", "delta_ratio_noise", 0.1), (0, 0, "layer_02", "correlation_theory", -0.2)]
    rows += [(0, 0, f"layer_0{layer}", "correlation", -0.1 * layer) for layer in (1, 2)]
    pd.concat([table, pd.DataFrame(rows, columns=table.columns)]).to_csv(run / "layers.csv", index=False)
    opened = open_page(written(tmp_path))
    assert opened.problems == []
    traces = opened.traces("theory")
    assert [trace["mode"] for trace in traces] == ["lines", "markers", *["lines"] * 3, "markers", "lines", "markers"]
    high, low = (trace["y"] for trace in traces[2:4])
    assert (low[0], high[0]) == pytest.approx([0.5 * math.exp(sign * 0.196 - 0.01) for sign in (-1, 1)])
    assert (low[1], high[1]) == (None, None)
    assert (traces[6]["y"], traces[7]["y"]) == ([-0.1, -0.2], [-0.1, -0.2])
    assert traces[7]["text"][1] == "tanh, layer 2: measured −0.2, theory −0.2, difference 0"


def test_agreement_with_theory_is_said_too_and_without_predictions_nothing(tmp_path: Path, wide: Opened) -> None:
    add_theory(add_run(tmp_path, "tanh", 0), 1.02)
    html = written(tmp_path).read_text()
    assert "No layer of the 1 untrained network deviates from mean-field theory by more than 4" in html
    assert wide.view.locator("#theory, [data-figure=theory]").count() == 0
