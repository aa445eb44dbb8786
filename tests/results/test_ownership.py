"""What actsweep did not write it never changes; a folder that holds such files is refused before any work."""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from actsweep import one_run
from actsweep.errors import UserError
from actsweep.report import writing
from actsweep.results import claims, ownership, provenance, run_folder
from tests.conftest import SMALL
from tests.training.test_train import FailsInTraining

Command = Callable[..., int]
SettingsFor = Callable[..., object]
FOREIGN = {
    "measurements.csv": "a,b\n1,2\n",
    "layers.csv": "mine",
    "results.csv": "mine",
    "events.out.tfevents.mine": "mine",
    "result.json": '{"status": "completed"}',
    "run.json": "{}",
    "sweep.json": '{"expected": []}',
    "report.html": "<p>mine",
    "error.txt": "mine",
    "multirun.yaml": "mine: 1",
    "train.log": "mine",
    ".lock": "mine",
    ".result.json.17.tmp": "mine",
    "checkpoints/best.ckpt": "mine",
    "checkpoints/.last.ckpt.17.tmp": "mine",
    ".hydra/config.yaml": "mine: 1",
    "figures/overview.svg": "mine",
    ".stacks/0123456789ab.ckpt": "mine",
    ".actsweep": "mine",
    "relu-d2-s0/result.json": '{"status": "completed"}',
}
FAILING = f"act={FailsInTraining.__module__}.{FailsInTraining.__name__}"
COMMANDS = {
    "run": ["hydra.run.dir=FOLDER"],
    "run without .hydra": ["hydra.run.dir=FOLDER", "hydra.output_subdir=null"],
    "failing run": ["hydra.run.dir=FOLDER", FAILING],
    "mistaken run": ["hydra.run.dir=FOLDER", "seed=-1"],
    "run again": ["hydra.run.dir=FOLDER", "rerun=all"],
    "sweep": ["-m", "hydra.sweep.dir=FOLDER", "seed=0,1"],
    "sweep with one folder for all": ["-m", "hydra.sweep.dir=FOLDER", "hydra.sweep.subdir=.", "seed=0"],
    "failing sweep": ["-m", "hydra.sweep.dir=FOLDER", "seed=0,1", FAILING],
    "sweep again": ["-m", "hydra.sweep.dir=FOLDER", "seed=0,1", "rerun=all"],
    "stacks": ["-m", "hydra.sweep.dir=FOLDER", "seed=0,1", "hydra/launcher=stacked"],
}


def content(folder: Path, but: str | None = None) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: text for name, text in found.items() if name != but}


def lay(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FOREIGN[name])
    return content(folder)


@pytest.mark.parametrize(
    ("words", "names"),
    [(words, FOREIGN) for words in COMMANDS.values()] + [(COMMANDS["run"], [name]) for name in FOREIGN],
    ids=[*COMMANDS, *FOREIGN],
)
def test_a_folder_with_anything_of_somebody_elses_is_refused_and_left_as_it_is(
    words: list[str], names: list[str], command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    before = lay(folder, names)
    assert command(*(word.replace("FOLDER", str(folder)) for word in words), *SMALL) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "seed=-1" in line or "did not write" in line
    assert content(folder) == before


@pytest.mark.parametrize("name", FOREIGN)
def test_a_sweep_is_refused_for_each_kind_of_file(name: str, tmp_path: Path) -> None:
    before = lay(tmp_path, [name])
    with pytest.raises(UserError, match=f"did not write: {re.escape(name)};"):
        claims.refuse_sweep(tmp_path)
    with pytest.raises(UserError):
        ownership.record(tmp_path, name)
    assert {each: text for each, text in content(tmp_path).items() if each in before} == before


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("run", ["hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/my.log"]),
        ("run", ["+hydra.callbacks.kept._target_=hydra.experimental.callbacks.PickleJobInfoCallback"]),
        ("sweep", ["-m", "hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/my.log"]),
        (
            "sweep",
            [
                "-m",
                "hydra/launcher=basic",
                "hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/my.log",
            ],
        ),
    ],
)
def test_what_hydra_writes_besides_is_not_somebody_elses(
    mode: str, words: list[str], command: Command, tmp_path: Path
) -> None:
    run = [*words, *SMALL, "diagnostics=[]", "trainer.max_epochs=1", "act=relu", f"hydra.{mode}.dir={tmp_path}"]
    assert command(*run) == 0
    assert list(tmp_path.rglob("my.log")) or list(tmp_path.glob(".hydra/*.pickle"))
    assert command(*run, "rerun=all") == 0
    for folder in {path.parent for path in tmp_path.rglob("result.json")}:
        (folder / "notes.txt").write_text("mine")
    assert command(*run, "rerun=all") == 2


