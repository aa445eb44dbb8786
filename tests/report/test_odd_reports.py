"""Reports of folders that are mistyped, foreign or mixed: what is wrong is said, and each number is of what it says."""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from actsweep import load
from actsweep.report import as_data, figures, provenance, terminal, trial, verdict, writing
from actsweep.report.frames import loss_unit
from actsweep.report.page import _declared
from actsweep.report.page.examples import examples_of
from actsweep.report.page.layers import layers_of
from actsweep.report.summary import summarise
from actsweep.report.tasks import tasks_of
from actsweep.results import run_folder
from actsweep.results.folders import Folders
from actsweep.results.reading import read_runs
from actsweep.statistics.findings import Finding, Where
from actsweep.statistics.setting import settings_of
from tests.report.test_one_table import many
from tests.results.made_up_runs import result_of, sweep


def reported(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of `python -m src.report WORDS`."""
    monkeypatch.setattr(sys, "argv", ["report", *map(str, words)])
    try:
        writing.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_folder_that_is_not_there_or_holds_no_run_is_refused_also_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, gone, empty = (tmp_path / name for name in ("there", "gone", "empty"))
    sweep(there)
    empty.mkdir()
    for words, said in (
        ((there, gone), f"error: {gone}: there is no such folder"),
        ((gone, "--forget"), f"error: {gone}: there is no such folder"),
        ((there / "relu-d3-s0" / "result.json", there), "result.json: there is no such folder"),
        ((there, empty), f"error: no result.json in {empty}: give the folder of a sweep or a run"),
    ):
        assert reported(monkeypatch, *words) == 2
        assert said in capsys.readouterr().err
    assert not (there / run_folder.RESULTS).exists()


def test_another_programs_result_json_is_no_run(tmp_path: Path) -> None:
    sweep(tmp_path, acts=["relu"], seeds=[0])
    for name, content in (("theirs", {"status": "ok", "config": {"lr": 1}}), ("others", {"status": "completed"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / run_folder.RESULT).write_text(json.dumps(content))
    assert [run["name"] for run in read_runs([tmp_path])] == ["relu-d3-s0"]
    assert load(tmp_path).runs["act"].tolist() == ["relu"]


def test_a_folder_whose_name_is_no_unicode_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "show", lambda *_: None)  # a stream of pytest's has no such names
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    writing.write(sweep(folder), [folder], with_page=False)
    assert len(pd.read_csv(folder / run_folder.RESULTS)) == 4


def test_runs_below_a_folder_whose_name_is_no_unicode_have_links(tmp_path: Path) -> None:
    runs = sweep(tmp_path / os.fsdecode(b"caf\xe9"), acts=["relu"], seeds=[0], sizes=[(8,)])
    (row,) = provenance.run_rows(tasks_of(settings_of(runs)), tmp_path)
    assert row["href"] == "./caf%E9/relu-d1-s0/"


def test_a_sweep_of_which_no_run_has_ended_is_not_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write_sweep(tmp_path, None, "x", ["tanh-d2-s0"])
    assert reported(monkeypatch, tmp_path) == 2
    assert capsys.readouterr().err == f"error: no run of the sweep in {tmp_path} has left a result.json yet\n"


def test_a_failed_run_of_which_nothing_else_is_known_is_reported(tmp_path: Path) -> None:
    (run,) = sweep(tmp_path, acts=["relu"], seeds=[0])
    known = {key: run[key] for key in ("name", "act", "seed", "depth", "hidden_sizes", "config")}
    Path(run["folder"], run_folder.RESULT).write_text(json.dumps(known | {"status": "failed"}))
    writing.write(read_runs([tmp_path]), [tmp_path])
    assert pd.read_csv(tmp_path / run_folder.RESULTS)["status"].tolist() == ["failed"]


def test_what_is_loaded_from_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load(".").report["name"] == tmp_path.name


def test_a_figure_that_is_not_there_any_more_costs_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runs = sweep(tmp_path)
    for run in runs:
        run["config"]["figures"] = ["mine", "accuracy_by_setting"]
    assert writing.write(runs, [tmp_path], with_page=False)
    said = capfd.readouterr()
    assert said.err == "figure mine: there is no such figure here\n"
    assert f"figures: {tmp_path / 'figures'}\n" in said.out
    assert (tmp_path / "figures" / "accuracy_by_setting.png").exists()


def atlas_run(folder: Path, act: str) -> None:
    run = result_of(act, (8, 8), 0, "digits", epochs=0, best_epoch=0)
    run["config"]["atlas"] = {"rates": [0.1], "choosing": [100], "seeds": [0, 1]}
    run["atlas"] = {"unfit": None, "learnt": 0, "values": [0.0, 1.0], "accuracies": [0.8, 0.9], "diverged": []}
    (folder / run["name"]).mkdir(parents=True)
    (folder / run["name"] / run_folder.RESULT).write_text(json.dumps(run))


def test_beside_an_atlas_its_runs_are_neither_missing_nor_of_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path / "plain")
    run_folder.write_sweep(tmp_path / "atlas", None, "x", ["tanh-d2-s0", "torch.sin-d2-s0"])
    for act in ("tanh", "torch.sin"):
        atlas_run(tmp_path / "atlas", act)
    writing.write(read_runs([tmp_path]), [tmp_path], with_page=False)
    assert "4 runs expected: 4 completed; " in capsys.readouterr().out
    assert (pd.read_csv(tmp_path / run_folder.RESULTS)["status"] == "completed").all()
    found = load(tmp_path).report
    assert found["runs"] == {"completed": 4, "diverged": 0, "failed": 0, "missing": 0}
    assert [(row["setting"], row["n"]) for row in found["settings"]] == [("tanh", 2), ("relu", 2)]


def test_an_atlas_that_is_half_done_says_what_is_missing_and_has_no_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write_sweep(tmp_path, None, "x", ["tanh-d2-s0", "relu-d2-s0"])
    atlas_run(tmp_path, "tanh")
    assert reported(monkeypatch, tmp_path, "--try") == 2
    said = capsys.readouterr()
    assert f"missing: relu-d2-s0; if they are not wanted: python -m src.report {tmp_path} --forget\n" in said.out
    assert said.err == "error: --try: the atlas has no findings, whose remedies could be tried\n"


def test_a_remedy_that_could_not_be_tried_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = sweep(tmp_path, acts=["relu"], seeds=[0])
    finding = Finding("diverged", 3, Where("relu"), (), "It broke.", ("optim.lr=0.1",))
    tried = trial.Trial(finding, run, (), tmp_path / ".tried" / "nothing")
    monkeypatch.setattr(trial, "trials", lambda *_: [tried])
    monkeypatch.setattr(trial, "run", lambda *_: print(tried.outcome()))
    assert reported(monkeypatch, tmp_path, "--try") == 1
    assert capsys.readouterr().err.endswith("error: 1 of 1 remedies could not be tried\n")


def test_brackets_in_a_title_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sweep(tmp_path, acts=["relu"])
    for run, root in zip(runs, ("/mnt/[old]", "/mnt/[/new]"), strict=True):
        run["config"]["data"]["source"] = {"_target_": "mine.load", "root": root}
    terminal.show(summarise(settings_of(runs), {}), Path("results.csv"))
    said = capsys.readouterr().out
    assert "digits, root /mnt/[old]" in said
    assert "digits, root /mnt/[/new]" in said


def test_what_is_said_in_other_alphabets_takes_its_room_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MOST_COMPARED", 20)
    found = summarise(settings_of(many(1000, 1)), {"question": "ä" * 3000})
    report = as_data.report_of(found, "many")
    assert report["left_out"]["settings"] > 0
    assert len(as_data.as_text(report).encode()) <= as_data.MOST_BYTES


def test_losses_of_two_kinds_have_two_units(tmp_path: Path) -> None:
    runs = [
        *sweep(tmp_path / "a", acts=["relu"], seeds=[0]),
        *sweep(tmp_path / "b", acts=["tanh"], seeds=[0], loss="mse"),
    ]
    assert [loss_unit(each) for each in (runs[:1], runs[1:], runs)] == ["nats", "label²", "nats or label²"]
    for run, unit in zip(runs, ("nats per unit weight", "label² per unit weight"), strict=True):
        meant = {"grad_norm": {"unit": unit, "scale": "log", "definition": "", "kind": "scalar"}}
        Path(run["folder"], run_folder.QUANTITIES).write_text(json.dumps(meant))
    said = _declared(runs, Folders())["grad_norm"]
    assert said["unit"] == "nats per unit weight or label² per unit weight"


def test_the_run_whose_mistakes_are_shown_was_chosen_as_the_page_says(tmp_path: Path) -> None:
    said = []
    for place, (size, known) in enumerate([(237, 0.8), (0, 0.8), (0, None)]):
        runs = sweep(tmp_path / str(place), acts=["relu"], seeds=[0])
        runs[0]["val_accuracy"], runs[0]["config"]["data"]["val_size"] = known, size
        found: Any = examples_of(tasks_of(settings_of(runs))[0], Folders())
        said.append(found["chosen"])
    assert said == [
        "The run with the best validation accuracy, so that its test accuracy, 88.00 %, was not what chose it.",
        "The run with the best accuracy on its training examples, as none is held out for a validation; its test "
        "accuracy is 88.00 %.",
        "The first run, as nothing was validated; its test accuracy is 88.00 %.",
    ]


def test_units_that_die_are_of_the_runs_in_which_they_were_counted(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 1, 2])
    for run in runs:
        path = Path(run["folder"], "layers.csv")
        table = pd.read_csv(path)
        dead = table[table["quantity"] == "units_died"]
        table = pd.concat([table, dead.assign(quantity="units_revived")])
        table = table if run["seed"] == 0 else table[~table["quantity"].str.startswith("units_")]
        table.to_csv(path, index=False)
    assert layers_of(settings_of(runs), Folders(), {})["turnover"][0]["n"] == 1


def test_steps_of_one_seed_are_not_averaged_with_epochs_of_another(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[0, 1], sizes=[(8,)])
    whens = ([(0, 0), (1, 1), (1, 2), (2, 3), (2, 4)], [(0, 0), (1, 2), (2, 4)])
    for run, when, factor in zip(runs, whens, (1, 3), strict=True):
        rows = [(*each, layer, "update_ratio", factor * each[1]) for each in when for layer in ("layer_01", "layer_02")]
        table = pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])
        table.to_csv(Path(run["folder"], "layers.csv"), index=False)
    (shown,) = layers_of(settings_of(runs), Folders(), {})["quantities"]
    drawn = shown["settings"][0]["map"]
    assert (drawn["step"], drawn["x"], drawn["n"]) == (False, [0, 1, 2], [2, 2, 2])
    assert drawn["z"] == [[0, 4, 8]] * 2


def test_where_all_runs_diverged_no_number_is_explained_and_no_diagnostic_is_said_to_be_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(tmp_path, loss="mse", status="diverged", test_accuracy=None, test_loss=None, classes=0)
    (judged,) = summarise(settings_of(runs), {}).judged
    assert "mean_with_diverged" not in judged.headings
    assert "diverged counted" not in judged.note
    figures.draw(["learning_curves", "gradient_by_layer"], runs, tmp_path)
    assert (
        capsys.readouterr().err
        == "figure learning_curves: no run completed\nfigure gradient_by_layer: no run completed\n"
    )


def test_of_one_run_nobody_says_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = sweep(tmp_path, acts=["relu"], seeds=[0], sizes=[(8,)])
    writing.write(one, [tmp_path])
    assert "1 run expected: 1 completed; " in capsys.readouterr().out
    assert "<b>1</b> run expected" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("is_forkable", [True, False])
def test_figures_are_drawn_beside_the_page_and_a_death_among_them_is_said(
    is_forkable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run | {"config": run["config"] | {"figures": ["overview", "curve", "chain"]}} for run in sweep(tmp_path)]

    def draw(names: list[str], *_: Any) -> list[Path]:
        (tmp_path / f"{os.getpid()}.drawn").write_text(" ".join(names))
        return [tmp_path] * len(names)

    monkeypatch.setattr(writing, "forkable", lambda: is_forkable)
    monkeypatch.setattr(figures, "known", lambda: ["chain", "curve", "overview"])
    monkeypatch.setattr(figures, "draw", draw)
    writing.write(runs, [tmp_path], with_page=False)
    drawn = {path.stem: path.read_text() for path in tmp_path.glob("*.drawn")}
    assert sorted(drawn.values()) == (["curve chain", "overview"] if is_forkable else ["overview curve chain"])
    assert (str(os.getpid()) in drawn) == (not is_forkable)
    assert capsys.readouterr().out.count(f"figures: {tmp_path}") == 1
    if is_forkable:
        monkeypatch.setattr(figures, "draw", lambda names, *_: os._exit(3 if "curve" in names else 0))
        with pytest.raises(SystemExit) as ended:
            writing.write(runs, [tmp_path], with_page=False)
        assert ended.value.code == 1
        assert "error: drawing the figures ended with exit code 3" in capsys.readouterr().err


def test_of_an_atlas_alone_load_says_where_its_numbers_are(tmp_path: Path) -> None:
    for run in sweep(tmp_path, acts=["relu"], seeds=[0]):
        run["config"]["atlas"] = {"rates": [0.1]}
        (Path(run["folder"]) / "result.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match=r"all runs here are an atlas', whose numbers are in atlas.csv and atlas.html"):
        _ = load(tmp_path).report


def test_while_a_sweep_is_at_work_its_runs_are_not_to_be_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.write_sweep(tmp_path, None, "x", ["relu-d3-s9"])
    runs = sweep(tmp_path)
    with (tmp_path / ".lock").open("w+") as lock:
        print("process 7 on here since noon", file=lock, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        writing.write(runs, [tmp_path])
        said = capsys.readouterr().out
        assert "missing: relu-d3-s9; a sweep is at work, process 7 on here since noon\n" in said
        assert "--forget" not in said + (tmp_path / "report.html").read_text()
    writing.write(runs, [tmp_path], with_page=False)
    assert "missing: relu-d3-s9; if they are not wanted: " in capsys.readouterr().out
