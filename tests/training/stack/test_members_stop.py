"""A member of a stack stops, and saves its best epoch, where a lone run does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytorch_lightning as L
import torch
from pytorch_lightning.callbacks import EarlyStopping

from actsweep.training.checkpoints import BestAndLast
from actsweep.training.stack.member import Member


def member_of(folder: Path, monitor: str, mode: str, patience: int, min_delta: float = 0.0) -> Member:
    """One that needs nothing but when to stop."""
    trainer = SimpleNamespace(max_epochs=99)
    settings = SimpleNamespace(epochs_without_better=patience, min_delta=min_delta, trainer=trainer, hash=str)
    classifier = SimpleNamespace(monitor={"monitor": monitor, "mode": mode})
    return Member(cast(Any, settings), folder, cast(Any, classifier), cast(Any, None))


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_run_stops_and_saves_where_lightning_does(mode: str, patience: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(40):
        scores = (torch.randint(0, 6, (12,), generator=generator) / 10 + 1e-9 * trial).tolist()
        if trial % 4 == 0:
            scores[trial // 4] = float("nan") if trial % 8 else float("inf")
        ours, best = member_of(tmp_path, "score", mode, patience), BestAndLast(tmp_path, "score", mode)
        lightning = EarlyStopping("score", mode=mode, patience=patience)
        for score in scores:
            metrics = {"score": torch.tensor(score)}
            seen = SimpleNamespace(
                callback_metrics=metrics, is_global_zero=False, save_checkpoint=lambda *_, **__: None,
                should_stop=False, loggers=[],
            )  # fmt: skip
            before = best.best
            best.on_train_epoch_end(cast(L.Trainer, seen), cast(Any, None))
            saves, ends = ours.end_epoch({"score": score})
            assert saves == (best.best is not before)
            stops = lightning._evaluate_stopping_criteria(metrics["score"])[0]
            assert ends == stops
            if stops:
                break
