"""Arguments of the data sets, sizes and sampling that leave nothing to learn from are refused before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from actsweep.config.schema import Data
from actsweep.data.datamodule import open_data
from actsweep.places import REPOSITORY
from tests.conftest import names_in


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("data=spiral data.source.points=0", "data.source.points=0: must be a whole number from 1 to 100000"),
        ("data=spiral data.source.classes=1", "data.source.classes=1: must be a whole number from 2 to 1000"),
        ("data=spiral data.source.noise=-1", "data.source.noise=-1: must be a number from 0 to 1e+30"),
        ("data=spiral data.source.seed=null", "data.source.seed=None: must be a whole number from 0 to 4294967295"),
        (
            "data=spiral data.source.points=1e9",
            "data.source.points=1000000000.0: must be a whole number from 1 to 100000",
        ),
        ("data=iris data.source.factor=0", "data.source.factor=0: must be a number from 1e-30 to 1e+30"),
        ("data=iris data.source.factor=nan", "data.source.factor=nan: must be a number from 1e-30 to 1e+30"),
        ("data=iris data.source.standardise=no", "data.source.standardise=no: must be true or false"),
        ("data=line loss=bce data.source.points=0", "data.source.points=0: must be a whole number from 1 to 1000000"),
        ("data=line loss=bce data.source.low=-inf", "data.source.low=-inf: must be a number from -1e+30 to 1e+30"),
        ("data=line loss=bce data.source.label=2", "data.source.label=2: must be a whole number from 0 to 1"),
        ("data=sine loss=mse data.source.points=3", "data.source.points=3: must be a whole number from 4 to 1000000"),
        (
            "data=classification data.source.n_samples=-5",
            "data.source.n_samples=-5: must be a whole number from 2 to 1000000",
        ),
        (
            "data=classification data.source.n_classes=1",
            "data.source.n_classes=1: must be a whole number from 2 to 1000000",
        ),
        (
            "data=classification data.source.n_features=10000000",
            "data.source.n_features=10000000: must be a whole number from 1 to 1342177",
        ),
        (
            "data=classification data.source.random_state=null",  # other data in every process
            "data.source.random_state=None: must be a whole number from 0 to 4294967295",
        ),
        (
            "data=iris data.batch_size=all",
            "data.replacement=true: with data.batch_size=all nothing is drawn; give data.replacement=false",
        ),
        (
            "data=iris data.steps_per_epoch=null",
            "data.steps_per_epoch=null: 100 training examples make no batch of 128; give data.steps_per_epoch=N, or a "
            "smaller data.batch_size",
        ),
        (
            "data=digits norm=batch data.batch_size=1",
            "data.batch_size=1: norm=batch needs two examples in a batch; norm=layer takes each alone",
        ),
        ("data.source.root=", "data.source.root=: must be the path of a folder"),
        (
            "data=iris data.val_size=99",
            "data.val_size=99: leaves no example of versicolor to train on; give a smaller one, or another "
            "data.split_seed than 42",
        ),
    ],
)
def test_an_argument_that_a_data_set_cant_take_is_refused(
    given: str, line: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("trainer=cpu", *given.split(), f"hydra.run.dir={tmp_path}/out") == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert list(tmp_path.iterdir()) == []


def test_any_argument_of_make_classification_can_be_given(settings_for: Callable[..., Any]) -> None:
    settings = settings_for("data=classification", "+data.source.weights=[0.9,0.1]", "+data.source.flip_y=0.0")
    assert open_data(settings.data, 0).train.labels.bincount().tolist() == [90, 10]


@pytest.mark.parametrize("name", names_in("data"))
def test_every_data_set_takes_the_keys_that_any_of_them_takes(name: str) -> None:
    assert OmegaConf.load(REPOSITORY / "conf" / "data" / f"{name}.yaml").keys() == Data.model_fields.keys()
