"""epochs.csv grows by a row an epoch, whole at each epoch's end, and goes on where a resumed run's was cut."""

import csv
import logging
from pathlib import Path

import pytest

from actsweep.callbacks import GradientNorm
from actsweep.results import run_folder, tables
from actsweep.results.tables import Tables
from tests.diagnostics.test_faults_of_callbacks import DATA, Plain
from tests.diagnostics.test_zoo import fit


def log(logger: Tables, epoch: int, **metrics: float) -> None:
    """What Lightning does: log, then save; epochs are counted from 0."""
    logger.log_metrics(metrics | {"epoch": epoch - 1}, step=10 * epoch)
    logger.save()


def epoch(logger: Tables, number: int) -> None:
    log(logger, number, val_loss=1 / number, val_accuracy=0.5)
    log(logger, number, train_loss=0.1 * number)


def test_every_row_is_whole_in_the_file_at_its_epochs_end(tmp_path: Path) -> None:
    logger, lines = Tables(tmp_path), ["epoch,step,val_loss,val_accuracy,train_loss\n"]
    for number in range(1, 6):
        epoch(logger, number)
        lines.append(f"{number},{10 * number},{float(f'{1 / number:.7g}')},0.5,{float(f'{0.1 * number:.7g}')}\n")
        assert (tmp_path / run_folder.EPOCHS).read_text() == "".join(lines)


def test_rows_are_appended_and_the_file_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, whole = Tables(tmp_path), []
    write = tables.write_atomically
    monkeypatch.setattr(tables, "write_atomically", lambda *a, **k: (whole.append(a), write(*a, **k)))
    for number in range(1, 301):
        epoch(logger, number)
    assert len(whole) == 2  # when the validation's columns came, and the training's
    assert len((tmp_path / run_folder.EPOCHS).read_text().splitlines()) == 301


def test_columns_that_come_later_are_blank_before(tmp_path: Path) -> None:
    logger = Tables(tmp_path)
    for number in range(1, 5):
        log(logger, number, train_loss=0.5)
        if number % 2 == 0:
            log(logger, number, val_loss=0.25)
    rows = (tmp_path / run_folder.EPOCHS).read_text().splitlines()
    assert rows == ["epoch,step,train_loss,val_loss", "1,10,0.5,", "2,20,0.5,0.25", "3,30,0.5,", "4,40,0.5,0.25"]


def test_a_row_before_the_last_can_be_completed(tmp_path: Path) -> None:
    logger = Tables(tmp_path)
    log(logger, 1, a=1.0, b=1.0)
    log(logger, 2, a=2.0)
    log(logger, 1, b=3.0)
    log(logger, 2, b=4.0)
    assert (tmp_path / run_folder.EPOCHS).read_text() == "epoch,step,a,b\n1,10,1.0,3.0\n2,20,2.0,4.0\n"


@pytest.mark.parametrize("further", [0, 2])
def test_a_resumed_run_has_the_table_of_one_that_was_not_interrupted(further: int, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    straight, first = Tables(whole), Tables(cut)
    for number in range(1, 7):
        epoch(straight, number)
    for number in range(1, 4):
        epoch(first, number)
    sizes = run_folder.table_sizes(cut)
    for number in range(4, 4 + further):
        epoch(first, number)  # after the checkpoint, and lost
    assert run_folder.rewind(cut, sizes)
    again = Tables(cut)
    assert list(again.epochs) == [1, 2, 3]
    log(again, 3, train_loss=0.3)  # what Lightning logs once more after a checkpoint
    for number in range(4, 7):
        epoch(again, number)
    assert (cut / run_folder.EPOCHS).read_bytes() == (whole / run_folder.EPOCHS).read_bytes()
    assert again.epochs == straight.epochs


def steps(folder: Path) -> list[str]:
    with (folder / run_folder.LAYERS).open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file) if row["layer"] == "last"]


def test_a_second_fits_rows_are_not_mixed_with_the_firsts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = [GradientNorm(every_n_steps=1)]
    with caplog.at_level(logging.INFO, "pytorch_lightning.utilities.rank_zero"):
        trainer = fit(Plain(), DATA, watching, logger=Tables(tmp_path / "a"))
        trainer.save_checkpoint(tmp_path / "first.ckpt")
        aside = tmp_path / "a" / run_folder.REPLACED
        fit(Plain(), DATA, watching, tmp_path / "first.ckpt", logger=Tables(tmp_path / "a"), max_epochs=2)
        assert not aside.exists()  # it was resumed
        assert steps(tmp_path / "a") == [str(step) for step in range(6) for _ in range(3)]
        for logger in (again := Tables(str(tmp_path / "a")), again):
            fit(Plain(), DATA, watching, logger=logger)
            assert steps(tmp_path / "a") == [str(step) for step in range(3) for _ in range(3)]
    assert [len(steps(aside / number)) for number in ("1", "2")] == [18, 9]
    said = f"{tmp_path / 'a'}: tables of an earlier fit, which this one doesn't resume, are in {aside}"
    assert [message for message in caplog.messages if "earlier" in message] == [f"{said}/1", f"{said}/2"]
