"""The five documents: what their studies compute equals what they print, or follows from a closed form."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data import iris
from actsweep.data.datamodule import open_data
from actsweep.places import REPOSITORY
from actsweep.report import figures
from actsweep.results import run_folder
from actsweep.statistics import tuned
from actsweep.training.stack import stacks
from tests.conftest import weights_of
from tests.training.stack.test_stack import CPU

SettingsFor = Callable[..., Settings]
STUDIES = sorted(path.stem for path in Path(REPOSITORY, "sweeps").glob("*.yaml"))
QUIET = ["trainer=cpu", "trainer.enable_progress_bar=false"]


def values_of(study: str) -> dict[str, list[str]]:
    """The axes of a study and their values."""
    params = OmegaConf.load(REPOSITORY / "sweeps" / f"{study}.yaml").hydra.sweeper.params
    axes = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    found = {}
    for axis in axes:
        values = [*axis.sweep_string_iterator()] if axis.is_sweep_override() else [str(axis.value())]
        is_long = axis.is_range_sweep() or len(values) > 100  # a range's ends, and the atlas'
        found[axis.get_key_element()] = [values[0], values[-1]] if is_long else values
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_every_value_of_every_axis_of_a_study_is_a_valid_setting(
    study: str, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "learning_rate", lambda *_: 0.1)  # of a study that has not run here
    text = (REPOSITORY / "sweeps" / f"{study}.yaml").read_text().splitlines()
    assert text[1].startswith("# ")
    assert text[1].endswith("?")
    axes = values_of(study)
    for place in range(max(map(len, axes.values()))):
        choice = [f"{axis}={values[place % len(values)]}" for axis, values in axes.items()]  # in pairs: all are run
        settings = settings_for(f"+sweeps={study}", *choice, *QUIET)
        figures.check(settings.figures)
        assert settings.layer_sizes == [] or settings.layer_sizes[0] > 0


def small(settings_for: SettingsFor, study: str, *overrides: str) -> Settings:
    return settings_for(f"+sweeps={study}", *overrides, *QUIET, "figures=[]")


def stacked(folder: Path, settings: Sequence[Settings]) -> list[Path]:
    """The runs' folders, trained together as the study does."""
    folders = [folder / str(row) for row in range(len(settings))]
    stacks.train_group(list(zip(settings, folders, strict=True)), CPU)
    return folders


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / run_folder.RESULT).read_text())
    return found


# Course notes 05


