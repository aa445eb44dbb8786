"""On a GPU: steps that are captured as a CUDA graph compute what the same steps do one by one, bit for bit."""

import json
import logging
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actsweep import evaluate, one_run
from actsweep.config.schema import Settings, Target
from actsweep.results import run_folder
from actsweep.sweep.units import Unit
from actsweep.training.stack import grouping, stacks
from actsweep.training.stack.steps import Steps
from actsweep.training.stack.training import Job, Training
from tests import processes
from tests.conftest import SMALL, names_in, weights_of
from tests.devices import DEVICE, HAS_GPU, needs_a_gpu
from tests.training.stack.test_stack import DOUBLE, Make, several
from tests.training.stack.test_stack_again import die
from tests.training.stack.test_stack_resumes import assert_same_runs

pytestmark = needs_a_gpu
ON_GPU = "trainer=auto"
KINDS = [
    ["optim.momentum=0.9"],
    ["optim.nesterov=true", "optim.momentum=0.5", "optim.weight_decay=0.01"],
    ["optim=adam", "optim.weight_decay=0.1"],
    ["optim=adamw", "optim.lr=0.01"],
    ["optim=rmsprop", "optim.lr=0.001", "optim.momentum=0.9"],
    ["optim.l2=0.01"],
    ["trainer.gradient_clip_val=0.05"],
    ["trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value"],
    ["norm=layer"],
    ["norm=batch"],
    ["data.batch_size=all"],
    ["data.replacement=true", "data.steps_per_epoch=7"],
    ["data.standardise=true"],
    ["trainer.precision=bf16-mixed"],
    [DOUBLE],
    ["data=sine", "loss=mse"],
    ["data=classification", "loss=bce"],
    ["width=256"],
]


