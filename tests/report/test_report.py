import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf
from scipy import stats

from actsweep.composition import run_name
from actsweep.report import terminal, writing
from actsweep.report.summary import summarise
from actsweep.results import run_folder
from actsweep.statistics.inference import trained
from actsweep.statistics.setting import labels, settings_of
from tests import processes
from tests.conftest import SMALL
from tests.results.made_up_runs import sweep

Command = Callable[..., int]


def run(act: str, seed: int, accuracy: float | None, status: str = "completed", **config: Any) -> dict[str, Any]:
    finished = status == "completed"
    return {
        "name": f"{act}-{seed}", "act": act, "depth": 4, "hidden_sizes": [8] * 4, "seed": seed, "status": status,
        "epochs": 3 + seed, "best_epoch": 2 if finished else None, "classes": 10, "val_accuracy": accuracy,
        "test_accuracy": accuracy, "grad_norm": [1e-3, 0.1, 0.5] if finished else None, "dead_fraction": [0.0, 0.5],
        "dead_outputs": [0, 4], "seconds": 1.0, "error": "RuntimeError: x" if status == "failed" else None,
        "initial": {"grad_norm": [1.0, 2.0, 3.0]}, "folder": "nowhere",
        "config": {"names": {"act": act}, "act": {"_target_": act}, "seed": seed, "optim": {"lr": 0.1}} | config,
    }  # fmt: skip


def save(runs: list[dict[str, Any]], folder: Path) -> Path:
    for one in runs:
        (folder / one["name"]).mkdir(parents=True)
        run_folder.write_result(folder / one["name"], one)
    return folder


