"""A seed of a setting counts once, wherever its runs lie; what is left out is said; missing runs can be forgotten."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actsweep import load
from actsweep.errors import UserError
from actsweep.report import page, terminal, writing
from actsweep.report.figures.accuracy_by_depth import draw as accuracy_by_depth
from actsweep.report.figures.fair_ranking import draw as fair_ranking
from actsweep.report.provenance import run_rows
from actsweep.report.summary import summarise
from actsweep.report.tasks import tasks_of
from actsweep.report.verdict import judge, sentences
from actsweep.results import run_folder
from actsweep.results.reading import Run, measured_at, read_runs, read_sweeps
from actsweep.statistics.inference import compare
from actsweep.statistics.setting import left_out, missing_of, repetitions, settings_of
from tests.results.made_up_runs import sweep

MEANS = ("mean", "mean_with_diverged")
DRAWN = ("accuracy_by_setting", "overview", "accuracy_by_depth", "learning_curves", "gradient_by_layer", "dead_units")


def told(folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """What `python -m src.report FOLDERS` prints."""
    monkeypatch.setattr(sys, "argv", ["report", *map(str, folders), *more])
    writing.main()
    return capsys.readouterr().out


def page_of(folder: Path) -> str:
    return (folder / page.REPORT).read_text()


def change(run: Run, **values: Any) -> None:
    """Other values in the run's result.json."""
    path = Path(run["folder"], run_folder.RESULT)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def verdict(runs: list[Run], with_diverged: bool = False) -> list[str]:
    return sentences(judge(tasks_of(settings_of(runs))[0], with_diverged))


@pytest.fixture
def twice(tmp_path: Path) -> tuple[Path, Path]:
    """Two activations, three seeds, and a copy of it all."""
    names = [f"{act}-d3-s{seed}" for act in ("relu", "tanh") for seed in range(3)]
    run_folder.write_sweep(tmp_path / "a", "Why?", "x", names)
    sweep(tmp_path / "a", seeds=[0, 1, 2])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def test_runs_given_twice_count_once_everywhere(
    twice: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = twice
    alone = told([a], monkeypatch, capsys)
    assert "6 runs expected: 6 completed; " in alone
    first, page_alone = pd.read_csv(a / run_folder.RESULTS), page_of(a)
    both = told([a, b], monkeypatch, capsys)
    assert "6 runs expected: 6 completed; 6 more repeat a seed of a setting, which counts once, with the same" in both
    table = pd.read_csv(a / run_folder.RESULTS)
    counted = table[table["status"] == "completed"].reset_index(drop=True)
    pd.testing.assert_frame_equal(counted.drop(columns="repeats"), first.drop(columns="repeats"))
    repeated = table[table["status"] == "repeated"]
    assert repeated["repeats"].tolist() == [folder.replace("/b/", "/a/") for folder in repeated["folder"]]
    data = [html.partition('id="data">')[2].partition("</script>")[0] for html in (page_alone, page_of(a))]
    assert data[0] == data[1] != ""
    assert verdict(read_runs([a, b])) == verdict(read_runs([a]))


@pytest.mark.parametrize("name", DRAWN)
def test_a_figures_numbers_are_of_each_seed_once(name: str, twice: tuple[Path, Path]) -> None:
    draw = importlib.import_module(f"actsweep.report.figures.{name}").draw
    one, two = draw(read_runs([twice[0]])), draw(read_runs(twice))
    pd.testing.assert_frame_equal(one.table, two.table)
    assert two.caption == f"{one.caption} Left out: 6 repeated a seed."


def test_folders_are_read_once_however_they_are_reached_and_hidden_ones_never(twice: tuple[Path, Path]) -> None:
    a, b = twice
    expected = [run["folder"] for run in read_runs([a])]
    (a.parent / "link").symlink_to(a)
    (a / "loop").symlink_to(a.parent)
    (a / ".replaced").mkdir()
    shutil.copytree(b / "relu-d3-s0", a / ".replaced" / "relu-d3-s9")
    shutil.rmtree(b)
    for folders in ([a], [a, a], [a, a / "relu-d3-s0"], [a, a.parent], [a, a.parent / "link"]):
        assert [run["folder"] for run in read_runs(folders)] == expected
    assert len(read_runs([a.parent])) == len(read_runs([a.parent / "link"])) == 6
    assert list(read_sweeps([a, a.parent])) == [a]


def test_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 2, 10], sizes=[(8,) * 4, (8,) * 10, (8,) * 40])
    assert [run["seed"] for run in runs[:3]] == [0, 2, 10]
    assert [setting.rest for setting in settings_of(runs)] == ["depth 4", "depth 10", "depth 40"]


