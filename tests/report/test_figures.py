"""Figures say what the run folders say: on synthetic runs whose numbers are known."""

import importlib
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from actsweep.report import drawing, figures
from actsweep.report.drawing import Drawing, looks
from actsweep.report.figures.accuracy_by_setting import draw as accuracy_by_setting
from actsweep.report.figures.born_dead import draw as born_dead
from actsweep.report.figures.gradient_by_layer import draw as gradient_by_layer
from actsweep.report.figures.gradient_histograms import draw as gradient_histograms
from actsweep.report.figures.gradient_over_steps import draw as gradient_over_steps
from actsweep.report.figures.learning_curves import draw as learning_curves
from actsweep.report.figures.overview import draw as overview
from actsweep.report.figures.steps_needed import draw as steps_needed
from actsweep.report.figures.unit_classes import draw as unit_classes
from actsweep.report.frames import SWITCH_ON, geometric_mean, t_interval, thin
from tests.results.made_up_runs import sweep, sweep_for

MAY_BE_BLANK = {  # what a row of the table need not have
    "decision_regions": ["class", "prediction", "probability"],
    "overview": ["seed", "test_accuracy_percent", "layer", "n", "grad_norm", "lowest", "highest"],  # two tables in one
    "published_accuracy": ["seed"],
    "steps_needed": ["steps_needed"],
    "accuracy_by_depth": ["theory_depth"],  # none on the edge of chaos
    "trainability": ["theory_depth"],
}
WITH_INTERVALS = {"accuracy_by_depth", "fair_ranking"}  # which one run has not


def marked(drawing: Drawing, gid: str) -> int:
    """How many points carry this mark."""
    lines = [line for axes in drawing.figure.axes for line in axes.lines if line.get_gid() == gid]
    return sum(len(line.get_xdata()) for line in lines)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "DPI", 20)  # what is looked at is no pixel


@pytest.mark.parametrize("grid", [{}, {"acts": ["relu"], "seeds": [42]}], ids=["4 runs", "1 run"])
@pytest.mark.parametrize("name", figures.known())
def test_every_figure_leaves_a_picture_its_numbers_and_how_many_runs_they_are(
    name: str, grid: dict[str, Any], tmp_path: Path
) -> None:
    svg, png, csv = figures.draw([name], sweep_for(name, tmp_path / "runs", **grid), tmp_path)
    picture = ElementTree.parse(svg).getroot()
    assert picture.tag.endswith("svg")
    assert len(list(picture.iter())) > 50
    assert png.read_bytes().startswith(b"\x89PNG")
    blank = [*MAY_BE_BLANK.get(name, []), *(["low", "high"] if grid and name in WITH_INTERVALS else [])]
    numbers = pd.read_csv(csv).drop(columns=blank).select_dtypes("number")
    assert len(numbers) > 0
    assert np.isfinite(numbers.to_numpy()).all()


@pytest.mark.parametrize("name", figures.known())
def test_every_caption_says_how_many_runs_it_shows_and_how_many_it_can_not(name: str, tmp_path: Path) -> None:
    runs = sweep_for(name, tmp_path, seeds=[0, 1, 2])
    runs[0]["status"] = "diverged"
    caption = importlib.import_module(f"actsweep.report.figures.{name}").draw(runs).caption
    if name in {"samples", "activation_functions"}:
        assert re.search(r"n = \d+ (of [\d,]+ images|functions)", caption)
    else:
        assert re.search(r"n = \d( to \d)? runs? \(seed", caption)
        assert "Left out: 1 diverged." in caption


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    runs = sweep(tmp_path / "runs")
    names = ["learning_curves", "gradient_histograms", "chain"]
    first, second = (figures.draw(names, runs, tmp_path / again) for again in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_an_unknown_figure_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"figures=\[nonsense\]: must be among accuracy_by_depth, .*, trainability"):
        figures.draw(["chain", "nonsense"], [], tmp_path)
    with pytest.raises(ValueError, match="must be among"):
        figures.check(["drawing"])


def test_a_missing_table_is_one_sentence_and_the_other_figures_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(tmp_path / "runs")
    for run in runs:
        (Path(run["folder"]) / "steps.csv").unlink()
    written = figures.draw(["loss_over_steps", "learning_curves"], runs, tmp_path)
    assert {path.stem for path in written} == {"learning_curves"}
    sentence = "figure loss_over_steps: no completed run has steps.csv: switch on diagnostics=[steps]\n"
    assert capsys.readouterr().err == sentence


def test_every_switch_that_a_sentence_names_exists() -> None:
    named = [text.partition("=[")[2].rstrip("]") for text in SWITCH_ON.values() if "=[" in text]
    assert named
    assert [name for name in named if not Path("conf/diagnostics", f"{name}.yaml").is_file()] == []


