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
    by_epochs = [[f"+trainer.check_val_every_n_epoch={epochs}"] for epochs in (2, 3)]
    by_steps = [["+trainer.check_val_every_n_epoch=null", f"+trainer.val_check_interval={steps}"] for steps in (36, 37)]
    said = {
        "trainer.check_val_every_n_epoch=3 trainer.max_epochs=2: nothing is validated": by_epochs,
        "trainer.val_check_interval=37 trainer.max_epochs=2, 36 batches: nothing is validated": by_steps,
    }
    for fault, ways in said.items():
        late_enough, too_late = [check.Asked(settings_for(*SMALL, *way), "run", Path()) for way in ways]
        check.of_search([late_enough])
        with pytest.raises(UserError, match=f"^{re.escape(fault)}"):
            check.of_search([late_enough, too_late])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["seed=range(1e9)"], "seed=range(1e9): has 1e+09 values; a sweep has at most 100,000 runs"),
        (["seed=shuffle(range(100001))"], "seed=shuffle(range(100001)): has 100001 values; a sweep"),
        (["seed=range(1000)", "depth=range(1,102)"], "the sweep would have 101,000 runs: must be at most 100,000"),
    ],
)
def test_a_sweep_of_more_runs_than_can_be_composed_is_refused_before_they_are_counted_out(
    given: list[str], said: str
) -> None:
    hydra = {"runtime": {"choices": {"hydra/sweeper": "grid"}}, "sweeper": {}, "overrides": {"task": given}}
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        search.grid(OmegaConf.create({"hydra": hydra}), None)  # type: ignore[arg-type]
