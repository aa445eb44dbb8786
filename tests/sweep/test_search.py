"""A search for the worst is refused, however a sweeper says it; optuna's own way is tried in test_executors.py."""

import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from actsweep.errors import UserError
from actsweep.sweep import search


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
