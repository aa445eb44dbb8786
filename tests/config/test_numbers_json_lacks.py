"""A configuration may hold any float, and so may a result: inf and nan, which JSON lacks, cost no sweep."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import actsweep
from actsweep.results import run_folder
from tests.conftest import SMALL

Command = Callable[..., int]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", "depth=1", "width=4"]


@pytest.mark.parametrize(
    ("overrides", "values"),
    [
        (["act=torch.nn.Hardtanh", "+act.min_val=0.0", "+act.max_val=1.0,6.0,inf"], [1.0, 6.0, math.inf]),
        (["act=clippedrelu", "act.max_val=2.0,inf"], [2.0, math.inf]),
        (["act=clippedrelu", "act.min_val=-inf,0.0", "act.max_val=2.0"], [-math.inf, 0.0]),
    ],
)
@pytest.mark.parametrize("launcher", ["basic", "stacked"])
def test_an_infinite_bound_is_a_setting_like_any_other(
    launcher: str, overrides: list[str], values: list[float], command: Command, tmp_path: Path
) -> None:
    key = "min_val" if -math.inf in values else "max_val"
    sweep = ["-m", *QUICK, *overrides, "seed=0,1", "report=true", f"hydra/launcher={launcher}"]
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/sweep") == 0
    runs = [run_folder.read_result(path.parent) or {} for path in (tmp_path / "sweep").glob("*/result.json")]
    assert sorted(run["config"]["act"][key] for run in runs) == sorted(2 * values)
    assert {run["status"] for run in runs} == {"completed"}
    assert len({run["config_hash"] for run in runs}) == 2 * len(values)
    for path in (tmp_path / "sweep").rglob("*.json"):
        assert not re.search(r"\b(Infinity|NaN)\b", path.read_text()), path
    assert (tmp_path / "sweep" / "report.html").exists()
    assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 1 + 2 * len(values)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/result.json")}
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/sweep") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/result.json")} == before


def test_a_plan_counts_runs_with_infinite_bounds(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *QUICK, "act=clippedrelu", "act.max_val=2.0,inf", "seed=0,1", "plan=true"]
    assert command(*sweep, f"hydra.sweep.dir={tmp_path}/sweep") == 0
    assert "4 runs: 1 stack, one after another" in capsys.readouterr().out
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("name", ["nan", "inf", "123", "1e5"])
def test_an_activation_may_be_named_like_a_number(name: str, command: Command, tmp_path: Path) -> None:
    named = ["-m", *QUICK, "act=relu", f"names.act='{name}'", f"hydra.sweep.dir={tmp_path}"]
    assert command(*named, "seed=0,1") == 0
    assert actsweep.load(tmp_path).runs[["act", "status"]].to_numpy().tolist() == 2 * [[name, "completed"]]
    (first, _), before = sorted(tmp_path.glob("*/result.json")), actsweep.load(tmp_path).runs
    assert (run_folder.read_result(first.parent) or {})["config"]["names"]["act"] == name
    assert command(*named, "seed=0,1") == 0  # finished: read
    assert actsweep.load(tmp_path).runs.equals(before)
