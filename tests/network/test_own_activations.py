"""Activations as people have them, trained through the command line: by plain runs and in stacks, with the default
diagnostics."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.diagnostics.observation import observe
from actsweep.diagnostics.units import count_over
from actsweep.network.build import build_network
from actsweep.results import run_folder
from actsweep.training.stack.grouping import reason_against
from tests.conftest import SMALL, weights_of
from tests.network import own_activations

Command = Callable[..., int]
Make = Callable[..., Settings]
OWN = "tests.network.own_activations"
ENGINES = {"plain": ("hydra/launcher=basic",), "stacked": ()}
SEEDS = {"plain": "0", "stacked": "0,1"}


def trained(command: Command, folder: Path, engine: str, *overrides: str, seeds: str = "") -> dict[str, Path]:
    """Runs, in a stack of both seeds, by the name of their activation and their seed."""
    seed = f"seed={seeds or SEEDS[engine]}"
    arguments = ("-m", *ENGINES[engine], *SMALL, "trainer.max_epochs=1", f"hydra.sweep.dir={folder}", seed, *overrides)
    assert command(*arguments) == 0
    found = {}
    for path in folder.glob(f"*/{run_folder.RESULT}"):
        result = json.loads(path.read_text())
        assert result["status"] == "completed"
        found[f"{result['act'].rpartition('.')[2]} {result['seed']}"] = path.parent
    return found


def table(folder: Path, name: str = "layers") -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def quantities(folder: Path) -> set[str]:
    return {row["quantity"] for row in table(folder)}


OF_THE_SLOPE = {
    "dead_fraction",
    "saturated_fraction",
    "dead_units",
    "units_died",
    "units_revived",
    "pre_activation_rms_theory",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_that_mix_units_say_nothing_of_slopes(command: Command, tmp_path: Path, engine: str) -> None:
    acts = f"act={OWN}.GroupSort,{OWN}.CReLU,torch.nn.GLU,maxout"
    runs = trained(command, tmp_path, engine, acts) | trained(
        command, tmp_path / "b", engine, "act=torch.nn.Softmax", "+act.dim=-1"
    )
    assert len(runs) == (10 if engine == "stacked" else 5)
    for folder in runs.values():
        assert not quantities(folder) & OF_THE_SLOPE
        assert not (folder / "curves.csv").exists()
        assert {"pre_activation_std", "post_activation_mean", "grad_norm", "dead_outputs"} <= quantities(folder)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_slope_for_each_unit_is_learnt_and_watched(command: Command, tmp_path: Path, engine: str) -> None:
    runs = trained(command, tmp_path, engine, "act=torch.nn.PReLU", "+act.num_parameters=16")
    assert len(runs) == (2 if engine == "stacked" else 1)
    for folder in runs.values():
        assert OF_THE_SLOPE - {"pre_activation_rms_theory"} <= quantities(folder)
        slopes = [
            value
            for name, value in weights_of(folder / run_folder.LAST).items()
            if value.shape == (16,) and "bias" not in name
        ]
        assert len(slopes) == 2
        assert all((slope != 0.25).any() for slope in slopes)
        rows = table(folder, "curves")
        assert [float(rows[0][name]) for name in ("x", "value", "slope")] == [-5.0, -1.25, 0.25]


TWINS = {
    "Clamped": "relu",
    "Doubled": f"{OWN}.Twice",
    "relu_": "relu",
    "Straight": f"{OWN}.Straight.apply",
    "tanh": "tanh",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_works_in_place_is_measured_as_its_twin_is(command: Command, tmp_path: Path, engine: str) -> None:
    place = f"act={OWN}.Clamped,{OWN}.Doubled,torch.nn.functional.relu_,{OWN}.Straight,torch.tanh"
    runs = trained(command, tmp_path / "own", engine, place)
    runs |= {
        f"inplace {name[-1]}": folder
        for name, folder in trained(command, tmp_path / "attribute", engine, "act=relu", "+act.inplace=true").items()
    }
    twins = trained(command, tmp_path / "twins", engine, f"act=relu,{OWN}.Twice,{OWN}.Straight.apply,tanh")
    assert len(runs) == (12 if engine == "stacked" else 6)
    for name, folder in runs.items():
        act, seed = name.split()
        twin = twins[f"{TWINS.get(act, 'relu').rpartition('.')[2]} {seed}"]
        for file in ("layers.csv", "curves.csv", "epochs.csv"):
            assert (folder / file).read_text() == (twin / file).read_text(), (name, file)
        ours, theirs = weights_of(folder / run_folder.LAST), weights_of(twin / run_folder.LAST)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert histograms(folder) == histograms(twin)


def histograms(folder: Path) -> list[Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    found.Reload()
    tags = sorted(found.Tags()["histograms"])
    assert any(tag.startswith("pre_activation") for tag in tags)
    return [
        (tag, each.step, tuple(each.histogram_value.bucket), tuple(each.histogram_value.bucket_limit))
        for tag in tags
        for each in found.Histograms(tag)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_only_looks_different_gives_the_same_network(command: Command, tmp_path: Path, engine: str) -> None:
    same = {
        "prototype": "prelu",
        "Scaled": "tanh",
        "Remembering": "tanh",
        "Wrapped": "tanh",
    }
    runs = trained(command, tmp_path / "own", engine, f"act={OWN}.prototype,{OWN}.Scaled,{OWN}.Remembering")
    runs |= trained(
        command,
        tmp_path / "nested",
        engine,
        f"act={OWN}.Wrapped",
        "+act.inner._target_=torch.nn.Tanh",
        "+act.others=[]",
    )
    twins = trained(command, tmp_path / "twins", engine, "act=prelu,tanh")
    assert len(runs) == (8 if engine == "stacked" else 4)
    tolerance = 0.0 if engine == "plain" else 1e-5  # some run alone where their twins are stacked
    for name, folder in runs.items():
        act, seed = name.split()
        ours = weights_of(folder / run_folder.LAST).values()
        theirs = weights_of(twins[f"{same[act]} {seed}"] / run_folder.LAST).values()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["CountingInABuffer", "Remembering"])
def test_diagnostics_leave_what_an_activation_notes_alone(settings_for: Make, tmp_path: Path, name: str) -> None:
    kept = []
    for diagnostics in ("[gradients,histograms,units,taxonomy,curve,theory]", "[]"):
        folder = tmp_path / diagnostics[1:4]
        folder.mkdir()
        one_run.train(settings_for(*SMALL, f"act={OWN}.{name}", f"diagnostics={diagnostics}"), folder)
        kept.append(weights_of(folder / run_folder.LAST))
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[1])


def test_observing_restores_counters_lists_and_replaced_buffers() -> None:
    for activation in (own_activations.Counting(), own_activations.CountingInABuffer(), own_activations.Remembering()):
        network = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2))
        seen = getattr(activation, "seen", None)
        observe(network, lambda network=network: network(torch.rand(5, 3)).sum())
        count_over(network, [(torch.rand(5, 3), torch.zeros(5))])
        assert getattr(activation, "calls", 1.0) == 1.0
        assert activation.__dict__.get("seen") is seen
        assert not seen
        assert "last" not in vars(activation)


@pytest.mark.parametrize("engine", ENGINES)
def test_numpys_float64_is_trained_in_the_networks_type(command: Command, tmp_path: Path, engine: str) -> None:
    act = f"act={OWN}.FromNumPy"
    learnt = trained(command, tmp_path / "learnt", engine, act, "+act.learnt=true")
    for folder in (*learnt.values(), *trained(command, tmp_path / "fixed", engine, act).values()):
        assert {each.dtype for each in weights_of(folder / run_folder.LAST).values()} == {torch.float32}


def test_numpys_float64_is_not_rounded_where_the_network_is_in_float64(settings_for: Make) -> None:
    for learnt in (True, False):
        settings = settings_for(*SMALL, f"act={OWN}.FromNumPy", f"+act.learnt={learnt}", "trainer.precision=64")
        points = build_network(settings, 64, 10).network.state_dict()["layers.1.points"]
        assert torch.equal(points, own_activations.FromNumPy().get_buffer("points"))


@pytest.mark.parametrize("name", ["Frozen", "TwoFaced", "hard", "RandomStart", "bent", "half"])
def test_both_engines_train_the_same_network(command: Command, tmp_path: Path, name: str) -> None:
    act = f"act={OWN}.{name}", "trainer.precision=64"
    stacked = trained(command, tmp_path / "stacked", "stacked", *act)
    for run, folder in trained(command, tmp_path / "plain", "plain", *act, seeds="0,1").items():
        ours, theirs = weights_of(stacked[run] / run_folder.LAST), weights_of(folder / run_folder.LAST)
        for key in theirs:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-9, atol=1e-12)


def test_functions_and_learnt_modules_are_stacked(settings_for: Make) -> None:
    for act in ("torch.sin", f"{OWN}.bent", f"{OWN}.cubed", f"{OWN}.Clamped", f"{OWN}.Matrix", f"{OWN}.prototype"):
        assert reason_against(settings_for(*SMALL, f"act={act}")) is None


def test_a_functions_random_numbers_are_those_of_the_step(settings_for: Make, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("function", "module")]
    for folder, overrides in zip(
        folders, (["act=torch.nn.functional.rrelu", "+act.training=true"], ["act=torch.nn.RReLU"]), strict=True
    ):
        folder.mkdir()
        one_run.train(settings_for(*SMALL, *overrides), folder)
    ours, theirs = (weights_of(folder / run_folder.LAST) for folder in folders)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("many", [(), ("-m", "seed=0,1"), ("-m", "seed=0,1", "hydra/launcher=stacked")])
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["act=torch.nn.PReLU", "+act.num_parameters=16", "hidden_sizes=[16,8]", "depth=null"],
            "error: act=torch.nn.PReLU: torch.nn.PReLU(num_parameters=16) on a layer of 8 units: RuntimeError: ",
        ),
        (
            [f"act={OWN}.GroupSort", "width=18"],
            f"error: act={OWN}.GroupSort: {OWN}.GroupSort on a layer of 18 units: AssertionError: 18 units are no",
        ),
        (
            [f"act={OWN}.Raising", "+act.kind=0"],
            f"error: act={OWN}.Raising: {OWN}.Raising(kind=0) on a layer of 16 units: Attr",
        ),
        (
            [f"act={OWN}.Raising", "+act.kind=2", "+act.when=made"],
            f"error: act={OWN}.Raising: {OWN}.Raising(kind=2, when='made'): KeyErr",
        ),
        (
            [f"act={OWN}.CReLU", "width=15"],
            f"error: act={OWN}.CReLU: {OWN}.CReLU on a layer of 15 units: turns 15 numbers into 30",
        ),
    ],
)
def test_what_cannot_work_ends_with_one_line_before_any_work(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    line: str,
    many: tuple[str, ...],
) -> None:
    folder = "hydra.sweep.dir" if many else "hydra.run.dir"
    assert command(*many, *SMALL, *overrides, f"{folder}={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert said.startswith(line)
    assert not list(tmp_path.glob("out/**/*.csv"))
