"""What is reached for without a public name, each in one file: what breaks there when a version changes it."""

from pathlib import Path

import torch
from torch import nn

from actsweep import one_run
from actsweep.diagnostics.observation import COMPILED, WRAPPED
from actsweep.network import lightning_loops
from actsweep.results import run_folder
from tests.conftest import SMALL
from tests.training.stack.test_stack import Make

VALIDATION = "epoch_loop.val_loop.batch_progress"  # of the last validation: nothing resumes within one


def test_network_lightning_loops_counts_what_lightnings_loops_do(settings_for: Make, tmp_path: Path) -> None:
    one_run.train(settings_for(*SMALL, "diagnostics=[]"), tmp_path)
    last = torch.load(tmp_path / run_folder.LAST, weights_only=True)
    assert (last["epoch"], last["global_step"]) == (1, 36)
    found, expected = last["loops"], lightning_loops.counters(2, 36)
    assert found["fit_loop"].pop(VALIDATION).keys() == expected["fit_loop"].pop(VALIDATION).keys()
    assert found == expected


def test_diagnostics_diagnostic_sees_a_parameter_change_by_its_version() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    before = parameter._version
    nn.init.ones_(parameter)
    assert parameter._version > before


def test_diagnostics_observation_knows_what_is_compiled_by_torchs_names_for_it() -> None:
    module = nn.Linear(2, 2)
    assert type(torch.compile(module, backend="eager")).__name__ == "OptimizedModule"
    assert getattr(torch.compile(module, backend="eager"), WRAPPED) is module
    assert module._compiled_call_impl is None
    module.compile(backend="eager")
    assert module._compiled_call_impl is not None
    assert hasattr(torch.compile(torch.sin, backend="eager"), COMPILED)
    assert not hasattr(torch.compiler.disable(torch.sin), COMPILED)


def test_diagnostics_watch_knows_an_optimiser_that_divides_scaled_gradients_itself() -> None:
    weight = nn.Parameter(torch.zeros(1))
    assert getattr(torch.optim.SGD([weight], lr=1.0, fused=True), "_step_supports_amp_scaling", False)
    assert not getattr(torch.optim.SGD([weight], lr=1.0, fused=False), "_step_supports_amp_scaling", False)
