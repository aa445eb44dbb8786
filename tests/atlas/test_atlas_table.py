"""The atlas' table: who is equal to whom, what failed, and where a person's own function stands among all."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from actsweep.atlas.measure import fingerprint
from actsweep.network import activations
from actsweep.report import atlas as page
from actsweep.report import writing
from actsweep.statistics import atlas
from actsweep.statistics.setting import Setting
from tests.atlas import made_up_atlas
from tests.atlas.test_atlas_study import Rectified


def run_of(act: str, values: list[float], accuracies: list[float], **known: object) -> dict[str, Any]:
    found = {"unfit": None, "learnt": 0, "values": values, "accuracies": accuracies, "diverged": []}
    found |= {"curve": values} | known
    config = {"atlas": {"rates": [0.1]}, "trainer": {"max_epochs": 20}, "act": {"_target_": act}}
    return {"act": act, "init": "default", "status": "completed", "classes": 10, "config": config, "atlas": found}


def test_the_table_marks_equal_functions_and_names_what_failed() -> None:
    relu, other = fingerprint(nn.ReLU()), fingerprint(Rectified())
    failed = run_of("torch_activation.Z", [], []) | {"status": "failed", "error": "ValueError: no"}
    runs = [run_of("torch_activation.A", other, [0.1, 0.9]), run_of("relu", relu, [0.5, 0.7]), failed]
    table, excluded = atlas.tables(runs)
    assert list(table["act"]) == ["relu", "torch_activation.A"]
    assert list(table["same_as"]) == ["", "relu"]
    assert list(table["trained"]) == ["1", "0.5"]
    assert excluded.to_dict("records") == [
        {
            "act": "torch_activation.Z",
            "package": "torch_activation",
            "kind": "raises",
            "reason": "init=default: ValueError: no",
        }
    ]


def test_a_persons_function_stands_among_those_of_the_committed_table_of_the_same_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [run_of(f"torch_activation.F{place}", [float(place)], [place / 10] * 2) for place in range(6)]
    committed, _ = atlas.tables(known)
    other = committed.assign(protocol="0", act="torch_activation.Other")
    pd.concat([committed, other]).to_csv(tmp_path / "atlas.csv", index=False)
    committed.head(0).to_csv(tmp_path / "unfit.csv", index=False)
    monkeypatch.setattr(atlas, "COMMITTED", tmp_path / "atlas.csv")
    monkeypatch.setattr(atlas, "EXCLUDED", tmp_path / "unfit.csv")
    table, _, own = atlas.among_all(*atlas.tables([run_of("torch.sin", [3.0], [0.35, 0.35])]))
    assert own == ["torch.sin"]
    assert len(table) == 7
    assert table.loc[table["act"] == "torch.sin", "same_as"].item() == "torch_activation.F3"
    assert atlas.best(3) == ["torch_activation.F5", "torch_activation.Other", "torch_activation.F4"]
    where = "place 3 of 6, as torch_activation.F3, which it equals"  # among the different ones, as on the page
    assert atlas.places(table, own) == [f"torch.sin, init=default: mean test accuracy 35.00%, {where}"]


def test_of_a_function_of_ones_own_that_learns_no_table_says_whom_it_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a·tanh(x) and tanh(a·x) are alike before they learn."""
    committed, unfit = atlas.tables([run_of("torch_activation.F", [1.0], [0.5], learnt=1)])
    committed.to_csv(tmp_path / "atlas.csv", index=False)
    unfit.to_csv(tmp_path / "unfit.csv", index=False)
    monkeypatch.setattr(atlas, "COMMITTED", tmp_path / "atlas.csv")
    monkeypatch.setattr(atlas, "EXCLUDED", tmp_path / "unfit.csv")
    table, _, own = atlas.among_all(*atlas.tables([run_of("torch.sin", [1.0], [0.4], learnt=1)]))
    assert list(table["same_as"]) == ["", ""]
    assert atlas.places(table, own) == ["torch.sin, init=default: mean test accuracy 40.00%, place 2 of 2"]


class Jumping(nn.Module):
    """x, but for a little below 0: seen by few points, told by its jump."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x + 0.1 > 0, x, -0.1 * x)


class Leaking(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, -0.1 * x)


class Rounded(nn.Module):
    """|x| to 1e-8 at every point compared, smooth at 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * x + 1e-15).sqrt()


def test_functions_that_differ_close_to_0_alone_are_different() -> None:
    jumping, leaking = fingerprint(Jumping()), fingerprint(Leaking())
    assert atlas.equals({"jumping": jumping, "leaking": leaking})["leaking"] == ""
    kinked, smooth = fingerprint(activations.build({"_target_": "torch.abs"})), fingerprint(Rounded())
    assert atlas.equals({"kinked": kinked, "smooth": smooth})["smooth"] == "kinked"
    runs = [
        run_of("torch.abs", kinked, [0.5], kinks=[0.0], slope_low=-1.0, slope_high=1.0),
        run_of("torch.smooth", smooth, [0.5], slope_low=-1.0, slope_high=1.0),
        run_of("torch.z", kinked, [0.5], kinks=[0.0], slope_low=-1.0, slope_high=1.0),
        run_of("torch.zz", kinked, [0.5], jumps=[0.0], slope_low=-1.0, slope_high=1.0),
        run_of("torch.zzz", kinked, [0.5], kinks=[0.0], slope_low=-1.0, slope_high=1.1),
    ]
    assert list(atlas.tables(runs)[0]["same_as"]) == ["", "", "torch.abs", "", ""]


