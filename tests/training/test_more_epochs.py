"""More epochs in the same folder: as if they had been asked for at once, bit for bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.network import lightning_loops
from actsweep.results import claims, run_folder
from tests.conftest import SMALL
from tests.data.test_data_files import idx_bytes
from tests.training.test_resume import assert_same_run

Command = Callable[..., int]
RICH = [*SMALL, "diagnostics=[gradients,histograms,units,predictions]", "act=prelu", "optim.lr=0.05"]


def write_idx_folder(folder: Path, seed: int) -> None:
    """Two classes of random images, laid out as MNIST is."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for part, count in (("train", 200), ("t10k", 50)):
        images = generator.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count, dtype=np.uint8) % 2))


@pytest.mark.parametrize(
    ("patience", "first", "whole"),
    [("null", 3, 6), ("2", 3, 6), ("1", 4, 30), ("1", 30, 40)],
    ids=["never stops", "had begun to count", "stops later", "had stopped"],
)
def test_three_epochs_then_six_are_six(
    patience: str, first: int, whole: int, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*RICH, f"patience={patience}"]
    for epochs in (first, whole, whole):
        assert command(*run, f"trainer.max_epochs={epochs}", f"hydra.run.dir={tmp_path}/grown") == 0
    done = (run_folder.read_result(tmp_path / "grown") or {})["epochs"]
    assert capsys.readouterr().out.count(f"resumes after epoch {min(first, done)}\n") == 1
    assert command(*run, f"trainer.max_epochs={whole}", f"hydra.run.dir={tmp_path}/once") == 0
    assert_same_run(tmp_path / "once", tmp_path / "grown")


def test_a_sweep_goes_on_to_more_epochs_in_its_own_folders(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", *SMALL, "seed=0,1", "diagnostics=[]"]
    for epochs in (1, 3):
        assert command(*sweep, f"trainer.max_epochs={epochs}", f"hydra.sweep.dir={tmp_path}/grown") == 0
    assert command(*sweep, "trainer.max_epochs=3", f"hydra.sweep.dir={tmp_path}/once") == 0
    names = sorted(path.parent.name for path in tmp_path.glob("grown/*/result.json"))
    assert len(names) == 2
    for name in names:
        assert_same_run(tmp_path / "once" / name, tmp_path / "grown" / name)


@pytest.mark.parametrize("ended", ["interrupted", "failed"])
def test_a_run_that_would_resume_after_more_epochs_is_refused_before_any_work(
    ended: str, settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    whole, fewer = (settings_for(*SMALL, "diagnostics=[]", f"trainer.max_epochs={epochs}") for epochs in (3, 2))
    one_run.train(whole, tmp_path)
    (tmp_path / run_folder.RESULT).unlink()
    if ended == "failed":
        run_folder.write_failure(whole, tmp_path, RuntimeError("unlucky"))
    claims.refuse(tmp_path, whole)
    with pytest.raises(UserError, match=r"trainer\.max_epochs=2, and it has trained 3 epochs"):
        claims.refuse(tmp_path, fewer)


def test_what_the_data_are_is_part_of_a_run_and_where_they_lie_is_not(command: Command, tmp_path: Path) -> None:
    for place, seed in (("A", 0), ("B", 1)):
        write_idx_folder(tmp_path / place, seed)
    shutil.copytree(tmp_path / "A", tmp_path / "copy of A")
    own = [*SMALL, "data=mnist_folder", "data.val_size=50", "data.batch_size=50", "trainer.max_epochs=1"]
    sweep = ["-m", *own, f"hydra.sweep.dir={tmp_path}/sweep", "diagnostics=[]"]
    for places in ("A,B", "copy of A", "B"):
        roots = ",".join(f"'{tmp_path}/{place}'" for place in places.split(","))
        assert command(*sweep, f"data.source.root={roots}") == 0
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("sweep/*/result.json"))]
    assert len(found) == len({run["config"]["content"] for run in found}) == 2
    assert all(run["name"].endswith(f"-content={run['config']['content']}") for run in found)
    assert {Path(run["config"]["data"]["source"]["root"]).name for run in found} == {"A", "B"}


def test_other_data_in_the_same_place_are_not_the_same_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*SMALL, "data=mnist_folder", "data.val_size=50", "data.batch_size=50", f"hydra.run.dir={tmp_path}/run"]
    for place, seed in (("A", 0), ("B", 1)):
        write_idx_folder(tmp_path / place, seed)
    assert command(*run, f"data.source.root={tmp_path}/A") == 0
    capsys.readouterr()
    assert command(*run, f"data.source.root={tmp_path}/B") == 2
    assert "run holds a run with other settings: content=" in capsys.readouterr().err


def as_earlier_versions_counted(path: Path) -> None:
    """Their steps were made by hand, a hundred in a batch."""
    checkpoint = torch.load(path, weights_only=True)
    fit = checkpoint["loops"]["fit_loop"]
    steps = dict.fromkeys(("ready", "completed"), checkpoint["global_step"])
    fit["epoch_loop.manual_optimization.optim_step_progress"] = {"total": steps, "current": dict(steps)}
    for kind in ("step", "zero_grad"):
        for part, counts in fit[lightning_loops.OPTIMIZER]["optimizer"][kind].items():
            fit[lightning_loops.OPTIMIZER]["optimizer"][kind][part] = dict.fromkeys(counts, 0)
    torch.save(checkpoint, path)


def test_a_run_of_an_earlier_version_resumes_with_its_own_count_of_steps(command: Command, tmp_path: Path) -> None:
    run = [*RICH, "act=torch.nn.RReLU", "diagnostics.gradients.every_n_steps=7"]
    assert command(*run, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/grown") == 0
    for name in (run_folder.LAST, run_folder.BEST):
        as_earlier_versions_counted(tmp_path / "grown" / name)
    for folder in ("grown", "once"):
        assert command(*run, "trainer.max_epochs=3", f"hydra.run.dir={tmp_path}/{folder}") == 0
    assert_same_run(tmp_path / "once", tmp_path / "grown")


@pytest.mark.parametrize("many", [True, False])
def test_a_regression_that_validates_nothing_is_completed(many: bool, command: Command, tmp_path: Path) -> None:
    words = [*SMALL, "data=sine", "loss=mse", "data.val_size=0", "monitor=train_loss", "diagnostics=[]"]
    where = [f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}"]
    assert command(*(["-m", "seed=0,1"] if many else []), *words, *where) == 0
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*/result.json")]
    assert [(each["status"], each["val_loss"]) for each in found] == [("completed", None)] * (2 if many else 1)
