"""What is reached for without a public name, each in one file: what breaks there when a version changes it."""

from pathlib import Path

import torch
from torch import nn

from actsweep import one_run
from actsweep.network import lightning_loops
from actsweep.results import run_folder
from tests.conftest import SMALL
from tests.test_stack import Make


def test_network_lightning_loops_counts_what_lightnings_loops_do(settings_for: Make, tmp_path: Path) -> None:
    one_run.train(settings_for(*SMALL, "diagnostics=[]"), tmp_path)
    last = torch.load(tmp_path / run_folder.LAST, weights_only=True)
    assert last["global_step"] > 0
    found, expected = last["loops"], lightning_loops.counters(2, last["global_step"])
    assert {loop: state.keys() for loop, state in found.items()} == {loop: expected[loop].keys() for loop in expected}
    for count in ("epoch_progress", lightning_loops.STEPS):
        assert found["fit_loop"][count] == expected["fit_loop"][count]


def test_diagnostics_diagnostic_sees_a_parameter_change_by_its_version() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    before = parameter._version
    nn.init.ones_(parameter)
    assert parameter._version > before
