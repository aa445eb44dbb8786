"""Figures of sweeps that mix what is seldom mixed: data sets, depths of 0, networks that aren't trained, widths."""

import math
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import rc_context, style

from actsweep.errors import UserError
from actsweep.report import figures
from actsweep.report.captions import with_diverged
from actsweep.report.drawing import STYLE
from actsweep.report.figures import (
    accuracy_by_depth,
    chain,
    fair_ranking,
    gradient_by_layer,
    gradient_histograms,
    gradient_spread,
    learning_curves,
    loss_over_steps,
    overview,
    steps_needed,
    theory_by_layer,
    trainability,
    unit_classes,
)
from actsweep.report.page.comparisons import by_depth, styles
from actsweep.report.tasks import tasks_of
from actsweep.report.verdict import judge
from actsweep.results import files
from actsweep.results.reading import Run
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import result_of, sweep

DEPTHS = ((2, 90), (32, 40))  # and accuracies in %


def test_networks_of_several_depths_and_widths_are_told_apart_by_depth_and_width(tmp_path: Path) -> None:
    sizes = [(width,) * depth for width in (8, 16) for depth in (2, 4)]
    runs = sweep(tmp_path, acts=["relu"], sizes=sizes[:2])
    runs += sweep(tmp_path / "wide", acts=["relu"], sizes=sizes[2:])
    settings = settings_of(runs)
    assert [each.label for each in settings] == [f"relu, depth {d}, width {w}" for d in (2, 4) for w in (8, 16)]
    lines = by_depth(judge(tasks_of(settings)[0]), styles(settings))
    assert [(line["name"], line["depth"]) for line in lines] == [("width 8", [2, 4]), ("width 16", [2, 4])]
    table = accuracy_by_depth.draw(runs).table
    assert set(table["init"]) == {"default, width 8", "default, width 16"}
    uneven = [result_of("relu", each, 0, "digits", folder=str(each)) for each in ((8, 4), (4, 8), (8,))]
    assert settings_of(uneven)[0].label == "relu, depth 1, hidden_sizes [8]"


def test_networks_that_are_not_trained_cost_no_figure_of_those_that_are(tmp_path: Path) -> None:
    runs = sweep(tmp_path)
    for run in runs:
        run["config"]["untrained"] = False
    others = sweep(tmp_path / "untrained", epochs=0, best_epoch=0, grad_norm=None)
    for run in others:
        run["config"]["untrained"] = True
    drawn = gradient_by_layer.draw([*runs, *others]).table
    assert set(drawn[drawn["setting"].str.contains("untrained True")]["when"]) == {"untrained"}


def diverged(runs: list[Run], act: str) -> list[Run]:
    for run in runs:
        if run["act"] == act and run["seed"] == 0:
            run |= {"status": "diverged", "test_accuracy": None, "test_loss": None}
    return runs


def test_what_stands_for_a_diverged_run_is_of_its_own_data(tmp_path: Path) -> None:
    digits = diverged(sweep(tmp_path / "digits"), "relu")
    small = sweep(tmp_path / "small", loss="mse", test_accuracy=None, classes=0, test_loss=0.02)
    large = sweep(tmp_path / "large", loss="mse", test_accuracy=None, classes=0, test_loss=70.0, data="spiral")
    said = with_diverged(settings_of([*digits, *diverged(small, "tanh"), *large]))
    assert said.startswith("Means with diverged runs counted as chance: relu, ")
    assert " 49.50 % (n = 2). Means with diverged runs counted with the highest loss of all: tanh, " in said
    assert said.endswith(" 0.02 (n = 2). ")


def test_a_linear_classifier_has_its_place_among_the_depths(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["sigmoid"], seeds=[0, 1], sizes=[(), (8,) * 4, (8,) * 8])
    for run in runs:
        run["test_accuracy"] = 0.1 if run["depth"] else 0.9
    drawing = accuracy_by_depth.draw(runs)
    axes = drawing.figure.axes[0]
    drawing.figure.draw_without_rendering()
    left, _ = axes.transAxes.inverted().transform(axes.transData.transform((0, 90)))
    assert 0 <= left < 0.2
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "4", "8"]
    assert accuracy_by_depth.collapse([0, 4, 8], [90, 10, 10], chance=10) is None


@pytest.mark.parametrize(("held_out", "known"), [(0, "training"), (237, "validation")])
def test_steps_are_counted_until_the_examples_that_were_looked_at_are_known(
    held_out: int, known: str, tmp_path: Path
) -> None:
    runs = sweep(tmp_path)
    for run in runs:
        run["config"]["data"]["val_size"] = held_out
    drawing = steps_needed.draw(runs)
    assert drawing.figure.axes[0].get_xlabel() == f"until 100 % {known} accuracy (optimiser steps)"
    assert f"every {known} example was first classified right" in drawing.caption