def test_what_equals_ones_function_leads_to_the_first_of_its_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first that has the text of one's own is itself equal to another, and so has no rank."""
    known = [run_of(f"torch_activation.F{place}", [float(place)], [place / 10] * 2) for place in range(3)]
    committed, unfit = atlas.tables(known)
    committed.loc[2, "same_as"] = "torch_activation.F1"
    committed.to_csv(tmp_path / "atlas.csv", index=False)
    unfit.to_csv(tmp_path / "unfit.csv", index=False)
    monkeypatch.setattr(atlas, "COMMITTED", tmp_path / "atlas.csv")
    monkeypatch.setattr(atlas, "EXCLUDED", tmp_path / "unfit.csv")
    mine = [run_of("torch.sin", [2.0], [0.2, 0.2]), run_of("torch.tan", [2.0], [0.2, 0.2])]
    table, _, _ = atlas.among_all(*atlas.tables(mine))
    same = dict(zip(table["act"], table["same_as"], strict=True))
    first = "torch_activation.F1"
    assert [same[act] for act in ("torch.sin", "torch.tan", first, known[2]["act"])] == [first, first, "", first]
    again = [*mine, run_of(first, [2.0], [0.1, 0.1])]  # that one measured anew, with one's own
    table, _, _ = atlas.among_all(*atlas.tables(again))
    same = dict(zip(table["act"], table["same_as"], strict=True))
    assert sorted(act for act in same if not same[act]) == ["torch.sin", "torch_activation.F0"]
    assert {same[act] for act in ("torch.tan", first, known[2]["act"])} == {"torch.sin"}


def test_what_failed_at_one_initialisation_has_a_row_that_says_so() -> None:
    measured = run_of("torch.sin", [0.0, 1.0], [0.5, 0.7])
    failed = measured | {"init": "critical", "status": "failed", "error": "boom", "atlas": None}
    table, excluded = atlas.tables([failed, measured])
    assert list(table["status"]) == ["measured", "failed"]
    assert list(table["reason"]) == ["", "init=critical: boom"]
    assert list(table["curve"]) == ["0 1", "0 1"]
    assert list(table["accuracies"]) == ["0.5 0.7", ""]
    assert len(excluded) == 0


def test_functions_of_two_protocols_are_not_compared(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8)
    other = table["act"] == "elu"
    table.loc[other, ["accuracies", "protocol"]] = ["0.91 0.92 0.99", "other"]
    html = page.write(table, made_up_atlas.excluded(), tmp_path, ["elu", "tanh"]).read_text()
    assert "elu was measured by another protocol than most here: it is compared with none." in html
    assert "tanh stands " in html
    assert "8 different functions" not in html
    assert "7 different functions" in html
    assert atlas.places(table[table["accuracies"].notna()], ["elu"]) == [
        f"elu, init={init}: mean test accuracy 94.00%, place 1 of 1" for init in ("critical", "default")
    ]


def test_the_page_claims_no_data_set_or_network_that_it_was_not_told(tmp_path: Path) -> None:
    table = made_up_atlas.atlas(8)
    table.loc[table["init"] == "critical", ["status", "reason"]] = ["failed", "init=critical: boom"]
    html = page.write(table, made_up_atlas.excluded(), tmp_path).read_text()
    assert "8 hidden layers" not in html
    assert "chance, 10 %" not in html
    assert "tanh, init=critical: boom" in html


def on_fashion(act: str, accuracies: dict[int, float | None], data: str = "fashion_mnist", **values: str) -> Setting:
    common = {"act": act, "data": data, "classes": 10}
    runs = [common | {"seed": seed, "test_accuracy": each, "epochs": 5 + seed} for seed, each in accuracies.items()]
    completed, diverged = (
        tuple(run | {"status": status} for run in runs if (run["test_accuracy"] is None) == lost)
        for status, lost in (("completed", False), ("diverged", True))
    )
    return Setting({"act": act} | values, completed=completed, diverged=diverged)


def test_the_table_of_fashion_mnist_is_of_the_seeds_that_all_functions_have(tmp_path: Path) -> None:
    settings = [
        on_fashion("torch_activation.A", {0: None, 1: 0.9, 2: 0.8, 3: 0.7}),
        on_fashion("relu", {1: 0.5, 2: 0.6, 0: 0.4}),
        on_fashion("relu", {7: 0.9}, data="digits"),
    ]
    runs = [run_of("relu", [1.0], [0.5, 0.7])]
    writing.write_atlas(runs, settings, tmp_path, with_page=True)
    text = (tmp_path / "atlas_fashion.csv").read_text()
    assert text == "act,accuracies,diverged,epochs\nrelu,0.4 0.5 0.6,,5 6 7\ntorch_activation.A,0.1 0.9 0.8,0,5 6 7\n"
    assert "over 3 seeds" in (tmp_path / "atlas.html").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [on_fashion("relu", {0: 0.5}, data="digits")],
        [on_fashion("relu", {0: 0.5}, depth="4"), on_fashion("relu", {0: 0.5}, depth="8")],
        [on_fashion("relu", {0: 0.5}), on_fashion("tanh", {1: 0.5})],
    ],
    ids=["no runs", "other data", "a function at two depths", "no common seed"],
)
def test_functions_that_are_not_comparable_on_fashion_mnist_have_no_table(settings: list[Setting]) -> None:
    assert atlas.on_fashion(settings) is None