class Waiting(nn.Module):
    """Looks at its numbers, for which it waits: nothing that a graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if float(x.detach().sum()) > -1e9 else x


def jobs_of(settings: list[Settings], folder: Path) -> list[Job]:
    return [(each, folder / str(row)) for row, each in enumerate(settings)]


def trained(settings: list[Settings], folder: Path, is_captured: bool) -> list[dict[str, Tensor]]:
    """Two epochs, the second with a tenth of the learning rate; and one more of those members that stay."""
    training = Training(jobs_of(settings, folder), DEVICE)
    assert (training.steps.graph is not None) is HAS_GPU
    if not is_captured:
        training.steps.graph = None
    training.each(lambda _, member: member.open())
    training.diagnoses.start()
    training.epoch(0)
    training.optimiser.numbers["lr"] *= 0.1
    training.epoch(1)
    whole = [training.stack.state_dict(row) for row in range(len(settings))]
    for member in training.members[::2]:
        member.ended = True
    training.drop_the_ended()
    assert len(training.stack) == len(settings) // 2
    if not is_captured:
        training.steps.graph = None
    training.epoch(2)
    return whole + [training.stack.state_dict(row) for row in range(len(training.stack))]


def assert_graph_equals_steps(settings: list[Settings], folder: Path) -> None:
    captured, eager = (trained(settings, folder / str(flag), flag) for flag in (True, False))
    for one, other in zip(captured, eager, strict=True):
        for name, weights in one.items():
            assert weights.isfinite().all()
            assert torch.equal(weights, other[name]), name


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_a_graph_equals_eager_steps_bit_for_bit(settings_for: Make, tmp_path: Path, kind: list[str]) -> None:
    given = [ON_GPU, "trainer.max_epochs=9", *kind]
    assert_graph_equals_steps(several(settings_for, *given, acts=["prelu", "relu", "tanh"]), tmp_path)


@pytest.mark.parametrize("act", names_in("act"))
def test_every_activation_is_captured(settings_for: Make, tmp_path: Path, act: str) -> None:
    settings = several(settings_for, ON_GPU, "trainer.max_epochs=9", "optim.lr=0.01", acts=[act])
    assert_graph_equals_steps(settings, tmp_path)


def test_an_activation_that_waits_for_the_device_trains_without_a_graph_and_the_next_stack_with_one(
    settings_for: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = several(settings_for, ON_GPU, "trainer.max_epochs=3", acts=["relu"])
    act = Target.model_validate({"_target_": f"{__name__}.{Waiting.__name__}"})
    waiting = [each.model_copy(update={"act": act}) for each in base]
    assert {grouping.reason_against(each) for each in waiting} == {None}
    with caplog.at_level(logging.WARNING):
        training = Training(jobs_of(waiting, tmp_path / "waiting"), DEVICE)
    assert training.steps.graph is None
    assert ("no CUDA graph" in caplog.text) is HAS_GPU
    if HAS_GPU:
        assert torch.cuda.current_stream() == torch.cuda.default_stream()
        assert torch.cuda.get_sync_debug_mode() == 0
        assert torch.rand(3, device=DEVICE).isfinite().all()  # its generator is no longer in a capture
    training.run()
    stacks.train_group(jobs_of(base, tmp_path / "relu"), DEVICE)
    for row in range(len(base)):
        found = [run_folder.read_result(tmp_path / name / str(row)) for name in ("waiting", "relu")]
        one, other = ((each or {})["val_loss"] for each in found)
        assert one == pytest.approx(other, rel=1e-5)
    assert_graph_equals_steps(base, tmp_path / "again")


@pytest.mark.parametrize("kind", [[], ["norm=batch", "optim=adam", "+optim.eps=1e-3"], ["diagnostics=[steps]"]])
def test_in_float64_stacks_and_lone_runs_on_a_gpu_and_on_a_cpu_find_the_same(
    settings_for: Make, tmp_path: Path, kind: list[str]
) -> None:
    found: dict[str, list[dict[str, Tensor]]] = {}
    for place, trainer, device in (("gpu", ON_GPU, DEVICE), ("cpu", "trainer=cpu", torch.device("cpu"))):
        settings = several(settings_for, trainer, DOUBLE, "width=8", *kind, acts=["prelu", "relu", "tanh"])
        stacks.train_group(jobs_of(settings, tmp_path / place / "stack"), device)
        for own, folder in jobs_of(settings, tmp_path / place / "alone"):
            one_run.train(own, folder)
        for how in ("stack", "alone"):
            folders = (tmp_path / place / how / str(row) for row in range(len(settings)))
            found[f"{place} {how}"] = [weights_of(folder / run_folder.LAST) for folder in folders]
    for name, members in found.items():
        for one, other in zip(members, found["cpu alone"], strict=True):
            for key, weights in one.items():
                distance = (weights.cpu() - other[key]).double().norm() / other[key].double().norm()
                assert distance < 1e-9, (name, key)


@pytest.mark.parametrize("step", [40, 60, 100])
def test_a_stack_on_a_gpu_goes_on_from_its_checkpoint_bit_for_bit(
    settings_for: Make, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [ON_GPU, "patience=1", "trainer.max_epochs=14", "diagnostics.units.every_n_epochs=2"]
    rates = [several(settings_for, *words, f"optim.lr={lr}", acts=["prelu", "tanh"]) for lr in (0.1, 0.4)]
    monkeypatch.setattr(stacks, "MOST_TIME", 1e9)  # a checkpoint after each epoch

    def unit(name: str) -> Unit:
        jobs = jobs_of([*chain(*rates)], tmp_path / name)
        return Unit(jobs, stacks.Saving(tmp_path / name / stacks.FOLDER / "one.ckpt", 0))

    unit("whole").train()
    die(unit("killed"), Steps, "__call__", step)
    unit("killed").train()
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_stack_that_the_gpu_cannot_hold_trains_in_halves(settings_for: Make, tmp_path: Path) -> None:
    words = [ON_GPU, "trainer.max_epochs=2", "width=256", "depth=8"]
    settings = several(settings_for, *words, acts=["relu", "tanh"], seeds=range(16))
    torch.cuda.empty_cache() if HAS_GPU else None
    share = 100e6 / torch.cuda.mem_get_info(DEVICE)[1] if HAS_GPU else 1.0
    sizes: list[int] = []
    run = Training.run

    def noted(self: Training, *save: Any) -> None:
        sizes.append(self.jobs)
        run(self, *save)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", noted)
        torch.cuda.set_per_process_memory_fraction(share) if HAS_GPU else None
        try:
            stacks.train_group(jobs := jobs_of(settings, tmp_path), DEVICE)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0) if HAS_GPU else None
    assert (len(sizes) > 1) is HAS_GPU, sizes
    assert stacks.unfinished(jobs) == []
    assert {(run_folder.read_result(folder) or {})["status"] for _, folder in jobs} == {"completed"}


@pytest.mark.parametrize("launcher", ["sweep", "basic"])
def test_a_sweep_on_a_gpu_says_so_and_its_runs_go_on_and_are_measured_on_a_cpu(
    command: Callable[..., int], tmp_path: Path, launcher: str
) -> None:
    name = torch.cuda.get_device_name() if HAS_GPU else "cpu"
    given = ["-m", *SMALL[:1], *SMALL[2:], f"hydra/launcher={launcher}", "act=relu,tanh", "seed=0,1", "report=true",
             ON_GPU, f"hydra.sweep.dir={tmp_path}"]  # fmt: skip
    assert command(*given) == 0
    assert (tmp_path / "report.html").exists()
    found = sorted(tmp_path.glob("*/result.json"))
    assert len(found) == 4
    for path in found:
        assert name in json.loads(path.read_text())["device"]
        checkpoint = path.parent / run_folder.BEST
        network, *_ = evaluate.load(checkpoint)
        measured = evaluate.measure(network, evaluate.open_named("digits"))
        assert measured["test_accuracy"] == pytest.approx(json.loads(path.read_text())["test_accuracy"], abs=0.01)
    without = {"CUDA_VISIBLE_DEVICES": ""}
    more = processes.run([sys.executable, "-m", "src.train", *given, "trainer.max_epochs=4"], without)
    assert more.returncode == 0, more.stderr
    assert {json.loads(path.read_text())["epochs"] for path in found} == {4}
