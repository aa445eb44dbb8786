"""Every argument of Lightning's Trainer means what Lightning says, or is refused by name before any work."""

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import Timer
from torch import Tensor

from actsweep import one_run
from actsweep.config.schema import Settings
from actsweep.data.datamodule import DataModule
from actsweep.results import run_folder
from actsweep.training.trainer_arguments import REFUSED
from tests.conftest import SMALL, weights_of
from tests.training.test_resume import assert_same_run

Make = Callable[..., Settings]
Command = Callable[..., int]
DIGITS = [*SMALL, "diagnostics=[]"]  # 18 batches an epoch, 2 epochs; validation and test have a batch each
FASHION = [*DIGITS, "data=fashion_mnist", "depth=0", "trainer.max_epochs=1"]  # validation and test have 5 each
STOPS = ["patience=1", "optim.lr=1e-9", "trainer.max_epochs=6"]  # nothing improves: after 2 epochs


class Sees(L.Callback):
    """Notes what a run does."""

    found: ClassVar[Counter[str]] = Counter()
    facts: ClassVar[dict[str, Any]] = {}
    labels: ClassVar[list[Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
        self.timer = timers[0] if timers else None
        Sees.facts = {
            "callbacks": {type(callback).__name__ for callback in trainer.callbacks},  # type: ignore[attr-defined]
            "device": trainer.strategy.root_device.type,
            "devices": trainer.num_devices,
            "strategy": type(trainer.strategy).__name__,
            "log_every_n_steps": trainer.log_every_n_steps,
            "profiler": type(trainer.profiler).__name__,  # type: ignore[attr-defined]
            "dtype": next(pl_module.parameters()).dtype,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "benchmark": torch.backends.cudnn.benchmark,
        }

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        Sees.labels.append(batch[1])
        Sees.facts["anomaly"] = torch.is_anomaly_enabled()
        if self.timer and batch_idx == 4:
            self.timer.load_state_dict({"time_elapsed": {"train": 86_400}})

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        Sees.found["batches"] += 1
        Sees.found["steps"] = trainer.global_step
        gradients = torch.cat([each.grad.flatten() for each in pl_module.parameters() if each.grad is not None])
        Sees.facts |= {"norm": round(float(gradients.norm()), 6), "largest": round(float(gradients.abs().max()), 6)}

    def on_train_epoch_end(self, *_: Any) -> None:
        Sees.found["epochs"] += 1

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        Sees.found["sanity batches" if trainer.sanity_checking else "validation batches"] += 1
        Sees.facts["inference"] = torch.is_inference_mode_enabled()

    def on_test_batch_end(self, *_: Any) -> None:
        Sees.found["test batches"] += 1


@pytest.fixture(autouse=True)
def _torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Sees.found.clear()
    Sees.labels.clear()
    train_dataloader, log_hyperparams = DataModule.train_dataloader, one_run.TensorBoard.log_hyperparams

    def counted(self: DataModule) -> Any:
        Sees.found["loaders"] += 1
        return train_dataloader(self)

    def logged(self: Any, *arguments: Any, **named: Any) -> None:
        Sees.found["hyper-parameters"] += 1
        log_hyperparams(self, *arguments, **named)

    monkeypatch.setattr(DataModule, "train_dataloader", counted)
    monkeypatch.setattr(one_run.TensorBoard, "log_hyperparams", logged)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


def seen(settings: Settings, folder: Path) -> dict[str, Any]:
    Sees.found.clear()
    Sees.labels.clear()
    result = one_run.train(settings, folder)
    return Sees.facts | dict(Sees.found) | {key: result[key] for key in ("status", "best_epoch")}


ME = f"+diagnostics.sees._target_={__name__}.Sees"
HONOURED: dict[str, list[tuple[list[str], dict[str, Any]]]] = {
    "accelerator": [(["trainer.accelerator=cpu"], {"device": "cpu"})],
    "strategy": [(["+trainer.strategy=auto"], {"strategy": "SingleDeviceStrategy"})],
    "devices": [(["trainer.devices=1"], {"devices": 1})],  # 2: tests/training/test_several_devices.py
    "precision": [(["trainer.precision=64-true"], {"dtype": torch.float64})],
    "max_epochs": [(["trainer.max_epochs=3"], {"epochs": 3, "steps": 54})],
    "min_epochs": [
        ([*STOPS, "+trainer.min_epochs=null"], {"epochs": 2}),
        ([*STOPS, "+trainer.min_epochs=4"], {"epochs": 4}),
    ],
    "min_steps": [([*STOPS, "+trainer.min_steps=60"], {"steps": 60})],
    "max_time": [
        (['+trainer.max_time="01:00:00:00"'], {"steps": 5, "epochs": 1, "best_epoch": 1}),  # as Sees has it
        (["+trainer.max_time={days:1}"], {"steps": 5}),
    ],
    "limit_train_batches": [
        (["+trainer.limit_train_batches=5"], {"steps": 10, "batches": 10, "validation batches": 2}),
        (["+trainer.limit_train_batches=0.5"], {"steps": 18}),
        (["+trainer.limit_train_batches=1.0"], {"steps": 36}),
    ],
    "limit_val_batches": [
        ([*FASHION, "+trainer.limit_val_batches=2", "+trainer.limit_train_batches=1"], {"validation batches": 2}),
        ([*FASHION, "+trainer.limit_val_batches=0.6", "+trainer.limit_train_batches=1"], {"validation batches": 3}),
        (["+trainer.limit_val_batches=0"], {"validation batches": 0, "steps": 36, "best_epoch": 2}),
        (["+trainer.limit_val_batches=0.0"], {"validation batches": 0, "test batches": 1}),
    ],
    "limit_test_batches": [
        ([*FASHION, "+trainer.limit_test_batches=4", "+trainer.limit_train_batches=1"], {"test batches": 4}),
    ],
    "overfit_batches": [
        (["+trainer.overfit_batches=2"], {"steps": 4}),
        ([*FASHION, "+trainer.overfit_batches=0.6"], {"steps": 117, "validation batches": 3, "test batches": 5}),
    ],
    "val_check_interval": [
        (["+trainer.val_check_interval=0.5"], {"validation batches": 4, "steps": 36}),
        (["+trainer.val_check_interval=6"], {"validation batches": 6}),
        (["+trainer.val_check_interval=24", "+trainer.check_val_every_n_epoch=null"], {"validation batches": 1}),
    ],
    "check_val_every_n_epoch": [
        (["+trainer.check_val_every_n_epoch=2"], {"validation batches": 1, "steps": 36, "best_epoch": 2}),
        (["+trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"], {"validation batches": 1, "epochs": 3}),
    ],
    "num_sanity_val_steps": [
        ([], {"sanity batches": 0}),
        (["+trainer.num_sanity_val_steps=-1"], {"sanity batches": 1, "validation batches": 2}),
    ],
    "log_every_n_steps": [(["+trainer.log_every_n_steps=7"], {"log_every_n_steps": 7})],
    "accumulate_grad_batches": [(["+trainer.accumulate_grad_batches=4"], {"batches": 36, "steps": 10})],
    "gradient_clip_val": [(["trainer.gradient_clip_val=0.01"], {"norm": 0.01})],
    "gradient_clip_algorithm": [
        (["trainer.gradient_clip_val=0.001", "trainer.gradient_clip_algorithm=value"], {"largest": 0.001})
    ],
    "deterministic": [(["+trainer.deterministic=true"], {"deterministic": True}), ([], {"deterministic": False})],
    "benchmark": [(["+trainer.benchmark=true"], {"benchmark": True})],
    "inference_mode": [(["+trainer.inference_mode=false"], {"inference": False})],
    "profiler": [(["+trainer.profiler=simple"], {"profiler": "SimpleProfiler"})],
    "detect_anomaly": [(["+trainer.detect_anomaly=true"], {"anomaly": True}), ([], {"anomaly": False})],
    "reload_dataloaders_every_n_epochs": [
        ([], {"loaders": 1}),
        (["+trainer.reload_dataloaders_every_n_epochs=1"], {"loaders": 2}),
    ],
    "enable_autolog_hparams": [
        (["trainer.max_epochs=1"], {"hyper-parameters": 2}),  # of training, and of the test
        (["trainer.max_epochs=1", "+trainer.enable_autolog_hparams=false"], {"hyper-parameters": 0}),
    ],
}
SHOWN = {"enable_progress_bar": "ProgressBar", "enable_model_summary": "ModelSummary"}  # each adds a callback


def test_this_table_has_every_argument_that_lightning_has() -> None:
    assert set(inspect.signature(L.Trainer).parameters) == {*HONOURED, *SHOWN, *REFUSED}
    assert len(HONOURED) + len(SHOWN) + len(REFUSED) == len({*HONOURED, *SHOWN, *REFUSED})


@pytest.mark.parametrize(
    ("words", "expected"), [pytest.param(*case, id=name) for name, cases in HONOURED.items() for case in cases]
)
def test_it_does_what_lightning_says(
    words: list[str], expected: dict[str, Any], settings_for: Make, tmp_path: Path
) -> None:
    found = seen(settings_for(*DIGITS, *words, ME), tmp_path)
    assert {key: found.get(key, 0) for key in expected} == expected
    assert found["status"] == "completed"


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_a_matter_of_choice(name: str, settings_for: Make, tmp_path: Path) -> None:
    for choice in (True, False):
        settings = settings_for(*DIGITS, "trainer.max_epochs=1", f"++trainer.{name}={str(choice).lower()}", ME)
        callbacks = seen(settings, tmp_path / str(choice))["callbacks"]
        assert any(callback.endswith(SHOWN[name]) for callback in callbacks) == choice


REFUSALS = [
    *("barebones=true", "callbacks=[{_target_:pytorch_lightning.callbacks.Timer}]", "default_root_dir=here"),
    *("enable_checkpointing=false", "fast_dev_run=true", "fast_dev_run=3", "limit_predict_batches=3", "logger=false"),
    *("max_steps=5", "model_registry=mine", "num_nodes=2", "plugins=[a]", "sync_batchnorm=true"),
    *("use_distributed_sampler=true", "strategy=fsdp", "limit_train_batches=0", "limit_train_batches=0.0"),
    *("limit_train_batches=-1", "limit_test_batches=0", "limit_test_batches=0.5", "limit_val_batches=0.5"),
    *("overfit_batches=0.01", "accumulate_grad_batches=0", "check_val_every_n_epoch=0", "min_epochs=often"),
    *("min_steps=-1", 'max_time="soon"', 'max_time="00:00:00:00"', "val_check_interval=19", "val_check_interval=0"),
    *("val_check_interval=1.5", "profiler=none", "precision=17", "num_sanity_val_steps=-2", "log_every_n_steps=-1"),
    *("no_such_argument=1", "precision=16-mixed", "precision=16"),  # on a CPU Lightning would take bf16-mixed
]


@pytest.mark.parametrize("refused", REFUSALS)
def test_what_it_cannot_do_is_refused_by_name_before_any_work(
    refused: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, word = refused.partition("=")[0], f"++trainer.{refused}"
    for mode in (["-m", f"hydra.sweep.dir={tmp_path}"], [f"hydra.run.dir={tmp_path}"]):
        assert command(*mode, *DIGITS, word) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: trainer")
        assert name in line
    assert not list(tmp_path.rglob("*.csv"))
    assert not list(tmp_path.rglob(run_folder.RESULT))


def test_refusals_are_tried_for_every_argument_that_is_refused() -> None:
    assert set(REFUSED) <= {refused.partition("=")[0] for refused in REFUSALS}


def test_what_lightning_finds_in_the_environment_changes_no_run(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "1")
    assert seen(settings_for(*DIGITS, ME), tmp_path)["batches"] == 36


def test_overfitting_shows_the_same_batches_in_every_epoch(settings_for: Make, tmp_path: Path) -> None:
    seen(settings_for(*DIGITS, "+trainer.overfit_batches=2", ME), tmp_path)
    first, second, again_first, again_second = Sees.labels
    assert torch.equal(first, again_first)
    assert torch.equal(second, again_second)
    assert not torch.equal(first, second)


def test_accumulated_batches_make_the_step_of_their_union(settings_for: Make, tmp_path: Path) -> None:
    common = [*DIGITS, "trainer.max_epochs=1", "optim.momentum=0.0", "trainer.precision=64-true", "optim.l2=5.0"]
    small = ["data.batch_size=100", "+trainer.accumulate_grad_batches=3"]
    one_run.train(settings_for(*common, *small), tmp_path / "small")
    one_run.train(settings_for(*common, "data.batch_size=300"), tmp_path / "large")
    large = weights_of(tmp_path / "large" / run_folder.LAST)
    for name, value in weights_of(tmp_path / "small" / run_folder.LAST).items():
        torch.testing.assert_close(value, large[name], rtol=1e-12, atol=1e-14)


def test_a_limited_run_is_another_run_than_a_whole_one(command: Command, tmp_path: Path) -> None:
    where = f"hydra.sweep.dir={tmp_path}"
    assert command("-m", *DIGITS, where, "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=0") == 0
    assert command("-m", *DIGITS, where) == 0
    epochs = {path.parent.name: len(path.read_text().splitlines()) - 1 for path in tmp_path.glob("*/epochs.csv")}
    hashes = [json.loads(path.read_text())["config_hash"] for path in tmp_path.glob("*/result.json")]
    assert sorted(epochs.values()) == [2, 2]
    assert len(set(hashes)) == 2


def test_an_epoch_without_validation_has_no_row_of_one_and_the_best_is_the_validated(
    settings_for: Make, tmp_path: Path
) -> None:
    settings = settings_for(*DIGITS, "+trainer.check_val_every_n_epoch=2", "trainer.max_epochs=5")
    result = one_run.train(settings, tmp_path)
    header, *rows = [line.split(",") for line in (tmp_path / run_folder.EPOCHS).read_text().splitlines()]
    place = header.index("val_accuracy")
    assert [row[0] for row in rows if row[place]] == ["2", "4"]
    assert result["best_epoch"] in {2, 4}
    assert result["epochs"] == 5


@pytest.mark.parametrize(
    "words",
    [
        ["+trainer.accumulate_grad_batches=4", "act=torch.nn.RReLU"],
        ["+trainer.check_val_every_n_epoch=2", "patience=1", "optim.lr=0.3"],
        ["+trainer.val_check_interval=0.5", "optim=adam"],
        ["+trainer.val_check_interval=24", "+trainer.check_val_every_n_epoch=null"],
        ["+trainer.limit_train_batches=0.3", "+trainer.limit_val_batches=0", "norm=batch"],
        ["+trainer.overfit_batches=1", "+trainer.num_sanity_val_steps=1"],
        ["+trainer.min_epochs=5", "patience=0", "optim.lr=1e-9"],
        ["trainer.gradient_clip_val=0.1", "+trainer.reload_dataloaders_every_n_epochs=2"],
    ],
    ids=lambda words: words[0],
)
def test_a_run_resumes_bit_for_bit_whatever_the_trainer_is_told(
    words: list[str], settings_for: Make, tmp_path: Path
) -> None:
    run = [*SMALL, "diagnostics=[gradients,updates,steps]", *words]
    for folder, epochs in (("grown", 3), ("grown", 6), ("once", 6)):
        one_run.train(settings_for(*run, f"trainer.max_epochs={epochs}"), tmp_path / folder)
    assert_same_run(tmp_path / "once", tmp_path / "grown")