def chain(g: str, layers: int, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Activations and |∂L/∂w| per layer of a chain with weights 1, biases 0, sigmoid output, log loss, y = 1."""

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))

    value = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}[g]
    derivative = {
        "sigmoid": lambda z: sigmoid(z) * sigmoid(-z),
        "tanh": lambda z: 1 / np.cosh(z) ** 2,
        "relu": lambda z: (z > 0).astype(float),
    }[g]
    inputs = [x]
    for _ in range(layers - 1):
        inputs.append(value(inputs[-1]))
    prediction = sigmoid(inputs[-1])
    gradients, delta = [], sigmoid(-inputs[-1])  # |∂L/∂z| of the output is 1 − σ(z)
    for layer in range(layers - 1, -1, -1):
        gradients.insert(0, np.abs(delta * inputs[layer]))
        if layer:
            delta = delta * derivative(inputs[layer - 1])
    return [*inputs[1:], prediction], gradients


@pytest.mark.parametrize("act", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 4, 10, 20])
def test_a_chains_gradients_equal_the_closed_form(
    act: str, layers: int, settings_for: SettingsFor, tmp_path: Path
) -> None:
    one_run.train(small(settings_for, "notes05_chain", f"act={act}", f"depth={layers - 1}", "seed=0"), tmp_path)
    table = pd.read_csv(run_folder.table(tmp_path, "examples"))
    assert table["layer"].nunique() == layers
    x = table["x"].to_numpy()[: len(table) // layers]
    assert (x.min(), x.max(), len(x)) == (-7, 7, 100)
    activations, gradients = chain(act, layers, x)
    for (_, found), activation, gradient in zip(table.groupby("layer"), activations, gradients, strict=True):
        assert np.abs(found["activation"] - activation).max() < 1e-12
        assert np.abs(found["grad_norm"] - gradient).max() < 1e-12
        assert np.allclose(found["grad_norm"], gradient, rtol=1e-9, atol=1e-300)
    if act == "sigmoid":
        first = table[table["layer"] == "layer_01"]
        bound = 0.25 ** (layers - 1) * np.abs(x) * (1 - activations[-1])
        assert (first["grad_norm"] <= bound * (1 + 1e-12)).all()


def test_the_step_function_stops_every_gradient(settings_for: SettingsFor, tmp_path: Path) -> None:
    one_run.train(small(settings_for, "notes05_chain", "act=step", "depth=3", "seed=0"), tmp_path)
    table = pd.read_csv(run_folder.table(tmp_path, "examples"))
    norms = table.groupby("layer")["grad_norm"].max()
    assert norms.iloc[:-1].tolist() == [0, 0, 0]
    assert norms.iloc[-1] > 0


def test_logistic_regression_equals_scikit_learns(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = small(settings_for, "notes05_logistic", "act=linear", "seed=0")
    [folder] = stacked(tmp_path, [settings])
    pool = open_data(settings.data, 0).dataset.pool
    oracle = LogisticRegression().fit(pool.inputs.numpy(), pool.labels.numpy())
    weights = weights_of(folder / run_folder.LAST)
    assert np.allclose(weights["network.layers.0.weight"].numpy(), oracle.coef_, rtol=0.01)
    assert np.allclose(weights["network.layers.0.bias"].numpy(), oracle.intercept_, rtol=0.01)
    assert result_of(folder)["test_accuracy"] == oracle.score(pool.inputs.numpy(), pool.labels.numpy())


def test_a_regression_finds_the_sine(settings_for: SettingsFor, tmp_path: Path) -> None:
    study = ["+experiment=regression", "act=tanh", "seed=0", "trainer.max_epochs=30", "patience=null"]
    [folder] = stacked(tmp_path, [small(settings_for, "notes05_outputs", *study)])
    result = result_of(folder)
    assert result["test_accuracy"] is None
    assert 0.005 < result["test_loss"] < 0.02  # the noise's variance is 0.01
    assert "train_accuracy" not in pd.read_csv(folder / run_folder.EPOCHS).columns


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_a_gain_of_four_explodes_unless_it_is_normalised(norm: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    overrides = [
        "act=relu",
        "init.gain=4.0",
        "trainer.gradient_clip_val=null",
        f"norm={norm}",
        "seed=0",
        "untrained=true",
    ]
    norms = one_run.train(small(settings_for, "notes05_exploding", *overrides), tmp_path)["grad_norm"]
    assert (max(norms) > 1e3) == (norm == "none")


# deep.TEACHING's iris


def test_ten_tanh_units_learn_iris_within_a_hundred_steps(settings_for: SettingsFor, tmp_path: Path) -> None:
    for folder in stacked(tmp_path, [small(settings_for, "iris", "act=tanh", f"seed={seed}") for seed in range(5)]):
        epochs = pd.read_csv(folder / run_folder.EPOCHS)
        assert epochs["step"].max() == 100
        assert epochs["val_accuracy"].max() == 1
        assert epochs["val_accuracy"].iloc[-1] == 1


def gradients_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(run_folder.table(folder, "steps")).filter(like="grad_mean_abs/")


def test_ten_sigmoid_layers_learn_nothing_at_the_default_initialisation(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    sigmoid = ["act=sigmoid", "init=default", "trainer.max_epochs=20"]
    runs = [small(settings_for, "iris_deep", *sigmoid, f"seed={seed}") for seed in range(3)]
    for folder in stacked(tmp_path, runs):
        assert result_of(folder)["test_accuracy"] == 0.5
        means = gradients_of(folder).mean()  # over all steps: of a batch with 64 of each class there is hardly any
        assert means.iloc[0] < 1e-6 * means.iloc[-1]


def test_ten_layers_learn_at_a_matching_initialisation(settings_for: SettingsFor, tmp_path: Path) -> None:
    matching = ["init=matching", "seed=0", "trainer.max_epochs=40"]
    runs = [small(settings_for, "iris_deep", f"act={act}", *matching) for act in ("sigmoid", "tanh", "relu")]
    for folder in stacked(tmp_path, runs):
        assert result_of(folder)["test_accuracy"] == 1
        assert gradients_of(folder).iloc[0, 0] > 1e-3 * gradients_of(folder).iloc[0, -1]


def test_iris_is_two_classes_of_fifty_standardised() -> None:
    pool = iris.load().pool
    assert pool.inputs.shape == (100, 4)
    assert pool.labels.bincount().tolist() == [50, 50]
    assert pool.inputs.mean(0).abs().max() < 1e-12
    assert (pool.inputs.std(0, correction=0) - 1).abs().max() < 1e-12
    assert iris.load(standardise=False, factor=10.0).pool.inputs[0].tolist() == [51, 35, 14, 2]