def test_gradients_of_which_none_is_finite_are_not_said_to_be_0(tmp_path: Path) -> None:
    (run,) = sweep(tmp_path, acts=["relu"], seeds=[0])
    path = Path(run["folder"], "histograms.csv")
    table = pd.read_csv(path)
    lost = (table["layer"] == "layer_01") & (table["quantity"] == "weight_gradient")
    table.loc[lost, ["low", "high", "counts"]] = [0.0, 0.0, "0 0 0 0 0"]
    table.to_csv(path, index=False)
    first, second, *_ = gradient_histograms.draw([run]).figure.axes
    assert [[text.get_text() for text in axes.texts] for axes in (first, second)] == [["not finite"], []]


def lost(runs: list[Run], act: str, **known: object) -> None:
    """All runs of an activation with these values have diverged."""
    for run in runs:
        if run["act"] == act and known.items() <= (run | run["config"]["optim"]).items():
            run |= {"status": "diverged", "test_accuracy": None, "best_epoch": None}


def test_a_depth_at_which_all_runs_diverged_is_one_at_which_training_stops(tmp_path: Path) -> None:
    runs = sweep(tmp_path, sizes=[(8,) * 2, (8,) * 32], init="critical")
    lost(runs, "relu", depth=32)
    drawing = accuracy_by_depth.draw(runs)
    rows = drawing.table.set_index(["act", "depth"])[["n", "trained", "of"]]
    assert rows.loc[("relu", 32)].tolist() == [0, 0, 2]
    assert rows.loc[("tanh", 32)].tolist() == [2, 2, 2]
    assert "relu 0 of 2 [0, 66] %, all diverged" in drawing.caption
    assert "counted as chance: relu, depth 32 10.00 % (n = 2)." in drawing.caption


def test_a_shared_learning_rate_at_which_a_function_diverges_is_shared_all_the_same(tmp_path: Path) -> None:
    runs = []
    for rate, acts in ((0.01, ["relu", "tanh"]), (0.1, ["relu"]), (0.03, ["tanh"])):
        runs += sweep(tmp_path / str(rate), acts=acts)
        for run in runs[-2 * len(acts) :]:
            run["config"]["optim"]["lr"] = rate
    lost(runs, "relu", lr=0.01)
    drawing = fair_ranking.draw(runs)
    own, shared = fair_ranking.OWN, fair_ranking.SHARED
    assert {*zip(drawing.table["tuning"], drawing.table["act"], strict=True)} == {
        (shared, "tanh"),
        (own, "tanh"),
        (own, "relu"),
    }
    assert "With diverged runs as chance: Told apart by paired tests (Holm, 5 %): 0 of 1 pairs" in drawing.caption


def test_long_names_cover_nothing_and_leave_panels_their_room(tmp_path: Path) -> None:
    runs = sweep(tmp_path, seeds=[0, 1], sizes=[(8,) * 2, (8,) * 3])
    for run in runs:
        name = "a data set of a long name" + " that goes on" * (3 + run["depth"])
        run["config"]["data"] |= {"source": {"_target_": "mine.load", "kind": name}}
    with rc_context(STYLE):
        drawn = gradient_by_layer.draw(runs).figure
        drawn.draw_without_rendering()
    for axes in drawn.axes:
        title, panel = axes._left_title, axes.get_window_extent()
        assert panel.width > 2 * drawn.dpi
        assert title.get_window_extent().x1 < panel.x1
        assert title.get_text()[-1:] in {"", "\n"}  # there stands what is said at the right
    drawn = overview.draw(runs).figure
    drawn.draw_without_rendering()
    rows = [text.get_window_extent() for text in drawn.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(rows))
    titles = [axes._left_title.get_window_extent() for axes in drawn.axes]
    assert all(title.x1 < after.x0 for title, after in pairwise(titles))


def test_only_chains_are_called_so_and_networks_of_several_inputs_are_refused(tmp_path: Path) -> None:
    said = [chain.draw(sweep(tmp_path / str(width), sizes=[(width,) * 3])) for width in (1, 8)]
    starts = [drawing.caption.partition(",")[0] for drawing in said]
    assert starts == ["Chains of one unit per layer", "Networks of one input"]
    assert "Lower: ‖∂L/∂W‖₂ of each layer's weights" in said[1].caption
    runs = sweep(tmp_path / "plane")
    for run in runs:
        path = Path(run["folder"], "examples.csv")
        pd.read_csv(path).assign(x=None).to_csv(path, index=False)
    with pytest.raises(UserError, match="no completed run has a single input"):
        chain.draw(runs)