def test_a_run_may_lie_in_the_folder_where_the_person_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = [*SMALL, "hydra.run.dir=.", "hydra.output_subdir=null"]
    assert command(*here) == 0
    assert set(content(tmp_path)) <= {*ownership.recorded(tmp_path), *(each.name for each in tmp_path.glob("events*"))}
    first = content(tmp_path, but=".lock")
    assert command(*here) == 0  # done already
    assert content(tmp_path, but=".lock") == first
    Path("notes.txt").write_text("mine")
    before = content(tmp_path)
    assert command(*here, "trainer.max_epochs=3") == command(*here, "rerun=all") == 2
    assert content(tmp_path) == before


@pytest.mark.parametrize("change", ["optim.lr=0.5", "test=last", "patience=3", "trainer.max_epochs=1"])
def test_a_run_with_other_settings_is_named_and_replaced_only_if_asked_and_then_moved_aside(
    change: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*SMALL, "diagnostics=[gradients]", f"hydra.run.dir={tmp_path}"]
    assert command(*run) == 0
    before = content(tmp_path)
    capsys.readouterr()
    assert command(*run, change) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1, shown
    [line] = shown
    key, _, value = change.partition("=")
    old = {"optim.lr": "0.01", "test": "best", "patience": "7"}.get(key)
    assert (f"{key}={old} instead of {value};" if old else "max_epochs=1, and it has trained 2 epochs;") in line
    assert content(tmp_path) == before
    assert command(*run, change, "rerun=all") == 0
    aside = content(tmp_path / run_folder.REPLACED / "1")
    assert aside == {name: before[name] for name in aside}
    assert {"result.json", "run.json", "epochs.csv", "layers.csv", "checkpoints/best.ckpt"} < aside.keys()
    assert (
        run_folder.read_run(tmp_path)["config"][key.partition(".")[0]]
        != json.loads(before["run.json"])["config"][key.partition(".")[0]]
    )


