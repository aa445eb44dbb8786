"""A step is Lightning's: a user's callback hears each hook once a batch, in Lightning's order."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as L

from actsweep import one_run
from actsweep.config.schema import Settings
from tests.conftest import SMALL

STEP = [
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end"),
]


class Hears(L.Callback):
    """Notes every hook of a step, and the number of optimiser steps then."""

    heard: ClassVar[list[tuple[str, int]]] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in STEP:
            return super().__getattribute__(name)
        return lambda trainer, *_: Hears.heard.append((name, trainer.global_step))


def heard(settings: Settings, folder: Path) -> list[tuple[str, int]]:
    Hears.heard.clear()
    one_run.train(settings, folder)
    return Hears.heard


def test_a_callback_hears_each_hook_once_a_batch_in_lightnings_order(
    settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    mine = f"+diagnostics.mine._target_={__name__}.Hears"
    found = heard(settings_for(*SMALL, "data.batch_size=600", "diagnostics=[]", mine), tmp_path)
    assert [hook for hook, _ in found] == STEP * 2 * 2
    assert [steps for hook, steps in found if hook == "on_train_batch_end"] == [1, 2, 3, 4]
    assert {steps for hook, steps in found[: len(STEP) - 1]} == {0}


def test_an_epoch_of_the_default_run_is_195_batches(settings_for: Callable[..., Settings], tmp_path: Path) -> None:
    mine = f"+diagnostics.mine._target_={__name__}.Hears"
    small = ["trainer=cpu", "depth=0", "trainer.enable_progress_bar=false", "trainer.max_epochs=1"]
    found = Counter(hook for hook, _ in heard(settings_for(*small, "diagnostics=[]", mine), tmp_path))
    assert found == dict.fromkeys(STEP, 195)