def test_units_that_were_looked_at_once_are_seen(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"])
    for run in runs:
        path = Path(run["folder"], "layers.csv")
        table = pd.read_csv(path)
        table[table["epoch"] == 0].to_csv(path, index=False)
    lines = unit_classes.draw(runs).figure.axes[0].lines
    assert {line.get_marker() for line in lines} == {"o"}


def test_fifteen_long_names_leave_every_panel_its_room(tmp_path: Path) -> None:
    """Without room, matplotlib warns, and lays nothing out."""
    runs = sweep(
        tmp_path,
        acts=[f"a_very_long_name_of_a_package.of_mine.and_its.Class{number}" for number in range(15)],
        seeds=[0],
    )
    for figure in (accuracy_by_depth, fair_ranking, learning_curves, theory_by_layer):
        drawn = figure.draw(runs).figure
        drawn.draw_without_rendering()
        (legend,) = drawn.legends
        box = legend.get_window_extent()
        panels = [axes.get_window_extent() for axes in drawn.axes]
        assert min(panel.width for panel in panels) > drawn.dpi
        assert max(panel.x1 for panel in panels) < box.x0
        assert box.y0 > 0


def test_losses_of_exactly_0_are_marked_and_explained(tmp_path: Path) -> None:
    runs = sweep(tmp_path, loss="mse", classes=0, test_accuracy=None, val_accuracy=None)
    for run in runs:
        epochs, steps = (Path(run["folder"], f"{name}.csv") for name in ("epochs", "steps"))
        pd.DataFrame({"epoch": [1, 2], "step": [10, 20], "val_loss": [0.5, 0.0]}).to_csv(epochs, index=False)
        pd.read_csv(steps).assign(loss=lambda found: found["loss"].where(found["step"] < 30, 0.0), penalty=0.0).to_csv(
            steps, index=False
        )
    for figure in (learning_curves, loss_over_steps):
        drawing = figure.draw(runs)
        assert "Open triangles on the lower edge: a loss of exactly 0, off a logarithmic axis" in drawing.caption
        assert any(line.get_gid() == "zero" for axes in drawing.figure.axes for line in axes.lines)


def test_each_data_sets_collapse_is_measured_from_its_own_chance(tmp_path: Path) -> None:
    """From 90 % halfway to 10 and to 33 %: 50 and 61.7 %, at depths of 2 · 16^0.8 and 2 · 16^0.567."""
    runs = []
    for data, classes in (("digits", 10), ("spiral", 3)):
        runs += sweep(
            tmp_path / data, acts=["relu"], seeds=[0], sizes=[(8,) * 2, (8,) * 32], data=data, classes=classes
        )
    drawing = accuracy_by_depth.draw(runs)
    assert "chance" not in drawing.table
    lines = [[line for line in axes.lines if line.get_linestyle() == ":"] for axes in drawing.figure.axes]
    assert [[line.get_ydata()[0] for line in dotted] for dotted in lines] == [[10], [pytest.approx(100 / 3)]]
    rows = [
        (data, depth, accuracy, chance) for data, chance in (("a", 10), ("b", 100 / 3)) for depth, accuracy in DEPTHS
    ]
    table = pd.DataFrame(rows, columns=["init", "depth", "test_accuracy_percent", "chance"])
    assert "2 lines that do (depth / 6 ξ_c: relu a 1.8, relu b 0.96)" in accuracy_by_depth.sentence(
        table.assign(act="relu", theory_depth=10.0)
    )


def test_where_no_initialisation_says_its_variance_nobody_says_that_no_run_completed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no completed run has init=variance and a test accuracy"):
        trainability.draw(sweep(tmp_path))


def test_a_linear_classifier_has_its_place_among_those_that_train(tmp_path: Path) -> None:
    """Warnings are errors here."""
    drawing = trainability.draw(sweep(tmp_path, sizes=[(), (8, 8)], init="variance"))
    assert set(drawing.table["depth"]) == {0, 2}


def test_an_epoch_in_which_a_layers_units_were_not_classified_is_left_out_alone(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0])
    path = Path(runs[0]["folder"], "layers.csv")
    found = pd.read_csv(path)
    found.loc[(found["epoch"] == 2) & (found["layer"] == "layer_02"), "value"] = math.nan
    found.to_csv(path, index=False)
    assert unit_classes.draw(runs).table["epoch"].tolist() == [0, 1, 3, 4]


def test_gradients_of_0_are_not_said_to_lack_a_prediction(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0])
    path = Path(runs[0]["folder"], "layers.csv")
    found = pd.read_csv(path)
    found.assign(value=found["value"].where(found["quantity"] != "delta_ratio", 0.0)).to_csv(path, index=False)
    with pytest.raises(UserError, match="has theory's predictions, and gradients other than 0, of all layers"):
        gradient_spread.draw(runs)


def test_letters_that_no_font_has_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sweep(tmp_path, acts=["\U000f1234\U000f1235", "relu"], seeds=[0])  # of nobody's alphabet
    files.warn.cache_clear()
    assert len(figures.draw(["overview", "learning_curves"], runs, tmp_path)) == 6
    said = "figures show boxes for letters that matplotlib's font lacks; tables and pages have them"
    assert capsys.readouterr().err == f"warning: {said}\n"


def test_a_persons_own_style_changes_no_figure_but_its_font(tmp_path: Path) -> None:
    runs = sweep(tmp_path, seeds=[0])
    ours = [path.read_bytes() for path in figures.draw(["overview"], runs, tmp_path)]
    with style.context(["dark_background", {"lines.linestyle": "--", "text.usetex": True}]):
        assert [path.read_bytes() for path in figures.draw(["overview"], runs, tmp_path)] == ours
    with rc_context({"font.family": "monospace"}):
        assert [path.read_bytes() for path in figures.draw(["overview"], runs, tmp_path)] != ours
