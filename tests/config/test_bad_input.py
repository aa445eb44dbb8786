"""What people get wrong ends with one line that names it, exit code 2, and nothing created."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actsweep import composition, main
from tests.conftest import SMALL

Command = Callable[..., int]
RUNS = [
    ("act=rleu", "act=rleu: must be one of clippedrelu, elu", "did you mean relu"),
    ("act=ReLU", "act=ReLU: must be one of clippedrelu, elu", "did you mean relu"),
    ("-plan", "-plan: -p says which part --cfg shows", "without -, as in plan=true"),
    ("-patience=3", "-patience=3: -p says which part --cfg shows", ""),
    ("norm batch", "norm: must be KEY=VALUE, with no space around =", "as act=relu"),
    ("lr=0.1", "lr: there is no such key", "did you mean optim.lr"),
    ("epochs=3", "epochs: there is no such key", "did you mean trainer.max_epochs"),
    ("diagnostics=[gradient]", "diagnostics: there is no gradient; actsweep's own are activations", "mean gradients"),
    ("hydra.output_subdir=../x", "hydra.output_subdir=../x: must be a folder within the run's own", ""),
    ("hydra.output_subdir=/x", "hydra.output_subdir=/x: must be a folder within the run's own", ""),
    ("act=torch.nn.NoSuch", "act=torch.nn.NoSuch", "can be imported"),
    ("act=torch.nn.Linear", "act=torch.nn.Linear", "missing"),
    ("act=[relu,tanh]", "act: must be one choice", "-m act=A,B"),
    ("~optim", "optim: must be one choice", "-m optim=A,B"),
    ("init=keiming", "init=keiming: must be one of critical, default", "kaiming"),
    ("data=cifar", "data=cifar: must be one of classification, digits, fashion_mnist", ""),
    ("dpeth=3", "dpeth: there is no such key", "did you mean depth"),
    ("optim.lrr=3", "optim.lrr: there is no such key", "did you mean optim.lr"),
    ("act.alpha=3", "act.alpha: there is no such key", ""),
    ("trainer.foo=3", "trainer.foo: there is no such key; to add one, write +trainer.foo", ""),
    ("+optim.nosuch=1", "optim:", "nosuch"),
    ("depth=-3", "depth=-3", "greater than or equal to 0"),
    ("depth=2.5", "depth=2.5", "valid integer"),
    ("depth=1000000", "depth=1000000", "less than or equal to"),
    ("depth=0.0", "depth=0.0", "valid integer"),
    ("width=1000000", "depth=2, width=1000000: needs", "this machine has"),
    ("width=0", "width=0", "greater than or equal to 1"),
    ("hidden_sizes=[64,32]", "hidden_sizes=[64,32]", "depth=2 layers of 16 units stand in its place"),
    ("model=deep10", "model=deep10", "depth=2 layers of 16 units stand in its place"),
    ("hidden_sizes=[3,0]", "hidden_sizes.1=0", "greater than or equal to 1"),
    ("+trainer._target_=nosuch.Trainer", "trainer._target_=nosuch.Trainer", "pytorch_lightning.Trainer"),
    ("seed=abc", "seed=abc", "valid integer"),
    ("seed='3'", "seed='3': must be", "valid integer"),
    ("seed=-1", "seed=-1", "greater than or equal to 0"),
    ("seed=4294967296", "seed=4294967296", "less than"),
    ("seed=1,2", "seed=1,2", "-m"),
    ("seed=1.5", "seed=1.5", "valid integer"),
    ("norm=bacth", "norm=bacth", "'batch'"),
    ("optim.lr=nan", "optim.lr=nan", "finite"),
    ("optim.lr=inf", "optim.lr=inf", "finite"),
    ("optim.lr=0", "optim.lr=0", "greater than 0"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0", "greater than or equal to 1"),
    ("trainer.max_epochs=-5", "trainer.max_epochs=-5", "greater than or equal to 1"),
    ("trainer.max_epochs=abc", "trainer.max_epochs=abc", "valid integer"),
    ("trainer.precision=7", "trainer.precision=7", "'bf16-mixed'"),
    ("monitor=val_los", "monitor=val_los", "'val_loss'"),
    ("min_delta=-1", "min_delta=-1", "greater than or equal to 0"),
    ("optim.l2=-1", "optim.l2=-1", "greater than or equal to 0"),
    ("data.standardise=3", "data.standardise=3", "boolean"),
    ("init.bias=like", "init.bias=like", "'alike'"),
    ("patience=-1", "patience=-1", "greater than or equal to 0"),
    ("data.batch_size=0", "data.batch_size=0", "greater than or equal to 1"),
    ("norm=batch data.batch_size=1", "data.batch_size=1", "norm=layer"),
    ("data.batch_size=5000", "data.batch_size=5000", "at most 1200"),
    ("data.val_size=0.5", "data.val_size=0.5", "valid integer"),
    ("data.val_size=-1", "data.val_size=-1", "greater than or equal to 0"),
    ("data.val_size=1437", "data.val_size=1437", "between 0 and 1436"),
    ("data.steps_per_epoch=1000", "data.steps_per_epoch=1000", "at most 18"),
    ("data=mnist_folder", "data.source.root", ""),
    ("loss=bce", "loss=bce", "the data set has 10: use cross_entropy"),
    ("loss=mse", "loss=mse", "use cross_entropy"),
    ("data=sine", "loss=cross_entropy", "use loss=mse"),
    ("act=relu init=notebook", "init.weight.generator.seed: Interpolation key 'data.source.seed'", "data=digits"),
    ("loss=hinge", "loss=hinge", "'cross_entropy'"),
    ("test=middle", "test=middle", "'best'"),
    ("untrained=3", "untrained=3", "boolean"),
    ("threads=0", "threads=0", "greater than or equal to 1"),
    ("rerun=some", "rerun=some", "'failed'"),
    ("plan=3", "plan=3", "boolean"),
    ("figures=[nosuch]", "figures=[nosuch]", "learning_curves"),
    ("diagnostics.gradients.every_n_epochs=0", "diagnostics.gradients.every_n_epochs=0", "at least 1"),
    ("+sweeps=nosuch", "nosuch", "main"),
    ("seed=", "seed", ""),
    ("seed", "seed", ""),
]


SWEEPS = [run for run in RUNS if run[0] not in {"seed=1,2", "seed="}]  # no mistakes in a sweep
CASES = [(False, *run) for run in RUNS] + [(True, *run) for run in SWEEPS]


@pytest.mark.parametrize(("sweep", "given", "named", "allowed"), CASES)
def test_a_mistake_ends_with_one_line_before_any_work(
    sweep: bool,
    given: str,
    named: str,
    allowed: str,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out"
    arguments = [*SMALL, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", *given.split()]
    code = command(*(["-m", "act=relu,tanh"] if sweep and not given.startswith("act=") else []), *arguments)
    shown = capsys.readouterr().err
    assert code == 2
    assert len(shown.splitlines()) == 1
    assert shown.startswith("error: ")
    assert named in shown
    assert allowed in shown
    assert not folder.exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("patience=7", "patience=7: must be null for an atlas"),
        ("monitor=val_loss", "monitor=val_loss: must be null or"),
    ],
)
def test_an_atlas_whose_networks_would_end_at_different_times_or_be_chosen_by_a_loss_is_refused(
    given: str, named: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas = ["atlas={rates:[0.1],choosing:[5],seeds:[0]}", "patience=null", f"hydra.run.dir={tmp_path}/out"]
    assert command(*SMALL, *atlas, given) == 2
    assert capsys.readouterr().err.startswith(f"error: {named}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("seed=range(0)", "seed=range(0)"),
        ("seed=range(5,1)", "seed=range(5,1)"),
        ("depth=10000 width=100000", "GB"),
    ],
)
def test_a_sweep_of_nothing_or_of_giants_is_refused(
    given: str, named: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", *SMALL, *given.split(), f"hydra.sweep.dir={tmp_path}/out") == 2
    assert named in only_line(capsys)
    assert not (tmp_path / "out").exists()


def test_runs_outside_their_sweeps_folder_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", *SMALL, "seed=0,1", f"hydra.sweep.dir={tmp_path}/out", "hydra.sweep.subdir=../x") == 2
    assert "hydra.sweep.subdir=../x: must be a folder within the sweep's own" in only_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("place", ["file", "/proc/nowhere", "x" * 300])
def test_a_place_that_cant_be_written_is_named(
    place: str, many: bool, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    key = "hydra.sweep.dir" if many else "hydra.run.dir"
    arguments = [*SMALL, "diagnostics=[]", f"{key}={tmp_path / place}"]
    assert command(*(["-m", "seed=0,1"] if many else []), *arguments) == 2
    assert str(tmp_path / place)[:60] in only_line(capsys)


def test_a_width_without_a_depth_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("data=digits", "trainer=cpu", "width=64", f"hydra.run.dir={tmp_path}/out") == 2
    assert only_line(capsys).startswith("error: width=64: needs depth=N")
    assert not (tmp_path / "out").exists()


def test_unicode_and_spaces_in_paths_and_names_too_long_for_a_file_work(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "Größe Δ 大 – mit Leerzeichen"
    noise = [f"+init.by_act.{letter * 60}=1" for letter in "abcde"]
    assert command("-m", *SMALL, "diagnostics=[gradients]", *noise, f"hydra.sweep.dir='{folder}'") == 0
    [result] = folder.glob("*/result.json")
    assert len(result.parent.name) < 200


def test_a_name_is_no_longer_than_a_file_systems_in_any_script() -> None:
    for letter, length in (("x", 120), ("é", 120), ("大", 80), ("𝛗", 60)):
        name = composition.run_name("relu", 1, 0, ["+x=" + letter * 300])
        assert len(name.encode()) <= 255
        assert name.count(letter) >= length - 14


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "--cfg", "job", "seed=0,1"], "Only one of --run, --multirun, --cfg"),
        (["--resolve"], "The --resolve flag can only be used"),
        (["-m", "seed=0,1", "hydra.sweep.dir='~/x'"], "~/x: ~ is the shell's"),
        (["hydra.run.dir='~/x'"], "~/x: ~ is the shell's"),
        (["hydra.run.dir=~/x"], "hydra.run.dir=~/x: ~ is the shell's; write hydra.run.dir=$HOME/x"),
    ],
)
def test_options_and_folders_that_mean_something_else_are_refused(
    words: list[str], said: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*words, *SMALL) == 2
    assert only_line(capsys).startswith(f"error: {said}")
    assert not Path("~").exists()


def test_a_value_cant_lead_out_of_the_sweeps_folder(command: Command, tmp_path: Path) -> None:
    where = ["data=sine", "loss=mse", "depth=1", "optim.momentum=0.5", "trainer=cpu", "trainer.max_epochs=1"]
    quiet = ["trainer.enable_progress_bar=false", "report=false", "figures=[]", "diagnostics=[]"]
    command("-m", *where, *quiet, "+act.x=../../../outside", "act=relu", f"hydra.sweep.dir={tmp_path}/a/b")
    assert "/" not in composition.run_name("relu", 1, 0, ["+x=../../../outside", "y=/etc/passwd", "z=.."])
    assert {path.name for path in tmp_path.iterdir()} <= {"a"}


def test_a_plan_says_what_a_sweep_would_take_and_does_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["act=relu,tanh", "depth=1,2", "seed=0,1,2", "trainer.max_epochs=7", "plan=true"]
    assert command("-m", *SMALL, *sweep, f"hydra.sweep.dir={tmp_path}/out") == 0
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [(row[0].strip(), row[1].strip(), int(row[3]), int(row[4])) for row in rows] == [
        ("stack of 6", "1 × 16", 6, 7), ("stack of 6", "2 × 16", 6, 7),
    ]  # fmt: skip
    assert all(float(row[5]) > 0 for row in rows)
    assert not (tmp_path / "out").exists()


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it is no mistake")
def test_a_gpu_that_is_absent_is_not_replaced_silently(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("trainer=gpu", "data=digits", f"hydra.run.dir={tmp_path}/out") == 2
    assert "no CUDA device" in only_line(capsys)


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_folder_that_cant_be_made_is_named(
    key: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    many = ["-m", "seed=0,1"] if key == "hydra.sweep.dir" else []
    assert command(*many, *SMALL, f"{key}={tmp_path}/file/out") == 2
    assert f"{tmp_path}/file" in only_line(capsys)


def test_a_sweeps_folder_that_depends_on_what_a_run_chooses_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"hydra.sweep.dir={tmp_path}/${{names.act}}"
    assert command("-m", *SMALL, "act=relu,tanh", "hydra.sweep.subdir=s", where) == 2
    line = f"hydra.sweep.dir would be {tmp_path}/tanh for s, {tmp_path}/relu for the sweep: a sweep has one folder"
    assert capsys.readouterr().err == f"error: {line}; what a run chooses belongs into hydra.sweep.subdir\n"
    assert list(tmp_path.iterdir()) == []


def test_a_value_given_twice_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("-m", *SMALL, "seed=0,1,0", f"hydra.sweep.dir={tmp_path}/out") == 2
    assert "relu-d2-s0" in only_line(capsys)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_choice_of_ones_own_that_is_no_utf_8_is_told(
    encoding: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "act").mkdir()
    (tmp_path / "act" / "mine.yaml").write_text("# très doux\n_target_: torch.nn.ELU\n", encoding=encoding)
    assert command(f"--config-dir={tmp_path}", *SMALL, "act=mine", f"hydra.run.dir={tmp_path}/out") == 2
    line = only_line(capsys)
    assert repr("# très doux".encode(encoding))[2:-1] in line
    assert "no UTF-8" in line


def test_a_first_word_that_is_no_part_of_the_command_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["actsweep", "reprot", "out"])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    line = "reprot: must be one of train, evaluate, report, theory, fetch, or KEY=VALUE, as act=relu"
    assert capsys.readouterr().err == f"error: {line}\n"
