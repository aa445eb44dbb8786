"""What a person's callback has written to a file that it never closed is there when the command has ended."""

import os
import sys
from pathlib import Path

import pytest
import pytorch_lightning as L

from tests import processes
from tests.conftest import SMALL

NOTES = "+diagnostics.notes"


class Notes(L.Callback):
    """Keeps a file open, and is part of a circle, which only looking for garbage takes apart. May fail."""

    def __init__(self, fails: bool = False) -> None:
        self.itself, self.fails = self, fails
        self.lines: list[str] = []

    def on_train_start(self, *_: object) -> None:
        self.file = Path(os.environ["NOTES"]).open("a", encoding="utf-8")  # noqa: SIM115  # as in many a callback

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.file.write(f"epoch {trainer.current_epoch}\n")
        if self.fails:
            raise ValueError("on purpose")


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.run.dir={}/there"],
        ["hydra.run.dir={}/there", f"{NOTES}.fails=true"],
        ["-m", "hydra/launcher=basic", "seed=0,1", "hydra.sweep.dir={}/there", "report=true"],
        ["-m", "hydra/launcher=basic", "seed=0,1", "hydra.sweep.dir={}/there", f"{NOTES}.fails=true"],
        ["-m", "seed=0,1", "hydra.sweep.dir={}/there"],
    ],
    ids=["a run", "one that fails", "basic", "that fails", "a sweep"],
)
def test_what_a_callback_left_in_an_open_file_is_written(words: list[str], tmp_path: Path) -> None:
    words = [*SMALL, f"{NOTES}._target_={__name__}.{Notes.__name__}", *words]
    command = [sys.executable, "-m", "src.train", *(word.format(tmp_path) for word in words)]
    ended = processes.run(command, {"NOTES": str(tmp_path / "notes")})
    fails, runs = f"{NOTES}.fails=true" in words, 2 if "-m" in words else 1
    assert ended.returncode == int(fails), ended.stderr
    assert (tmp_path / "notes").read_text().splitlines() == (["epoch 0"] if fails else ["epoch 0", "epoch 1"]) * runs
