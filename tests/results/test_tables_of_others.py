"""`Tables` on somebody's own fits: resumed, validated apart, in folders that hold other things, with odd names."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as L
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from actsweep.callbacks import ActivationHistogram, EveryStep, GradientNorm, Tables, UpdateRatio
from actsweep.errors import UserError
from tests.diagnostics.test_faults_of_callbacks import DATA, Plain

LOADER = DataLoader(DATA, batch_size=8)


class Logs(Plain):
    """Logs a loss of its training and of its validation, and tests what isn't called so; `step`: also a step of its
    own, as people do for an axis of epochs."""

    def __init__(self, step: bool = False) -> None:
        super().__init__()
        self.step = step

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.kept("train_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.kept("val_loss", F.cross_entropy(self(batch[0]), batch[1]))
        self.log("confusion[0,1]", 0.25)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.kept("accuracy", F.cross_entropy(self(batch[0]), batch[1]))

    def kept(self, name: str, loss: Tensor) -> Tensor:
        self.log(name, loss, on_step=False, on_epoch=True)
        if self.step:
            self.log("step", float(self.current_epoch), on_step=False, on_epoch=True)
        return loss


def trainer_of(logger: Tables, *callbacks: L.Callback, epochs: int = 2, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=logger, callbacks=list(callbacks), log_every_n_steps=1,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks), enable_progress_bar=False,
        enable_model_summary=False, **arguments,
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("step", [False, True])
def test_epochs_are_those_that_were_trained_whatever_else_the_trainer_does(step: bool, tmp_path: Path) -> None:
    trainer, module = trainer_of(Tables(tmp_path)), Logs(step)
    trainer.validate(module, LOADER, verbose=False)
    trainer.fit(module, LOADER, LOADER)
    trainer.validate(module, LOADER, verbose=False)
    trainer.test(module, LOADER, verbose=False)
    found = rows(tmp_path / "epochs.csv")
    assert [row["epoch"] for row in found] == ["1", "2"]
    assert found[0].keys() == {"epoch", "step", "val_loss", "confusion[0,1]", "train_loss"}
    assert all(value for row in found for value in row.values())
    assert [row["step"] for row in found] == (["0", "1"] if step else ["2", "5"])


def test_an_epochs_step_is_that_of_its_last_numbers(tmp_path: Path) -> None:
    trainer_of(Tables(tmp_path), val_check_interval=0.34).fit(Logs(), LOADER, LOADER)
    assert [row["step"] for row in rows(tmp_path / "epochs.csv")] == ["2", "5"]


def test_names_with_commas_stay_one_column(tmp_path: Path) -> None:
    trainer_of(Tables(tmp_path)).fit(Logs(), LOADER, LOADER)
    assert [row["confusion[0,1]"] for row in rows(tmp_path / "epochs.csv")] == ["0.25", "0.25"]
    assert Tables(tmp_path).epochs[2]["confusion[0,1]"] == 0.25


@pytest.mark.parametrize("name", ["epochs.csv", "layers.csv", "histograms.csv"])
def test_somebody_elses_files_are_refused_before_work(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("epoch,mine\n1,2\n")
    with pytest.raises(UserError, match=f"holds what actsweep did not write: {name}"):
        Tables(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        Tables(tmp_path / name)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_no_rows_are_added_to_somebody_elses_table(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("mine\n")
    with pytest.raises(UserError, match=r"holds what actsweep did not write: steps\.csv"):
        trainer_of(Tables(tmp_path), EveryStep()).fit(Logs(), LOADER, LOADER)
    assert (tmp_path / "steps.csv").read_text() == "mine\n"


def test_a_folder_below_one_of_ours_lists_its_own_tables(tmp_path: Path) -> None:
    trainer_of(Tables(tmp_path), epochs=1).fit(Logs(), LOADER, LOADER)
    for epochs in (3, 1):
        trainer_of(Tables(tmp_path / "below"), epochs=epochs).fit(Logs(), LOADER, LOADER)
    assert len(rows(tmp_path / "below" / "epochs.csv")) == 1
    assert len(rows(tmp_path / "below" / ".replaced" / "1" / "epochs.csv")) == 3


def watching() -> list[Any]:
    return [GradientNorm(), UpdateRatio(), ActivationHistogram(bins=4), EveryStep()]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_what_a_resumed_fit_measures_again_is_there_once(tmp_path: Path) -> None:
    saves = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    trainer_of(Tables(tmp_path / "cut"), *watching(), saves, epochs=5).fit(Logs(), LOADER, LOADER)
    again = trainer_of(Tables(tmp_path / "cut"), *watching(), epochs=4)
    again.fit(Logs(), LOADER, LOADER, ckpt_path=tmp_path / "epoch=1.ckpt")
    trainer_of(Tables(tmp_path / "whole"), *watching(), epochs=4).fit(Logs(), LOADER, LOADER)
    for name in ("epochs.csv", "layers.csv", "histograms.csv", "steps.csv"):
        places = [
            [tuple(row.get(key) for key in ("epoch", "step", "layer", "quantity")) for row in rows(folder / name)]
            for folder in (tmp_path / "cut", tmp_path / "whole")
        ]
        assert sorted(map(str, places[0])) == sorted(map(str, places[1]))


def test_what_a_fit_leaves_besides_is_in_the_folder_too(tmp_path: Path) -> None:
    trainer = trainer_of(Tables(tmp_path), ModelCheckpoint(), epochs=1)
    trainer.fit(Logs(), LOADER, LOADER)
    assert trainer.log_dir == str(tmp_path)
    assert [path.suffix for path in tmp_path.rglob("*.ckpt")] == [".ckpt"]
