"""The report reads a run's data set from its folder, and calls nothing else that the folder names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actsweep.data import fashion_mnist
from actsweep.report.dataset import dataset_of, pictures_of, training_examples
from tests.made_up_runs import sweep


@pytest.mark.parametrize(
    "source",
    [
        {"_target_": "os.getcwd"},
        {"_target_": "actsweep.data.datamodule.instantiate", "config": {}},  # imported there, defined elsewhere
        {"_target_": "actsweep.data.idx.gzip.open", "filename": "x"},
        {"_target_": "actsweep.data.idx.read", "path": "x"},  # returns no Dataset
        {"_target_": "actsweep.data.fetch.fetch", "root": "x"},
        {"_target_": "actsweep.data.dataset.Examples", "inputs": 0, "labels": 0},
        {"_target_": "actsweep.data.no_such_module.load"},
    ],
    ids=lambda source: source["_target_"],
)
def test_a_run_folder_does_not_decide_what_is_called(source: dict[str, Any], tmp_path: Path) -> None:
    run = sweep(tmp_path, acts=["relu"], seeds=[0])[0]
    assert len(dataset_of(run).pool) == 1437
    run["config"]["data"]["source"] = source
    for opened in (dataset_of, pictures_of):
        with pytest.raises(ValueError, match=r"only functions of modules in src/actsweep/data/ are called here"):
            opened(run)


def test_a_nested_target_in_a_run_folder_is_an_argument_and_nothing_more(tmp_path: Path) -> None:
    run = sweep(tmp_path, acts=["relu"], seeds=[0], data="spiral")[0]
    made = tmp_path / "made by the run folder"
    run["config"]["data"]["source"] |= {"noise": {"_target_": "os.mkdir", "path": str(made)}}
    for opened in (dataset_of, pictures_of):
        with pytest.raises(TypeError):
            opened(run)
    assert not made.exists()


def test_a_report_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sweep(tmp_path, acts=["relu"], seeds=[0], data="fashion_mnist")[0]
    run["config"]["data"]["source"] |= {"root": str(tmp_path / "nowhere")}
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    monkeypatch.setattr(fashion_mnist, "downloaded", lambda root: pytest.fail(f"a download to {root}"))
    for opened in (dataset_of, pictures_of):
        with pytest.raises(ValueError, match="FashionMNIST is neither there nor in"):
            opened(run)


def test_the_examples_a_figure_shows_are_those_trained_on(tmp_path: Path) -> None:
    run = sweep(tmp_path, acts=["relu"], seeds=[0])[0]
    run["config"]["data"] |= {"val_size": 437, "split_seed": 7}
    dataset, examples = training_examples(run)
    order = torch.randperm(1437, generator=torch.Generator().manual_seed(7))
    assert torch.equal(examples.inputs, dataset.pool.inputs[order[:1000]])


@pytest.mark.parametrize("data", ["digits", "fashion_mnist", "spiral"])
def test_what_a_report_shows_without_torch_is_what_the_networks_are_tested_on(data: str, tmp_path: Path) -> None:
    run = sweep(tmp_path, acts=["relu"], seeds=[0], data=data)[0]
    dataset, found = dataset_of(run), pictures_of(run)
    assert np.array_equal(found.test, (dataset.test or dataset.pool).inputs.numpy())
    assert (found.classes, found.shape) == (dataset.classes, dataset.shape)
