"""An atlas in which a function stands more than once: copies, other protocols, other arguments; and odd functions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actsweep.report import atlas as page
from actsweep.report.atlas.standing import cell
from actsweep.statistics import atlas
from tests.atlas import made_up_atlas
from tests.atlas.test_atlas_table import run_of


def test_runs_given_twice_are_in_the_table_once_and_one_that_failed_gives_way() -> None:
    first = run_of("torch.sin", [0.0, 1.0], [0.5, 0.7]) | {"folder": "a"}
    failed = first | {"status": "failed", "error": "boom", "atlas": None}
    for runs in ([first, first | {"folder": "b"}], [failed, first]):
        table, excluded = atlas.tables(runs)
        assert list(table["status"]) == ["measured"]
        assert len(excluded) == 0


def test_a_function_with_several_arguments_is_one_of_each() -> None:
    runs = []
    for bend, accuracies in ((0.1, [0.5, 0.5]), (0.2, [0.9, 0.9])):
        runs.append(run_of("mine.Bent", [bend], accuracies))
        runs[-1]["config"]["act"] = {"_target_": "mine.Bent", "bend": bend}
    table, _ = atlas.tables([*runs, run_of("relu", [0.0], [0.7, 0.7])])
    assert list(table["act"]) == ["relu", "mine.Bent(bend=0.1)", "mine.Bent(bend=0.2)"]
    assert list(table["package"]) == ["actsweep", "mine", "mine"]
    assert list(table["accuracies"]) == ["0.7 0.7", "0.5 0.5", "0.9 0.9"]
    assert list(atlas.tables(runs[:1])[0]["act"]) == ["mine.Bent"]


def test_the_page_names_a_function_with_its_arguments(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8).replace({"act": {"elu": "my.parts.Bent(bend=0.2)"}})
    html = page.write(table, made_up_atlas.excluded(), tmp_path, ["my.parts.Bent(bend=0.2)"]).read_text()
    assert 'data-sort="Bent(bend=0.2)">Bent(bend=0.2)<span class="below">my.parts ' in html


def test_a_row_has_the_numbers_of_its_own_protocol(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8)
    shallow = table[table["act"] == "elu"].assign(protocol="other", accuracies="0.41 0.42 0.43", lr=0.0123)
    html = page.write(made_up_atlas.atlas(8), made_up_atlas.excluded(), tmp_path, ["elu"]).read_text()
    for mixed in ([table, shallow], [shallow, table]):
        assert page.write(pd.concat(mixed), made_up_atlas.excluded(), tmp_path, ["elu"]).read_text() == html


def test_of_a_function_without_theory_nothing_is_claimed(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8)
    of = ["low", "high", "monotone", "parity", "slope_low", "slope_high", "curve", "jumps", "kinks", "depth_scale"]
    table.loc[table["act"] == "elu", of] = np.nan
    html = page.write(table, made_up_atlas.excluded(), tmp_path).read_text()
    (row,) = [line for line in html.splitlines() if line.startswith('<tr data-act="elu"')]
    for name in ("monotone", "parity", "bounded", "smooth"):
        assert f'data-{name}="not known"' in row
    assert "nan" not in row


@pytest.mark.parametrize(("value", "sort"), [(np.inf, "Infinity"), (-np.inf, "-Infinity"), (np.nan, None), (2.0, 2.0)])
def test_infinite_numbers_are_sorted_as_numbers(value: float, sort: object) -> None:
    assert cell("", float(value))["sort"] == sort


def test_what_the_page_has_no_room_for_is_said_and_one_function_is_the_best_of_none(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8)
    sine = table[table["act"] == "tanh"]
    kaiming = sine[sine["init"] == "default"].assign(init="kaiming")
    html = page.write(pd.concat([sine, kaiming]), made_up_atlas.excluded(), tmp_path).read_text()
    assert "What was measured at init=kaiming stands in atlas.csv alone." in html
    assert "1 different function at torch’s initialisation." in html
    assert "of the next 0" not in html
