"""The report reads a run's data set from its folder, and calls nothing else that the folder names."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actsweep.data import checked, fashion_mnist
from actsweep.errors import UserError
from actsweep.report.dataset import dataset_of, pictures_of, training_examples
from actsweep.report.figures.samples import draw as samples
from actsweep.report.tasks import tasks_of
from actsweep.results.reading import Run
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import result_of, sweep


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


def idx_folder(root: Path, intensity: int) -> str:
    """20 training and 20 test images of 4 × 4 equal pixels, of two classes."""
    root.mkdir(exist_ok=True)
    for part in ("train", "t10k"):
        for kind, shape, values in (("images", (20, 4, 4), [intensity] * 320), ("labels", (20,), [0, 1] * 10)):
            head = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
            (root / f"{part}-{kind}-idx{len(shape)}-ubyte").write_bytes(head + bytes(values))
    return str(root)


def run_on(folder: Path) -> Run:
    """A run that was trained on what a folder holds now."""
    run = result_of("relu", [8], 0, "digits") | {"data": "mnist_folder", "folder": str(folder)}
    source = {"_target_": "actsweep.data.mnist_folder.load", "root": str(folder)}
    return run | {"config": run["config"] | {"data": {"source": source}, "content": checked.opened(source).digest[:12]}}


def test_what_a_folder_holds_now_is_not_shown_as_what_a_run_was_trained_on(tmp_path: Path) -> None:
    idx_folder(tmp_path, 7)
    run = run_on(tmp_path)
    assert pictures_of(run).test.max() == 7
    idx_folder(tmp_path, 200)
    for show in (dataset_of, pictures_of):
        with pytest.raises(UserError, match=r"holds other data than the run had: \w{12}, not \w{12}$"):
            show(run)


def test_data_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    a, b = (run_on(Path(idx_folder(tmp_path / name, size))) for name, size in (("a", 7), ("b", 200)))
    titles = [f"mnist_folder, root {tmp_path}/{name}" for name in "ab"]
    assert [task.title for task in tasks_of(settings_of([a, b]))] == titles
    assert samples([a, b]).table["data"].value_counts().to_dict() == dict.fromkeys(titles, 8)
    b["config"]["data"] = a["config"]["data"]
    contents = [f"mnist_folder, content {run['config']['content']}" for run in (a, b)]
    assert {task.title for task in tasks_of(settings_of([a, b]))} == set(contents)
    a["config"] |= {"content": b["config"]["content"], "loss": "mse"}
    measures = ["mnist_folder, test_accuracy", "mnist_folder, test_loss"]
    assert sorted(task.title for task in tasks_of(settings_of([a, b]))) == measures


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