@pytest.mark.parametrize("other", [["optim.lr=0.5"], []])
def test_an_interrupted_run_is_moved_aside_too(other: list[str], command: Command, tmp_path: Path) -> None:
    run = [*SMALL, "diagnostics=[gradients]", f"hydra.run.dir={tmp_path}"]
    assert command(*run, "rerun=all") == 0
    assert not (tmp_path / run_folder.REPLACED).exists()
    (tmp_path / run_folder.RESULT).unlink()
    before = content(tmp_path)
    if other:
        assert command(*run, *other) == 2
        assert content(tmp_path) == before
    assert command(*run, *other, "rerun=all") == 0
    aside = content(tmp_path / run_folder.REPLACED / "1")
    assert aside == {name: before[name] for name in aside}
    assert {"run.json", "epochs.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} < aside.keys()


def test_what_a_kill_leaves_of_a_run_that_was_being_moved_aside_is_moved_too(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = [*SMALL, "diagnostics=[gradients]", f"hydra.run.dir={tmp_path}"]
    assert command(*run) == 0
    before, move, moves = content(tmp_path), Path.replace, iter(range(10**6))

    def killed(self: Path, target: Path) -> Path:
        if run_folder.REPLACED in Path(target).parts and next(moves) == 4:
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        command(*run, "rerun=all")
    assert command(*run, "rerun=all") == 0
    first, second = (content(tmp_path / run_folder.REPLACED / number) for number in "12")
    assert not first.keys() & second.keys()
    assert first | second == {name: before[name] for name in first | second}
    assert {"result.json", "run.json", "layers.csv", "checkpoints/best.ckpt"} < (first | second).keys()


def test_a_sweep_whose_defaults_have_changed_is_refused_as_a_whole(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *SMALL, "seed=0,1", "diagnostics=[]", f"hydra.sweep.dir={tmp_path}"]
    assert command(*sweep) == 0
    before = content(tmp_path)
    capsys.readouterr()
    same_names = "hydra.sweep.subdir='relu-d2-s${seed}-data=digits-trainer=cpu-width=16-diagnostics=[]'"
    assert command(*sweep, same_names, "optim.momentum=0.5") == 2
    assert "optim.momentum=0.9 instead of 0.5;" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_a_failed_run_is_done_again_with_what_mends_it(command: Command, tmp_path: Path) -> None:
    run = [*SMALL, f"hydra.run.dir={tmp_path}"]
    assert command(*run, FAILING) == 1
    assert command(*run, "act=tanh") == 0
    assert (run_folder.read_result(tmp_path) or {})["act"] == "tanh"
    assert not (tmp_path / run_folder.ERROR).exists()


def test_runs_and_sweeps_keep_out_of_each_others_folders(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    assert command(*SMALL, f"hydra.run.dir={run}") == 0
    assert command("-m", *SMALL, "seed=0", f"hydra.sweep.dir={sweep}") == 0
    capsys.readouterr()
    assert command(*SMALL, f"hydra.run.dir={sweep}") == 2
    assert command("-m", *SMALL, "seed=0", f"hydra.sweep.dir={run}") == 2
    shown = capsys.readouterr().err.splitlines()
    assert ["is the folder of a sweep" in shown[0], "is the folder of a run" in shown[1]] == [True, True]


def test_a_report_replaces_its_own_files_and_nobody_elses(command: Command, tmp_path: Path) -> None:
    assert command("-m", *SMALL, "seed=0", f"hydra.sweep.dir={tmp_path}/sweep") == 0
    shutil.copytree(tmp_path / "sweep", tmp_path / "in" / "sweep")
    runs = writing.read_runs([tmp_path / "in"])
    (tmp_path / "in" / "report.html").write_text("mine")
    with pytest.raises(UserError, match=r"did not write: report\.html;"):
        writing.write(runs, [tmp_path / "in"])
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"sweep", "report.html"}
    (tmp_path / "in" / "report.html").unlink()
    for _ in range(2):
        writing.write(runs, [tmp_path / "in"])
    (tmp_path / "in" / "results.csv").unlink()
    ownership.record(tmp_path / "in", "results.csv")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.csv").write_text("mine")
    with pytest.raises(UserError, match=r"did not write: results\.csv;"):
        writing.write(runs, [tmp_path / "other"])


def test_a_damaged_file_is_set_aside_beside_earlier_ones(tmp_path: Path) -> None:
    for text in ("first", "second"):
        run_folder.write_result(tmp_path, {"status": text})
        run_folder.set_aside(tmp_path / run_folder.RESULT, text)
    kept = [json.loads((tmp_path / f"result.json.unreadable{each}").read_text())["status"] for each in ("", "2")]
    assert kept == ["first", "second"]


class Commits(torch.nn.Module):
    """Commits while it trains, as far as provenance can tell."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        provenance.provenance.cache_clear()
        return x.clamp(min=0)


def test_a_result_names_the_code_that_ran_not_what_was_committed_meanwhile(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions = iter(range(10**6))
    monkeypatch.setattr(provenance, "_git_revision", lambda: f"revision {next(revisions)}")
    provenance.provenance.cache_clear()
    settings = [*SMALL, f"act={__name__}.Commits", f"hydra.run.dir={tmp_path}", "diagnostics=[]"]
    assert command(*settings) == 0
    found, noted = run_folder.read_result(tmp_path) or {}, run_folder.read_run(tmp_path)
    assert found["git"] == noted["git"]
    assert provenance.provenance()["git"] != noted["git"]
    assert command(*settings, "trainer.max_epochs=3") == 0
    assert run_folder.read_run(tmp_path)["git"].startswith(f"{noted['git']}, then revision ")
    provenance.provenance.cache_clear()


def test_train_itself_refuses_a_foreign_folder(settings_for: SettingsFor, tmp_path: Path) -> None:
    before = lay(tmp_path, ["measurements.csv", "checkpoints/best.ckpt"])
    with pytest.raises(UserError, match="did not write"):
        one_run.train(settings_for(*SMALL), tmp_path)  # type: ignore[arg-type]
    assert content(tmp_path) == before
