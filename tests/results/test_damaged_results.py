"""A `result.json` or `sweep.json` that lacks what a run or a sweep has is left out, in words, and nothing else is."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import actsweep
from actsweep.config import schema
from actsweep.config.command_line import one_line_errors
from actsweep.report import writing
from actsweep.results import files, ownership, run_folder
from actsweep.results.reading import read_sweeps
from tests.results.made_up_runs import sweep

DAMAGES: dict[str, Any] = {
    "seed": None,
    "name": 5,
    "test_accuracy": "high",
    "status": "weird",
    "hidden_sizes": ...,
    "epochs": ...,
    "config": 5,
    "config.data": 5,
    "config.data.source": "digits",
    "config.diagnostics": 3,
    "config.act": "relu",
}


def damaged_at(content: dict[str, Any], key: str, damage: Any) -> dict[str, Any]:
    """With this damage in place of a dotted key's value, or without the key."""
    first, _, rest = key.partition(".")
    kept = {name: value for name, value in content.items() if name != first}
    value = damaged_at(content[first], rest, damage) if rest else damage
    return kept if value is ... else kept | {first: value}


@pytest.mark.parametrize("key", DAMAGES)
def test_a_result_without_one_of_its_numbers_costs_no_other_run(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, damaged = sweep(tmp_path), tmp_path / "relu-d3-s0" / run_folder.RESULT
    damaged.write_text(json.dumps(damaged_at(json.loads(damaged.read_text()), key, DAMAGES[key])))
    writing.write(writing.read_runs([tmp_path]), [tmp_path], with_page=False)
    assert len(actsweep.load(tmp_path).runs) == len(runs) - 1
    said = [line for line in capsys.readouterr().err.splitlines() if str(damaged) in line]
    assert len(said) == 1
    assert key in said[0]
    assert said[0].endswith("that run is left out")


def test_a_run_whose_result_is_damaged_is_done_again(
    tmp_path: Path, settings_for: Callable[..., schema.Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for("data=digits")
    whole = run_folder.asked(settings, "x") | {"status": "completed", "epochs": 1, "classes": 10, "test_accuracy": 0.5}
    run_folder.write_result(tmp_path, whole)
    assert run_folder.finished(tmp_path, settings) == whole
    run_folder.write_result(tmp_path, {key: value for key, value in whole.items() if key != "seed"})
    assert run_folder.finished(tmp_path, settings) is None
    assert "result.json can't be read (seed: missing" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"expected": 3}', '{"expected": ["a", null]}', '{"expec', ""])
def test_a_damaged_sweep_json_is_told(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder.write_sweep(tmp_path, None, "x", ["relu-d3-s9"])
    sweep(tmp_path)
    (tmp_path / run_folder.SWEEP).write_text(content)
    assert writing.missing_of([], read_sweeps([tmp_path])) == []
    assert f"{tmp_path / 'sweep.json'} is damaged: which of its runs are missing isn't known" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_report_where_nothing_can_be_written_is_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, "not here", "results.csv")

    sweep(tmp_path)
    monkeypatch.setattr(files, "write_atomically", refused)
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path)])
    with pytest.raises(SystemExit) as end, one_line_errors():
        writing.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: [Errno {number}] not here: 'results.csv'\n"


def test_what_a_killed_command_was_noting_of_its_sweep_is_removed_if_it_is_ours(tmp_path: Path) -> None:
    for name in (ours := tmp_path / ".sweep.json.17.tmp", mine := tmp_path / ".sweep.json.18.tmp"):
        name.write_text("half")
    ownership.adopt(tmp_path, ours.name)
    run_folder.write_sweep(tmp_path, None, "x", [])
    assert not ours.exists()
    assert mine.exists()