def rows_of(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Label → column → number, as report.json holds it."""
    rows = [row for judged in summarise(settings_of(runs), {}).judged for row in judged.rows]
    return {setting.label: {key: cell.data for key, cell in cells.items()} for setting, cells in rows}


def test_means_are_over_completed_runs_alone() -> None:
    accuracies = [0.8, 0.9, 0.85]
    runs = [run("relu", seed, accuracy) for seed, accuracy in enumerate(accuracies)]
    runs += [run("relu", 3, None, "diverged"), run("relu", 4, None, "failed"), run("tanh", 0, 0.1)]
    rows = rows_of(runs)
    relu = rows["relu"]
    assert (relu["n"], relu["trained"]["count"], relu["trained"]["n"]) == (3, 3, 4)
    low, high = stats.t.interval(0.95, 2, 85, stats.sem([80, 90, 85]))
    assert relu["mean"] == {"value": 85.0, "low": round(low, 2), "high": min(round(high, 2), 100), "n": 3}
    assert relu["mean_with_diverged"]["value"] == round(100 * (0.8 + 0.9 + 0.85 + 0.1) / 4, 2)
    assert (relu["epochs"], relu["gradient_first_to_last"], relu["dead_percent"]) == (4.0, 0.33, 25.0)
    assert (rows["tanh"]["n"], rows["tanh"]["trained"]["count"]) == (1, 0)


def test_a_setting_is_whatever_was_varied() -> None:
    runs = [run("relu", seed, 0.9, optim={"lr": lr}) for seed in (0, 1) for lr in (0.1, 0.01)]
    assert {label: row["n"] for label, row in rows_of(runs).items()} == {"relu, lr 0.01": 2, "relu, lr 0.1": 2}


def test_runs_that_were_shown_in_different_ways_are_of_one_setting() -> None:
    runs = [run("relu", seed, 0.9, report=bool(seed), figures=[str(seed)]) for seed in (0, 1)]
    assert labels(runs) == [{"act": "relu"}] * 2


def test_a_sweep_without_a_completed_run_is_tabulated(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run("relu", 0, None, "diverged"), run("relu", 1, None, "failed")]
    terminal.show(summarise(settings_of(runs), {}), Path("results.csv"))
    shown = capsys.readouterr().out
    assert "diverged" in shown
    assert "0/1" in shown


def test_the_command_reads_folders_and_skips_what_cant_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save([run("relu", 0, 0.9), run("tanh", 0, 0.8)], tmp_path / "sweep")
    (folder / "broken").mkdir()
    (folder / "broken" / run_folder.RESULT).write_text('{"status": "comp')
    monkeypatch.setattr(sys, "argv", ["report", str(folder)])
    writing.main()
    table = pd.read_csv(folder / writing.RESULTS)
    assert table["act"].tolist() == ["relu", "tanh"]
    assert table["dead_outputs"].tolist() == ["0 4", "0 4"]
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as end:
        writing.main()
    assert end.value.code == 2


def test_the_table_and_the_last_line_say_what_became_of_every_run_that_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run("relu", 0, 0.9), run("tanh", 0, 0.8), run("relu", 1, None, "diverged"), run("relu", 2, None, "failed")]
    save(runs, tmp_path / "a")
    names = [each["name"] for each in runs]
    run_folder.write_sweep(tmp_path / "a", None, "x", [*names, "relu-3", "tanh-1"])
    run_folder.write_sweep(tmp_path / "b", None, "x", ["relu-0"])  # of the same name, but another sweep's
    folders = [tmp_path / "a", tmp_path / "b"]
    writing.write(writing.read_runs(folders), folders, with_page=False)
    table = pd.read_csv(tmp_path / "a" / writing.RESULTS)
    counts = {"completed": 2, "diverged": 1, "failed": 1, "missing": 3}
    assert table["status"].value_counts().to_dict() == counts
    absent = table[table["status"] == "missing"].dropna(axis=1)
    assert absent["folder"].tolist() == [str(tmp_path / "a/relu-3"), str(tmp_path / "a/tanh-1"), f"{tmp_path}/b/relu-0"]
    assert list(absent) == ["status", "folder"]
    assert "7 runs expected: 2 completed, 1 diverged, 1 failed, 3 missing;" in capsys.readouterr().out


def test_result_files_are_valid_json_whatever_was_measured(tmp_path: Path) -> None:
    found = {"status": "completed", "losses": [math.inf, -math.inf, math.nan, None, 0.5], "name": "inf.0", "config": {}}
    run_folder.write_result(tmp_path, found)
    written = json.loads((tmp_path / run_folder.RESULT).read_text(), parse_constant=pytest.fail)
    assert written == found | {"losses": ["inf", "-inf", "nan", None, 0.5]}
    assert repr(run_folder.read_result(tmp_path)) == repr(found)


@pytest.mark.parametrize(
    ("accuracy", "classes", "learnt"),
    [(0.10, 10, False), (0.18, 10, False), (0.20, 10, True), (0.54, 2, False), (0.56, 2, True)],
)
def test_trained_means_a_tenth_of_the_way_from_chance(accuracy: float, classes: int, learnt: bool) -> None:
    assert trained(accuracy, classes) == learnt


Name = Callable[..., str]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["act=relu", "seed=0"], "relu-d4-s0"),
        (["+sweeps=main", "hydra.sweep.dir=x", "trainer.enable_progress_bar=false"], "relu-d4-s0"),
        (["optim.lr=0.1", "norm=batch"], "relu-d4-s0-lr=0.1-norm=batch"),
        (["hidden_sizes=[3,4]"], "relu-d4-s0-hidden_sizes=[3,4]"),
    ],
)
def test_run_names_are_readable(overrides: list[str], name: str) -> None:
    assert run_name("relu", 4, 0, overrides) == name


@pytest.mark.parametrize("value", ["../../x", "a/b", "<b>", "x" * 300, "a b", "\n"])
def test_run_names_stay_in_their_folder_and_differ(value: str) -> None:
    name = run_name("relu", 4, 0, [f"data.source.x={value}"])
    assert "/" not in name
    assert len(name) < 140
    assert set(name).isdisjoint("<>\n ")
    assert name != run_name("relu", 4, 0, [f"data.source.x={value}'"])


def test_a_sweep_ends_with_its_page_its_figures_and_what_it_was(command: Command, tmp_path: Path) -> None:
    sweep = [*SMALL[:-2], "act=relu", "seed=0,1", f"hydra.sweep.dir={tmp_path}", "figures=[learning_curves]"]
    assert command("-m", *sweep) == 0
    assert (tmp_path / "report.html").stat().st_size > 1_000_000  # plotly.js is in it
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "learning_curves.csv", "learning_curves.png", "learning_curves.svg",
    ]  # fmt: skip
    noted = json.loads((tmp_path / run_folder.SWEEP).read_text())
    assert [name[:10] for name in noted["expected"]] == ["relu-d2-s0", "relu-d2-s1"]
    assert "seed=0,1" in noted["command"]
    assert noted["question"] is None
    later = ["act=relu", "seed=2", f"hydra.sweep.dir={tmp_path}"]
    assert command("-m", *SMALL, *later) == 0
    expected = json.loads((tmp_path / run_folder.SWEEP).read_text())["expected"]
    assert [name[:10] for name in expected] == ["relu-d2-s0", "relu-d2-s1", "relu-d2-s2"]


def test_the_page_can_be_switched_off(command: Command, tmp_path: Path) -> None:
    assert command("-m", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path}") == 0
    assert (tmp_path / "results.csv").exists()
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "figures").exists()


def test_several_sweeps_are_reported_together(tmp_path: Path) -> None:
    run_folder.write_sweep(tmp_path / "a", "Why?", "python -m src.train +sweeps=a", ["one"])
    run_folder.write_sweep(tmp_path / "b", None, "python -m src.train -m seed=1", ["two"])
    (tmp_path / "c").mkdir()
    together = writing.noted([], [tmp_path])
    assert together["question"] == "Why?"
    assert together["command"] == "python -m src.train +sweeps=a · python -m src.train -m seed=1"


def test_networks_of_equal_depth_and_other_widths_are_other_settings() -> None:
    narrow, wide = run("relu", 0, 0.8), run("relu", 0, 0.9)
    for one, width in ((narrow, 8), (wide, 16)):
        one["hidden_sizes"] = one["config"]["hidden_sizes"] = [width] * 4
    assert labels([narrow, wide]) == [
        {"act": "relu", "hidden_sizes": "[8, 8, 8, 8]"},
        {"act": "relu", "hidden_sizes": "[16, 16, 16, 16]"},
    ]
    assert len(settings_of([narrow, wide])) == 2


WRITE = """
import sys
from pathlib import Path
from actsweep.report import writing as report
for name in sys.argv[1:]:
    report.write(report.read_runs([Path(name)]), [Path(name)])
    print("LOADED", *sorted({"torch", "pytorch_lightning", "torchvision", "actsweep.one_run"} & set(sys.modules)))
"""


@pytest.mark.cold
def test_a_report_with_the_worst_examples_loads_no_torch_and_no_lightning(tmp_path: Path) -> None:
    default = OmegaConf.load("conf/config.yaml").figures
    for name in ("without", "with"):
        for one in sweep(tmp_path / name, acts=["relu"], seeds=[0, 1]):
            folder = Path(one.pop("folder"))
            one["config"]["figures"] = list(default) if name == "without" else []
            (folder / run_folder.RESULT).write_text(json.dumps(one))
            if name == "without":
                (folder / "predictions.csv").unlink()
    command = [sys.executable, "-c", WRITE, str(tmp_path / "without"), str(tmp_path / "with")]
    done = processes.run(command)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert loaded == [[], []]
    assert "data:image/png" in (tmp_path / "with" / "report.html").read_text()
    drawn = {path.stem for path in (tmp_path / "without" / "figures").iterdir()}
    assert drawn == set(default)
