"""What would be ignored, or mean something else than it says, is refused in one line before any work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as L
import torch

from actsweep import composition
from actsweep.data.dataset import Dataset, Examples, as_given
from tests.conftest import SMALL

Command = Callable[..., int]
QUICK = [*SMALL, "trainer.max_epochs=1", "diagnostics=[]", "depth=1", "width=4"]
CALLBACKS = "pytorch_lightning.callbacks"


class Remembers(L.Callback):
    """Its state is a number that checkpoints, which are read as data, can't hold."""

    def state_dict(self) -> dict[str, Any]:
        return {"best": np.float64(0)}


def drawn(root_dir: str) -> Dataset:
    """Data whose argument begins as `root` does, and says which they are."""
    generator = torch.Generator().manual_seed(len(root_dir))
    pool = Examples(torch.randn(40, 2, generator=generator), torch.arange(40) % 2)
    return Dataset(pool, None, ("a", "b"), (2,), as_given)


def test_an_argument_that_begins_as_a_key_that_names_leave_out_stands_in_them(command: Command, tmp_path: Path) -> None:
    given = ["hydra/launcher=basic", "+sweeps=main", "data.source.root=A", "trainer.max_epochs=3", "rerun=all"]
    assert composition.run_name("relu", 1, 0, given) == "relu-d1-s0"
    assert composition.run_name("relu", 1, 0, ["+data.source.root_dir=A"]) == "relu-d1-s0-root_dir=A"
    source = [f"data.source._target_={__name__}.drawn", "data.val_size=8", "data.batch_size=8"]
    words = [*QUICK, *source, "+data.source.root_dir=a,bb", "seed=0", f"hydra.sweep.dir={tmp_path}"]
    assert command("-m", *words) == 0
    assert len(list(tmp_path.glob("*/result.json"))) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["hydra.sweep.dir=OUT"], "hydra.sweep.dir=OUT: is for a sweep, which -m asks for; of one run give hydra.run"),
        (["-m", "seed=0,1", "hydra.run.dir=OUT"], "hydra.run.dir=OUT: is for one run; of a sweep give hydra.sweep.dir"),
        (["+sweeps=quick", "hydra.run.dir=OUT"], "hydra.run.dir=OUT: is for one run; of a sweep give hydra.sweep.dir"),
        (["hydra/launcher=stacked_slurm", "hydra.run.dir=OUT"], "hydra/launcher=stacked_slurm: is for a sweep"),
        (["hydra.launcher.processes=2", "hydra.run.dir=OUT"], "hydra.launcher.processes=2: is for a sweep"),
        (["+hydra.sweeper.params.seed='0,1'", "hydra.run.dir=OUT"], "+hydra.sweeper.params.seed='0,1': is for a sweep"),
        (["act._target_=torch.nn.ELU", "hydra.run.dir=OUT"], "act._target_=torch.nn.ELU: would be called relu; give "),
        (
            ["-m", "seed=0,1", "hydra/launcher=stacked_slurm", "hydra.launcher.processes=2", "hydra.sweep.dir=OUT"],
            "hydra.launcher.processes=2: is of this machine",
        ),
        (
            [f"+diagnostics.mine._target_={CALLBACKS}.RichProgressBar", "hydra.run.dir=OUT"],
            "diagnostics.mine: a run has a progress bar already",
        ),
        (
            [f"+diagnostics.mine._target_={CALLBACKS}.StochasticWeightAveraging", "+diagnostics.mine.swa_lrs=0.1",
             "hydra.run.dir=OUT"],
            "diagnostics.mine: averages after the last checkpoint, which is tested; use WeightAveraging",
        ),
        (
            [f"+diagnostics.mine._target_={__name__}.Remembers", "hydra.run.dir=OUT"],
            "diagnostics.mine: its state_dict can't be read from a checkpoint: it holds a numpy.",
        ),
        (
            ["+diagnostics.mine._target_=pytorch_lightning.loggers.CSVLogger", "+diagnostics.mine.save_dir=x",
             "hydra.run.dir=OUT"],
            "diagnostics.mine: pytorch_lightning.loggers.CSVLogger makes no callback of pytorch_lightning's",
        ),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_is_refused(
    words: list[str], line: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    many = [word for word in words if word == "-m"]
    assert command(*many, *QUICK, *(word.replace("OUT", out) for word in words if word != "-m")) == 2
    [shown] = capsys.readouterr().err.splitlines()
    assert shown.startswith(f"error: {line.replace('OUT', out)}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("+trainer.limit_train_batches=5", "trainer.limit_train_batches is not known to the stack: an atlas"),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true is not known to the stack: an atlas trains"),
        ("+optim.dampening=0.1", "torch.optim.SGD: dampening is not written per member: an atlas trains in stacks"),
        ("untrained=true", "untrained=true: nothing to train: an atlas trains in stacks"),
        ("test=last", "test=last: must be best for an atlas"),
    ],
)
def test_what_an_atlas_would_pass_over_is_refused(
    word: str, line: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas = ["atlas={rates:[0.1],choosing:[5],seeds:[0]}", "patience=null", f"hydra.run.dir={tmp_path}/out"]
    assert command(*QUICK, *atlas, word) == 2
    [shown] = capsys.readouterr().err.splitlines()
    assert shown.startswith(f"error: {line}")


@pytest.mark.parametrize("optimiser", ["Rprop", "LBFGS", "Adagrad"])
def test_an_optimiser_that_knows_no_weight_decay_is_given_none(
    optimiser: str, command: Command, tmp_path: Path
) -> None:
    without = ["~optim.momentum", "~optim.nesterov", "~optim.fused"]
    own = [f"optim._target_=torch.optim.{optimiser}", *without, f"hydra.run.dir={tmp_path}"]
    assert command(*QUICK, *own) == 0
    if optimiser != "Adagrad":
        assert command(*QUICK, *own, "optim.weight_decay=0.1", "rerun=all") == 2


def test_an_optimiser_that_cant_make_a_step_is_refused_before_any_work(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optim=adam", "optim._target_=torch.optim.SparseAdam", "~optim.fused", f"hydra.run.dir={tmp_path}/out"]
    assert command(*QUICK, *words) == 2
    assert capsys.readouterr().err.startswith("error: optim: SparseAdam does not support dense gradients")
    assert not (tmp_path / "out").exists()


def test_both_folders_may_be_given_and_a_launcher_that_changes_nothing(command: Command, tmp_path: Path) -> None:
    both = [f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert command(*QUICK, *both, "hydra/launcher=basic") == 0
    assert command("-m", *QUICK, *both, "seed=0") == 0
    assert len(list(tmp_path.rglob("result.json"))) == 2


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("subfolder", [".", "meta/hydra"])
def test_hydras_own_files_may_lie_wherever_in_the_runs_folder(
    subfolder: str, many: bool, command: Command, tmp_path: Path
) -> None:
    place = ["-m", f"hydra.sweep.dir={tmp_path}", "seed=0"] if many else [f"hydra.run.dir={tmp_path}"]
    words = [*place, *QUICK, f"hydra.output_subdir={subfolder}"]
    assert command(*words) == 0
    assert command(*words) == 0
    [config] = tmp_path.rglob("overrides.yaml")
    [result] = tmp_path.rglob("result.json")
    assert config.parent == (result.parent / subfolder)
    (result.parent / "notes.txt").write_text("mine")
    assert command(*words) == 2


def test_a_run_that_failed_and_is_left_so_ends_with_1_as_its_sweep_does(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [*QUICK, "act=tests.training.test_train.FailsInTraining", "rerun=none"]
    for place in (["-m", f"hydra.sweep.dir={tmp_path}/sweep"], [f"hydra.run.dir={tmp_path}/run"]):
        assert command(*place, *failing) == 1
        capsys.readouterr()
        assert command(*place, *failing) == 1
        assert "failed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["act/relu", "diagnostics/units", "sweeps/quick"])
def test_a_file_of_ones_own_that_has_the_name_of_one_of_ours_is_not_passed_over(
    name: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, words = tmp_path / "mine" / f"{name}.yaml", ["-m", *SMALL, "act=relu", "diagnostics=[units]", "+sweeps=quick"]
    mine.parent.mkdir(parents=True)
    mine.write_text("_target_: torch.cos\n")
    words = [each for each in words if each != "report=false"]
    assert command(f"--config-dir={tmp_path}/mine", *words, f"hydra.sweep.dir={tmp_path}/out") == 2
    said = f"error: {mine}: {name.replace('/', '=')} is actsweep's own; give yours another name"
    assert capsys.readouterr().err.splitlines() == [said]
    mine.rename(mine.with_name("other.yaml"))
    assert command(f"--config-dir={tmp_path}/mine", *SMALL, f"hydra.run.dir={tmp_path}/run") == 0


@pytest.mark.parametrize(
    ("group", "words", "name"),
    [
        ("optim", ["optim._target_=torch.optim.NAdam", "~optim.momentum", "~optim.nesterov", "~optim.fused"], "NAdam"),
        ("init", ["init=kaiming", "init.weight._target_=torch.nn.init.kaiming_uniform_"], "kaiming_uniform_"),
        ("init", ["+init.weight._target_=torch.nn.init.orthogonal_"], "orthogonal_"),
        ("data", [f"data.source._target_={__name__}.drawn"], "drawn"),
        ("optim", ["optim._target_=torch.optim.NAdam", "~optim.fused", "names.optim=mine"], "mine"),
        ("optim", ["optim=adam", "optim._target_=torch.optim.Adam"], "adam"),
    ],
)
def test_a_part_that_calls_something_else_is_called_so(group: str, words: list[str], name: str) -> None:
    settings = composition.validated(composition.composed([*QUICK, *words]))
    assert settings.names.plain()[group].rpartition(".")[2] == name
    untouched = {"act": "relu", "init": "default", "data": "digits", "optim": "sgd"}
    assert {key: value for key, value in settings.names.plain().items() if key != group}.items() <= untouched.items()


def test_runs_tell_which_optimiser_they_had(command: Command, tmp_path: Path) -> None:
    both = ["optim._target_=torch.optim.SGD,torch.optim.Adagrad", "~optim.momentum", "~optim.nesterov"]
    assert command("-m", *QUICK, *both, "seed=0", f"hydra.sweep.dir={tmp_path}") == 0
    asked = [json.loads(path.read_text())["config"]["names"]["optim"] for path in tmp_path.glob("*/run.json")]
    assert sorted(asked) == ["sgd", "torch.optim.Adagrad"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("act=relu.yaml", "act=relu"),
        ("data=digits.yaml", "data=digits"),
        ("init=default.yaml", "init=default"),
        ("optim=sgd.yaml", "optim=sgd"),
        ("diagnostics=[units.yaml,theory]", "diagnostics=[units,theory]"),
    ],
)
def test_a_choice_with_its_files_ending_which_would_give_it_two_names_is_refused(
    given: str, meant: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(given, "trainer=cpu", f"hydra.run.dir={tmp_path}/out") == 2
    assert capsys.readouterr().err == f"error: {given}: choices have no ending; did you mean {meant}?\n"
