"""Whatever a checkpoint file claims, evaluate measures it or refuses it in one line; exit code 2."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep import evaluate, one_run
from actsweep.config.command_line import one_line_errors
from actsweep.config.schema import Settings
from actsweep.results import run_folder
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {}


@pytest.fixture
def checkpoint(settings_for: SettingsFor, tmp_path: Path, checkpoints: dict[str, Any]) -> dict[str, Any]:
    if not checkpoints:
        quick = (*SMALL, "act=leakyrelu", "trainer.max_epochs=1", "diagnostics=[]")
        one_run.train(settings_for(*quick), tmp_path / "run")
        checkpoints |= torch.load(tmp_path / "run" / run_folder.BEST, weights_only=True)
    copied: dict[str, Any] = json.loads(json.dumps(checkpoints["hyper_parameters"]))
    return {"hyper_parameters": copied, "state_dict": dict(checkpoints["state_dict"])}


def evaluated(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    try:
        with one_line_errors():
            evaluate.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def network(**changes: Any) -> Change:
    return lambda checkpoint: checkpoint["hyper_parameters"]["network"].update(changes)


def parameters(**changes: Any) -> Change:
    return lambda checkpoint: checkpoint["hyper_parameters"].update(changes)


def weights(value: Any) -> Change:
    return lambda checkpoint: checkpoint["state_dict"].update({"network.layers.0.weight": value})


def without(part: str, key: str) -> Change:
    def remove(checkpoint: dict[str, Any]) -> None:
        section = checkpoint["hyper_parameters"]
        (section[part] if part else section).pop(key)

    return remove


MALFORMED: list[tuple[str, Change]] = [
    ("network.norm: Input should be 'none', 'batch' or 'layer'", network(norm="group")),
    ("network.norm", network(norm=["batch"])),
    ("weights don't fit", network(norm="batch")),
    ("network.input_size: Field required", without("network", "input_size")),
    ("network.input_size", network(input_size="64")),
    ("weights don't fit", network(input_size=65)),
    ("network.hidden_sizes", network(hidden_sizes="16")),
    ("network.hidden_sizes.0", network(hidden_sizes=[0])),
    ("network.hidden_sizes.0", network(hidden_sizes=[10**12])),
    ("weights don't fit", network(hidden_sizes=[16] * 9_999)),
    ("weights don't fit", network(output_size=7)),
    ("network.act: Field required", without("network", "act")),
    ("network.act", network(act="torch.nn.ReLU")),
    ("names the activation None", network(act={})),
    ("names the activation 3", network(act={"_target_": 3})),
    ("torch.nn.NoSuch", network(act={"_target_": "torch.nn.NoSuch"})),
    ("torch.nn.ReLU", network(act={"_target_": "torch.nn.ReLU", "nosuch": 1})),
    ("weights don't fit", network(act={"_target_": "torch.nn.PReLU", "num_parameters": 10**12})),
    ("weights don't fit", network(act={"_target_": "torch.nn.Softmax2d"})),
    ("weights don't fit", network(nosuch=1)),
    ("data: Field required", without("", "data")),
    ("data", parameters(data=["digits"])),
    ("data=nosuch: must be one of", parameters(data="nosuch")),
    ("loss: Field required", without("", "loss")),
    ("loss: Input should be", parameters(loss="hinge")),
    ("loss", parameters(loss={})),
    ("is a regression", parameters(loss="mse")),
    ("loss=bce", parameters(loss="bce")),
    ("network: ", parameters(network=None)),
    ("doesn't fit the network", parameters(standardised={})),
    ("doesn't fit the network", parameters(standardised={"shift": torch.zeros(64), "factor": 2.0})),
    ("doesn't fit the network", parameters(standardised={"shift": torch.zeros(63), "factor": torch.ones(63)})),
    ("weights don't fit", weights(3)),
    ("weights don't fit", weights(torch.zeros(16, 64, dtype=torch.int64))),
    ("weights don't fit", weights(torch.zeros(16, 64, dtype=torch.complex64))),
    ("weights don't fit", weights(torch.zeros(16, 65))),
    ("is missing or of another kind", lambda checkpoint: checkpoint.pop("state_dict")),
    ("is missing or of another kind", lambda checkpoint: checkpoint.pop("hyper_parameters")),
    ("is missing or of another kind", lambda checkpoint: checkpoint.update(state_dict=[1])),
    ("is missing or of another kind", lambda checkpoint: checkpoint.update(state_dict={1: 2})),
    ("not a checkpoint of this project", lambda checkpoint: checkpoint.update(hyper_parameters=3)),
]


@pytest.mark.parametrize(("named", "change"), MALFORMED)
def test_a_checkpoint_that_lies_about_itself_is_refused_in_one_line(
    named: str,
    change: Change,
    checkpoint: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert evaluated(monkeypatch, str(tmp_path / "x.ckpt")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line


@pytest.mark.parametrize("content", [[1, 2], 3, "text", None, torch.zeros(3)])
def test_a_file_of_something_else_is_refused_in_one_line(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    assert evaluated(monkeypatch, str(tmp_path / "x.ckpt")) == 2
    assert "not a checkpoint of this project" in capsys.readouterr().err


def test_a_checkpoint_that_is_cut_short_is_said_to_be(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint, path := tmp_path / "x.ckpt")
    os.truncate(path, path.stat().st_size // 2)
    assert evaluated(monkeypatch, str(path)) == 2
    assert capsys.readouterr().err == f"error: {path}: it is cut short\n"


def test_a_folder_or_a_missing_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "bad.config").write_text('{"act_fn": {"name": "ReLU"}, "input_size": 1e400, "num_classes": 2}')
    for name, reason in (("folder.ckpt", "s a directory"), ("none.ckpt", "no such file"), ("none.tar", "no such file"),
                         ("bad.config", "OverflowError")):  # fmt: skip
        assert evaluated(monkeypatch, str(tmp_path / name)) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert reason in line


def test_weights_that_are_not_finite_are_measured_and_json_stays_json(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights(torch.full((16, 64), torch.inf))(checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert evaluated(monkeypatch, "--json", str(tmp_path / "x.ckpt")) == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["grad_norm"][0] is None
    assert found["test_accuracy"] is None  # as of a run that diverged


def test_a_defect_of_ours_in_evaluate_keeps_its_traceback(
    checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("actsweep.evaluate.count_over", broken)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="a defect"):
        evaluated(monkeypatch, str(tmp_path / "x.ckpt"))
