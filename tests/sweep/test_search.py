"""Searches that can't find anything are refused; optuna's own ways are tried in test_executors.py."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.sweep import check, search
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("sweeper", "worst", "best", "said"),
    [
        (
            "ax",
            {"ax_config": {"experiment": {"minimize": True}}},
            {"ax_config": {"experiment": {"minimize": False}}},
            "hydra.sweeper.ax_config.experiment.minimize=True: must be False",
        ),
        (
            "nevergrad",
            {"optim": {"maximize": False}},
            {"optim": {"maximize": True}},
            "hydra.sweeper.optim.maximize=False: must be True",
        ),
        ("optuna", {"direction": "minimize"}, {"direction": "maximize"}, "hydra.sweeper.direction=minimize: must"),
    ],
)
def test_a_search_for_the_worst_is_refused_by_whichever_key_asks_for_it(
    sweeper: str, worst: dict[str, Any], best: dict[str, Any], said: str
) -> None:
    hydra = {"runtime": {"choices": {"hydra/sweeper": sweeper}}}
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        search.is_search(OmegaConf.create({"hydra": hydra | {"sweeper": worst}}))
    assert search.is_search(OmegaConf.create({"hydra": hydra | {"sweeper": best}}))


def test_a_search_whose_runs_end_before_their_first_validation_is_refused(
    settings_for: Callable[..., Settings],
) -> None:
    every = [settings_for(*SMALL, f"+trainer.check_val_every_n_epoch={epochs}") for epochs in (2, 3)]
    runs = [check.Asked(settings, "run", Path()) for settings in every]
    check.of_search(runs[:1])
    said = re.escape("trainer.check_val_every_n_epoch=3 trainer.max_epochs=2: nothing is validated")
    with pytest.raises(UserError, match=f"^{said}"):
        check.of_search(runs)
