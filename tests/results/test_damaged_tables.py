"""Damaged tables: what is whole in them is used, by the page, the figures and `load` alike, and the rest is told."""

from pathlib import Path

import pandas as pd
import pytest

import actsweep
from actsweep.report.figures import learning_curves
from actsweep.report.page.curves import learning_curves as on_the_page
from actsweep.results.folders import Folders
from actsweep.results.reading import read_runs
from actsweep.statistics.setting import settings_of
from tests.report.page.conftest import add_run

ROWS = (
    "epoch,step,layer,quantity,value\n0,0,layer_01,grad_norm,nan\n1,5,layer_01,grad_norm,{}\n2,9,layer_01,grad_norm,3\n"
)


def test_a_value_that_is_no_number_is_left_out_and_not_taken_for_an_infinite_one(tmp_path: Path) -> None:
    (tmp_path / "layers.csv").write_text(ROWS.format("0.\x00\x00\x00"))
    folders = Folders()
    found = folders.layers({"name": "torn", "folder": str(tmp_path)})["grad_norm"]
    assert found.epochs.tolist() == [0, 2]
    assert folders.damaged == [("torn", "layers.csv: 1 unreadable rows are left out")]


def test_a_damaged_table_costs_a_figure_and_load_no_other_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, binary, cut = (add_run(tmp_path, "tanh", seed) for seed in range(3))
    (binary / "epochs.csv").write_bytes(b"\xff\x00epoch\n\x01\n")
    (cut / "epochs.csv").write_bytes((cut / "epochs.csv").read_bytes()[:-3])
    drawn = learning_curves.draw(read_runs([tmp_path])).table
    assert drawn[drawn["seed"].isin(["0", 0])]["epoch"].tolist() == [1, 2, 3, 4]
    assert drawn[drawn["seed"].isin(["2", 2])]["epoch"].tolist() == [1, 2, 3]
    loaded = actsweep.load(tmp_path)
    assert loaded.epochs.groupby("run").size().to_dict() == {str(whole): 4, str(cut): 3}
    assert pd.api.types.is_float_dtype(loaded.epochs["val_loss"])
    assert f"{binary}: epochs.csv: 'utf-8' codec can't decode" in (said := capsys.readouterr().err)
    assert f"{cut}: epochs.csv is cut off in its last line" in said


def test_a_column_of_text_costs_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, phases in enumerate((["warm", "warm", "cold", "cold"], [1.0, 1.0, 2.0, 2.0])):
        path = add_run(tmp_path, "tanh", seed) / "epochs.csv"
        pd.read_csv(path).assign(phase=phases, note=["", "", "", "ended"]).to_csv(path, index=False)
    loaded = actsweep.load(tmp_path)
    assert loaded.epochs["phase"].tolist() == ["warm", "warm", "cold", "cold", 1.0, 1.0, 2.0, 2.0]
    page = on_the_page(settings_of(read_runs([tmp_path])), Folders())["columns"]
    assert [each["settings"][0]["n"] for each in page] == [2] * (len(page) - 1) + [1]
    assert page[-1]["title"] == "phase"
    assert capsys.readouterr().err == ""