def test_another_result_of_the_same_seed_is_said_and_the_first_counts(twice: tuple[Path, Path]) -> None:
    change(read_runs([twice[1]])[0], test_accuracy=0.5)
    runs = read_runs(twice)
    assert verdict(runs) == verdict(read_runs([twice[0]]))
    assert repetitions(settings_of(runs)).endswith(f"counts once, with another result in {twice[1]}/relu-d3-s0")


def test_a_crash_gives_way_to_a_run_of_its_seed_that_ended(twice: tuple[Path, Path]) -> None:
    change(read_runs([twice[0]])[0], status="failed", test_accuracy=None)
    relu = settings_of(read_runs(twice))[1]
    assert ([run["seed"] for run in relu.completed], relu.failed, len(relu.repeated)) == ([0, 1, 2], (), 3)


def test_settings_that_differ_in_two_keys_of_one_name_stay_apart(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 1, 2, 3])
    for run in runs:
        run["config"] |= {"one": {"size": run["seed"] % 2}, "other": {"size": run["seed"] // 2}}
    assert [dict(each.values) for each in settings_of(runs)] == [
        {"act": "relu", "one.size": str(n % 2), "other.size": str(n // 2)} for n in (0, 2, 1, 3)
    ]


def test_what_data_are_distinguishes_settings_and_where_they_lie_does_not(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 1], data="fashion_mnist")
    runs[1]["config"]["data"]["source"]["root"] = "elsewhere"
    assert [each.label for each in settings_of(runs)] == [
        "relu, root data",
        "relu, root elsewhere",
    ]  # for all one knows
    for run in runs:
        run["config"]["content"] = "0123456789ab"
    assert [each.label for each in settings_of(runs)] == ["relu"]
    assert len(tasks_of(settings_of(runs))) == 1
    runs[1]["config"]["content"] = "f" * 12
    assert [each.label for each in settings_of(runs)] == ["relu, root data", "relu, root elsewhere"]
    assert len(tasks_of(settings_of(runs))) == 2
    runs[1]["config"]["data"]["source"]["root"] = "data"
    assert [each.label for each in settings_of(runs)] == ["relu, root data 01234567", "relu, root data ffffffff"]


def test_a_run_that_two_sweeps_expect_is_expected_once_and_missing_if_it_is_nowhere(twice: tuple[Path, Path]) -> None:
    a, b = twice
    for folder, name in ((b, "relu-d3-s1"), (a, "relu-d3-s2"), (b, "relu-d3-s2")):
        shutil.rmtree(folder / name)
    runs = read_runs(twice)
    absent = missing_of(runs, read_sweeps(twice))
    assert absent == [a / "relu-d3-s2"]  # s1 is in a
    relu = settings_of(runs, absent)[1]
    assert (len(relu.completed), relu.missing, relu.broken) == (2, (a / "relu-d3-s2",), "1 missing")
    assert (
        terminal.statuses(summarise(settings_of(runs, absent), {"missing": absent}))
        == "6 runs expected: 5 completed, 1 missing"
    )
    for run in read_runs([b]):
        change(run, test_loss=0.5, config=run["config"] | {"patience": 3})  # another study with the same names
    assert missing_of(read_runs(twice), read_sweeps(twice)) == [a / "relu-d3-s2", b / "relu-d3-s1", b / "relu-d3-s2"]


def test_missing_runs_are_named_once_and_can_be_forgotten(
    twice: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = twice[0]
    run_folder.write_sweep(a, "Why?", "y", ["rleu-d3-s0", "rleu-d3-s1"])
    command = f"python -m src.report {a} --forget"
    said = told([a], monkeypatch, capsys)
    assert f"missing: rleu-d3-s0, rleu-d3-s1; if they are not wanted: {command}\n" in said
    html = page_of(a)
    assert html.count("rleu-d3-s0") == html.count(f"<code>{command}</code>") == 1
    with pytest.raises(UserError, match=r"--forget relu-d3-s0: no missing run of .*; the report names those there are"):
        told([a], monkeypatch, capsys, "--forget", "relu-d3-s0")
    assert "no longer expected: rleu-d3-s1\n" in told([a], monkeypatch, capsys, "--forget", "rleu-d3-s1")
    assert run_folder.read_sweep(a)["expected"][-1] == "rleu-d3-s0"
    said = told([a], monkeypatch, capsys, "--forget")
    assert "no longer expected: rleu-d3-s0\n" in said
    assert "6 runs expected: 6 completed; " in said
    assert run_folder.read_sweep(a) == {"question": "Why?", "command": "y"} | {
        "expected": run_folder.read_sweep(twice[1])["expected"]
    }
    assert "nothing was missing" in told([a], monkeypatch, capsys, "--forget")
    assert not [path for path in a.iterdir() if path.suffix == ".tmp"]


def test_a_missing_seed_leaves_the_other_pairs() -> None:
    differences = np.array([0.8, 1.1, 0.9, 1.2, 1.0, 0.7, 1.3, 0.6, 1.4, 0.5])
    noise = 10 * np.random.default_rng(0).normal(size=10)
    first, second = dict(enumerate(noise + differences)), dict(enumerate(noise))
    assert compare(first, second).p_value == 2 / 2**10
    del first[3]
    found = compare(first, second)
    assert (found.n, found.paired, found.seeds, found.p_value) == (9, True, 10, 2 / 2**9)
    assert found.difference.value == pytest.approx(np.delete(differences, 3).mean())
    assert found.difference.value == compare(second, first).difference.value * -1


def test_what_diverged_is_said_on_both_sides_and_counted_as_chance(tmp_path: Path) -> None:
    runs = sweep(tmp_path, seeds=range(6), test_accuracy=None)
    for run in runs:
        run["test_accuracy"] = 0.9 if run["act"] == "relu" else 0.8
        if run["act"] == "relu" and run["seed"] > 2:
            run |= {"status": "diverged", "test_accuracy": None}
        if run["act"] == "tanh" and run["seed"] == 5:
            run |= {"status": "failed", "test_accuracy": None}
    said = verdict(runs)
    assert said[0].endswith("n = 3. That mean leaves out 3 diverged.")
    assert said[1] == (
        "tanh is 10.00 percentage points behind (95 % interval 10.00 to 10.00, Holm-corrected p = 0.25, paired over "
        "the 3 of 5 seeds that both have, n = 3; relu without 3 diverged, tanh without 1 failed): these runs can’t "
        "tell the two apart."
    )
    counted = verdict(runs, with_diverged=True)
    assert counted[0].startswith("With diverged runs counted as chance, 10.00 %: tanh has the highest mean")
    assert "relu is 22.00 percentage points behind" in counted[1]
    rows = summarise(settings_of(runs), {}).judged[0].rows
    means = {setting.label: [cells[key].data["value"] for key in MEANS] for setting, cells in rows}
    assert means == {"relu": [90.0, 50.0], "tanh": [80.0, 80.0]}
    for name in ("accuracy_by_setting", "overview", "accuracy_by_depth"):
        caption = importlib.import_module(f"actsweep.report.figures.{name}").draw(runs).caption
        assert "Means with diverged runs counted as chance: relu 50.00 % (n = 6). " in caption
        assert "Left out: 3 diverged, 1 failed." in caption


def test_what_the_diverged_runs_change_nothing_of_is_said_once(tmp_path: Path) -> None:
    runs = sweep(tmp_path, seeds=range(4), test_accuracy=None)
    lost = [run | {"act": "sigmoid", "status": "diverged"} for run in runs if run["act"] == "relu"]
    for run in runs:
        run["test_accuracy"] = 0.9 if (run["act"] == "relu") == (run["seed"] in {0, 1, 2}) else 0.8
    said = summarise(settings_of([*runs, *lost]), {}).judged[0].sentences
    assert len([sentence for sentence in said if sentence.startswith("tanh is")]) == 1
    assert any(sentence.startswith("With diverged runs counted as chance, 10.00 %: relu has") for sentence in said)


def test_of_regressions_the_highest_loss_stands_for_those_that_diverged(tmp_path: Path) -> None:
    runs = sweep(tmp_path, seeds=range(3), loss="mse", test_accuracy=None, classes=0)
    for run in runs:
        run["test_loss"] = 1.0 if run["act"] == "relu" else (1.1, 1.2, 3.0)[run["seed"]]
    runs[0] |= {"status": "diverged", "test_loss": None}
    runs[1]["test_loss"] = float("inf")  # tested, but no number
    assert verdict(runs)[0].endswith("n = 1. That mean leaves out 2 diverged.")
    counted = verdict(runs, with_diverged=True)
    assert counted[0].startswith("With diverged runs counted as the highest loss of any run here, 3 label²: tanh has")
    diverged = [run | {"status": "diverged", "test_loss": None} for run in runs]
    assert tasks_of(settings_of(diverged))[0].stands == "the highest loss of any run here"  # and no number


def test_a_run_whose_test_loss_is_infinite_has_diverged_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=range(3), loss="mse", test_accuracy=None, classes=0)
    change(runs[1], test_loss="inf")
    assert "2 completed, 1 diverged" in told([tmp_path], monkeypatch, capsys)
    for table in (pd.read_csv(tmp_path / run_folder.RESULTS), load(tmp_path).runs):
        assert table["status"].tolist() == ["completed", "diverged", "completed"]
    settings = settings_of(read_runs([tmp_path]))
    assert [row["status"] for row in run_rows(tasks_of(settings), tmp_path)].count("diverged") == 1


def test_intervals_of_accuracies_end_at_100_percent_and_one_run_has_none(tmp_path: Path) -> None:
    found = sweep(tmp_path, seeds=range(3), sizes=[(8,)], init="critical")
    for run in found:
        run["test_accuracy"] = (0.97, 0.999, 1.0)[run["seed"]]
    assert set(fair_ranking(found).table["high"]) == {100}
    alone = accuracy_by_depth(found[:1])
    assert alone.table[["low", "high"]].isna().all(axis=None)
    assert alone.caption.partition("mean ")[2].startswith("97 %. ")


def test_the_fair_ranking_counts_a_run_of_both_parts_once_and_says_what_diverged(tmp_path: Path) -> None:
    runs = [*sweep(tmp_path / "untuned", seeds=range(3)), *sweep(tmp_path / "tuned", seeds=range(3))]
    runs[0] |= {"status": "diverged", "test_accuracy": None}
    drawing = fair_ranking(runs)
    assert drawing.table["n"].tolist() == [3, 2, 3, 2] or set(drawing.table["n"]) == {2, 3}
    assert "With diverged runs as chance: Told apart by paired tests" in drawing.caption


@pytest.mark.parametrize(
    ("tested", "recorded", "epoch"),
    [(3, [0, 2, 4], 2), (4, [0, 2, 4], 4), (1, [0, 2, 4], None), (0, [0, 2], 0), (None, [0, 2, 4], 4)],
)
def test_what_is_shown_of_the_tested_weights_was_not_measured_after_them(
    tested: int | None, recorded: list[int], epoch: int | None
) -> None:
    assert measured_at({"best_epoch": tested}, recorded) == epoch


def test_nothing_left_out_is_no_sentence(twice: tuple[Path, Path]) -> None:
    assert left_out(settings_of(read_runs([twice[0]]))) == ""