def test_a_gradient_of_zero_stays_in_the_table_and_is_marked(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid"], seeds=[0])
    assert marked(gradient_by_layer(runs), "zero") == 0
    runs[0]["initial"]["grad_norm"][0] = 0.0
    drawing = gradient_by_layer(runs)
    untrained = drawing.table[drawing.table["when"] == "untrained"]
    assert untrained["grad_norm"].tolist() == pytest.approx([0, 0.01, 0.1, 1])
    assert marked(drawing, "zero") == 1
    assert "exactly 0" in drawing.caption


def test_a_gradient_that_underflows_at_some_steps_is_marked_there(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid"], seeds=[0])
    path = Path(runs[0]["folder"], "steps.csv")
    steps = pd.read_csv(path)
    steps.loc[5:7, "grad_mean_abs/layer_01"] = 0.0
    steps.to_csv(path, index=False)
    drawing = gradient_over_steps(runs)
    assert (drawing.table["grad_mean_abs"] == 0).sum() == 3
    assert marked(drawing, "zero") == 3


def test_weights_whose_gradients_are_all_zero_are_said_to_be(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid"], seeds=[0])
    path = Path(runs[0]["folder"], "histograms.csv")
    found = pd.read_csv(path)
    found.loc[(found["quantity"] == "weight_gradient") & (found["layer"] == "layer_01"), ["low", "high"]] = 0.0
    found.to_csv(path, index=False)
    drawing = gradient_histograms(runs)
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["all 0"]
    assert drawing.table.query("layer == 1")["count"].tolist() == [10]


def test_densities_have_area_one(tmp_path: Path) -> None:
    table = gradient_histograms(sweep(tmp_path)).table
    areas = ((table["high"] - table["low"]) * table["density"]).groupby([table["setting"], table["layer"]]).sum()
    assert len(areas) == 2 * 4
    assert areas.to_numpy() == pytest.approx(1)


def test_gradient_norms_are_averaged_geometrically(tmp_path: Path) -> None:
    table = gradient_by_layer(sweep(tmp_path, acts=["tanh"], seeds=[0, 3])).table
    untrained = table[table["when"] == "untrained"]
    assert untrained["grad_norm"].tolist() == pytest.approx([2e-3, 2e-2, 2e-1, 2])  # √(1 · 4)
    assert untrained["lowest"].tolist() == pytest.approx([1e-3, 1e-2, 1e-1, 1])
    assert untrained["highest"].tolist() == pytest.approx([4e-3, 4e-2, 4e-1, 4])
    assert set(untrained["n"]) == {2}


def test_learning_curves_are_means_in_percent(tmp_path: Path) -> None:
    table = learning_curves(sweep(tmp_path, acts=["tanh"], seeds=[0, 1])).table
    mean = table[table["seed"] == "mean"].set_index("epoch")["val_accuracy_percent"]
    assert mean.to_dict() == pytest.approx({1: 67, 2: 69, 3: 71, 4: 73})


def test_the_mean_curve_ends_where_the_first_seed_stopped(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["tanh"], seeds=[0, 1])
    path = Path(runs[0]["folder"], "epochs.csv")
    pd.read_csv(path).iloc[:2].to_csv(path, index=False)
    table = learning_curves(runs).table
    assert table.groupby("seed")["epoch"].max().to_dict() == {"0": 2, "1": 4, "mean": 2}


def test_broken_runs_are_left_out_and_counted(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["tanh"], seeds=[0, 1, 2, 3, 4])
    for run, status in zip(runs, ["completed", "completed", "diverged", "diverged", "failed"], strict=True):
        run["status"] = status
    drawing = accuracy_by_setting(runs)
    assert drawing.table["test_accuracy_percent"].tolist() == pytest.approx([88, 89])
    assert drawing.caption.endswith("n = 2 runs (seeds 0, 1). Left out: 2 diverged, 1 failed.")
    assert drawing.figure.axes[0].get_yticklabels()[0].get_text() == "tanh (2 diverged, 1 failed)"


def test_a_setting_of_which_every_run_diverged_keeps_its_row(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["tanh", "relu"], seeds=[0])
    runs[0]["status"] = "diverged"
    labels = [label.get_text() for label in accuracy_by_setting(runs).figure.axes[0].get_yticklabels()]
    assert labels == ["tanh", "relu (1 diverged)"]


def test_regressions_are_compared_by_their_loss(tmp_path: Path) -> None:
    runs = sweep(tmp_path, loss="mse", test_accuracy=None, classes=0)
    for run in runs:
        path = Path(run["folder"], "epochs.csv")
        pd.read_csv(path).drop(columns=["train_accuracy", "val_accuracy"]).to_csv(path, index=False)
    assert accuracy_by_setting(runs).table["test_loss"].tolist() == [0.5] * 4
    curves = learning_curves(runs)
    assert curves.table.query("seed == 'mean' and act == 'relu'")["val_loss"].tolist() == pytest.approx(
        [1, 1 / 2, 1 / 3, 1 / 4]
    )
    assert "chance" not in curves.caption


def test_the_overview_holds_the_numbers_of_the_two_figures_it_joins(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid", "tanh", "relu"])
    for run in runs[2:4]:
        run["test_accuracy"] = 0.1
    drawing = overview(runs)
    left, untrained, trained = drawing.figure.axes
    assert drawing.table[["seed", "layer", "n"]].dtypes.eq("Int64").all()  # no 1.0
    accuracies = drawing.table.dropna(subset="seed")[["act", "seed", "test_accuracy_percent"]]
    expected = accuracy_by_setting(runs).table[["act", "seed", "test_accuracy_percent"]]
    assert sorted(map(tuple, accuracies.to_numpy())) == sorted(map(tuple, expected.to_numpy()))
    norms = drawing.table.dropna(subset="layer").sort_values(["act", "when", "layer"])["grad_norm"].tolist()
    joined = gradient_by_layer(runs).table.sort_values(["act", "when", "layer"])["grad_norm"].tolist()
    assert norms == joined
    best_first = [label.get_text() for label in left.get_yticklabels()]
    assert best_first[-1] == runs[2]["act"]
    low, high = left.get_xlim()
    assert 78 < low < 88 < 89 < high <= 101  # the setting at 10 % does not squeeze the others
    assert [text.get_text() for text in left.texts].count("◂") == 1
    assert untrained.get_ylim() == trained.get_ylim()


def test_the_overview_shows_everything_where_few_settings_are_near_the_best(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid", "tanh", "relu"], seeds=[0])
    for run, accuracy in zip(runs, (0.3, 0.6, 0.9), strict=True):
        run["test_accuracy"] = accuracy
    assert overview(runs).figure.axes[0].get_xlim() == (0, 100)


def test_intervals_of_accuracies_end_at_100_percent(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 1])
    for run, accuracy in zip(runs, (0.98, 1.0), strict=True):
        run["test_accuracy"] = accuracy
    words = [text.get_text() for text in accuracy_by_setting(runs).figure.axes[0].texts]
    half = 12.7062047 * 1.0  # Student's t with one degree of freedom, times the standard error
    assert words == [f"99.00 [{99 - half:.2f}, 100.00]"]


def test_steps_needed_counts_steps_and_marks_who_never_got_there(tmp_path: Path) -> None:
    drawing = steps_needed(sweep(tmp_path))
    needed = drawing.table.set_index(["act", "seed"])["steps_needed"]
    assert needed["relu"].tolist() == [30, 30]
    assert needed["tanh"].isna().all()
    assert marked(drawing, "never") == 2
    assert "2 of 2 not within 40 steps" in [text.get_text().strip() for text in drawing.figure.axes[0].texts]


def test_an_activation_looks_the_same_in_every_figure() -> None:
    few, many = looks(["relu", "mish"]), looks(["relu", "tanh", "gelu", "mish", "selu"])
    assert few["relu"] == many["relu"]
    assert len({(look["color"], look["marker"], look["linestyle"]) for look in many.values()}) == len(many)


def test_numbers_of_figures() -> None:
    low, high = t_interval([1.0, 2.0, 3.0], (-9, 9))  # type: ignore[misc]
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert t_interval([1.0], (-9, 9)) is None
    assert geometric_mean([1.0, 100.0]) == pytest.approx(10)
    assert geometric_mean([0.0, 1.0]) == 0
    thinned = thin(pd.DataFrame({"step": range(5000)}), 1000)["step"]
    assert (len(thinned), thinned.iloc[0], thinned.iloc[-1]) == (1000, 0, 4999)
    for_log_axis = thin(pd.DataFrame({"step": range(50_000)}), 1000, logarithmic=True)["step"].tolist()
    assert (for_log_axis[:9], for_log_axis[-1]) == (list(range(9)), 49_999)
    assert 300 < len(for_log_axis) <= 1000


def test_useless_units_are_weighed_by_the_widths_of_their_layers(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], sizes=[(6, 2)])
    path = Path(runs[0]["folder"], "layers.csv")
    rows = pd.read_csv(path)
    rows.loc[(rows["quantity"] == "collapsed") & (rows["layer"] == "layer_01"), "value"] = 1.0
    rows.to_csv(path, index=False)
    table = unit_classes(runs).table
    assert table["always_off"].tolist() == pytest.approx([0, 5, 10, 15, 20])
    assert table["collapsed"].tolist() == pytest.approx([(75 + 1.25 * e + 5 * e) / 2 for e in range(5)])
    assert table["units_died"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])  # both layers', mean over seeds


def test_networks_born_dead_are_counted_beside_their_bound(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=range(4), sizes=[(2, 2)])
    for run in runs[:3]:
        path = Path(run["folder"], "layers.csv")
        rows = pd.read_csv(path)
        own = (rows["quantity"] == "layer_off") & (rows["epoch"] == 0) & (rows["layer"] == "layer_02")
        rows.loc[own, "value"] = 1.0
        rows.to_csv(path, index=False)
    drawing = born_dead(runs)
    assert drawing.table[["n", "born_dead", "bound"]].to_numpy().tolist() == [[4, 3, pytest.approx(7 / 16)]]
    assert "3 of 4 networks were born dead (75 %, 95 % interval 30 to 95 %), at most 1.75 expected; 0 of 1" in (
        drawing.caption
    )
