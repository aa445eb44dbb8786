"""Networks that are really trained, on digits: what is wrong is found, and its remedy, tried, makes it go."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from actsweep.errors import UserError
from actsweep.report import trial
from actsweep.report.trial import quoted
from actsweep.results.reading import read_runs
from actsweep.results.run_folder import RESULT
from actsweep.statistics.findings import Finding, find
from actsweep.statistics.setting import Setting, settings_of
from tests import processes
from tests.conftest import SMALL

Command = Callable[..., int]
NETWORK = ["depth=4", "width=32", "diagnostics=[gradients,updates,activations,units,theory]"]


def swept(command: Command, folder: Path, *overrides: str) -> tuple[list[Setting], tuple[Finding, ...]]:
    assert command("-m", *SMALL, *NETWORK, f"hydra.sweep.dir={quoted(folder)}", "seed=0", *overrides) == 0
    settings = settings_of(read_runs([folder]))
    return settings, find(settings)


def test_the_cause_is_found_and_its_remedy_tried_once_makes_it_go(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "it's 1=1"
    settings, findings = swept(command, folder, "act=sigmoid,step")
    first = {each.where.setting: each for each in findings if not each.follows and each.kind != "too_few_seeds"}
    assert {label: each.kind for label, each in first.items()} == {
        "sigmoid": "vanishing_signal",
        "step": "vanishing_gradient",
    }
    signal = first["sigmoid"].evidence[1]
    assert signal.value == pytest.approx(signal.theory, rel=0.15)  # of a layer: about 0.14
    assert first["sigmoid"].remedy == ("init=critical",)

    commands: list[Sequence[str]] = []

    def train(words: Sequence[str]) -> None:
        commands.append(words)
        command(*words)

    trials = [each for each in trial.trials(settings, findings, folder) if each.run["act"] == "sigmoid"]
    (said,) = trial.run(trials, folder, train)
    assert said.startswith("sigmoid: vanishing signal: with init=critical, seed 0: is gone; test accuracy")
    assert len(read_runs([folder])) == 2  # a report doesn't know of trials
    (result,) = folder.glob(f"{trial.TRIED}/*/{RESULT}")
    written = result.stat().st_mtime_ns
    assert trial.run(trials, folder, train) == [said]
    assert result.stat().st_mtime_ns == written
    assert repr(swept(command, folder, "act=sigmoid,step")) == repr(
        (settings, findings)
    )  # trials are ours: the sweep goes on


def test_healthy_networks_have_no_finding(command: Command, tmp_path: Path) -> None:
    lasting = ["trainer.max_epochs=12", "optim.lr=0.03", "init=critical", "patience=2"]
    assert swept(command, tmp_path / "sweep", "act=relu", *lasting)[1] == ()


SLEEPS = """
import sys
from actsweep.report import trial
trial.TRAIN = (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
trial._train([])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_ended_while_it_tries_a_remedy_leaves_no_run_behind(number: signal.Signals) -> None:
    with processes.running([sys.executable, "-c", SLEEPS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as report:
        training = int(report.stdout.readline())
        report.send_signal(number)
        report.communicate()
        assert report.returncode in {128 + number, -number}
        with pytest.raises(ProcessLookupError):
            os.kill(training, 0)


def test_a_run_without_hydras_notes_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"overrides.yaml: can't be read"):
        trial.overrides_of({"folder": str(tmp_path)})
    (tmp_path / ".hydra").mkdir()
    for content in (b"", b"1", b"\xff\xfe\x00"):  # the disk was full; somebody else's
        (tmp_path / ".hydra" / "overrides.yaml").write_bytes(content)
        with pytest.raises(UserError, match=r"overrides.yaml: can't be read"):
            trial.overrides_of({"folder": str(tmp_path)})


def test_a_remedy_takes_the_place_of_what_it_contradicts() -> None:
    sizes = ["hidden_sizes=[2,2]", "seed=0"]
    assert trial.changed(sizes, ["depth=2", "width=32"]) == ["seed=0", "depth=2", "width=32"]
    asked = ["act=leakyrelu", "act.negative_slope=0.2", "+init.weight.gain=2", "~diagnostics.units", "optim.lr=1"]
    assert trial.changed(asked, ["act=relu", "init=critical", "optim.lr=0.1"]) == [
        "~diagnostics.units", "act=relu", "init=critical", "optim.lr=0.1",
    ]  # fmt: skip
