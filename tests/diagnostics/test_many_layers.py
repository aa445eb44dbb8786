"""Layers are numbers: the hundredth comes after the ninety-ninth, not after the tenth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actsweep.report.figures.theory_by_layer import draw as theory_by_layer
from actsweep.report.figures.unit_classes import draw as unit_classes
from actsweep.report.page.histograms import histograms_of
from actsweep.report.page.layers import layers_of
from actsweep.results import run_folder
from actsweep.results.folders import Folders, measured
from actsweep.results.reading import Run, read_runs
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import result_of

DEPTH = 101
LAYERS = [f"layer_{number:02d}" for number in range(1, DEPTH + 1)]


@pytest.fixture
def deep(tmp_path: Path) -> list[Run]:
    """One run of 101 hidden layers, the hundredth wider; the value of a quantity is its layer's number."""
    sizes = [10] * 99 + [1000, 10]
    folder = tmp_path / "relu-d101-s0"
    folder.mkdir()
    run_folder.write_result(folder, result_of("relu", sizes, 0, "digits"))
    rows = [
        (epoch, 10 * epoch, layer, name, float(number))
        for epoch in (0, 3)
        for number, layer in enumerate(LAYERS, start=1)
        for name in ("pre_activation_rms", "pre_activation_rms_theory", "delta_ratio", "delta_ratio_theory")
    ]
    rows += [(3, 30, layer, "always_off", float(layer == "layer_100")) for layer in LAYERS]
    pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"]).to_csv(
        folder / "layers.csv", index=False
    )
    bins = [(0, 0, layer, "pre_activation", 0.0, 1.0, "1 2") for layer in LAYERS]
    columns = ["epoch", "step", "layer", "quantity", "low", "high", "counts"]
    pd.DataFrame(bins, columns=columns).to_csv(folder / "histograms.csv", index=False)
    return read_runs([tmp_path])


def test_the_pages_layers_are_in_order(deep: list[Run]) -> None:
    found = layers_of(settings_of(deep), Folders(), {})
    (rms,) = [each for each in found["quantities"] if each["name"] == "pre_activation_rms"]
    rms = rms["settings"][0]["ends"]["trained"]
    assert rms["layers"] == [str(number) for number in range(1, DEPTH + 1)]
    assert rms["mean"] == list(range(1, DEPTH + 1))


def test_measured_layers_are_in_order_whatever_the_order_of_rows() -> None:
    rows = [(1, 1, layer, "a", float(layer[6:])) for layer in ("layer_100", "layer_02", "layer_11")]
    table = pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])
    found = measured(table.astype({"layer": "category", "quantity": "category"}))["a"]
    assert (found.layers, found.values.tolist()) == (("layer_02", "layer_11", "layer_100"), [[2.0, 11.0, 100.0]])


def test_the_pages_histograms_are_in_order(deep: list[Run]) -> None:
    found = histograms_of(settings_of(deep), Folders(), {})["settings"][0]["quantities"]["pre_activation"]["layers"]
    numbers = [int(layer["name"]) for layer in found]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (1, DEPTH)


def test_the_figure_of_theory_is_drawn_in_order(deep: list[Run]) -> None:
    drawing = theory_by_layer(deep)
    assert drawing.table.query("quantity == 'pre_activation_rms'")["measured"].tolist() == pytest.approx(
        np.arange(1.0, DEPTH + 1)
    )
    assert np.asarray(drawing.figure.axes[0].lines[0].get_xdata()).tolist() == list(range(1, DEPTH + 1))


def test_a_units_share_is_weighed_by_its_own_layers_width(deep: list[Run]) -> None:
    assert unit_classes(deep).table["always_off"].tolist() == [pytest.approx(100 * 1000 / (1000 + 100 * 10))]
