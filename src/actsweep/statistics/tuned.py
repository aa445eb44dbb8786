"""What an earlier sweep found best, as a value of a later one: `optim.lr: ${tuned_lr:outputs/fair,relu,default}`.

Flow: results → **config** of the second part of a study, so that seeds that chose a value don't judge it.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from actsweep.errors import UserError
from actsweep.places import command
from actsweep.results import run_folder
from actsweep.results.reading import Run, read_runs, texts
from actsweep.statistics.setting import is_in

FREE = {  # what the two parts of a study need not have in common
    *("seed", "optim.lr", "names", "figures", "report", "diagnostics", "threads"),
    *("data.source.root", "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar"),
}


def learning_rate(folder: str, act: str, init: str, asked: DictConfig | None = None) -> float:
    """The learning rate with the highest mean validation score, the smaller of equals.

    Of the folder's runs of this activation and initialisation, those that differ from the configuration that asks in
    the learning rate and the seed alone; each seed once. A run that diverged counts as chance (of regressions, as
    infinite loss), one that failed not at all. Raises UserError where the folder, seen from where the
    command was typed, has none.
    """
    place = Path(HydraConfig.get().runtime.cwd if HydraConfig.initialized() else "", folder)
    versions = tuple(sorted(path.stat().st_mtime_ns for path in place.glob(f"*/{run_folder.RESULT}")))
    wanted = None if asked is None else _asked(asked, act, init)
    scores: dict[float, dict[Any, float]] = {}
    nearest: list[str] = []
    for run in _read(place, versions):
        if (run.get("act"), run.get("init")) != (act, init) or run["status"] == "failed":
            continue
        if wanted is not None and (keys := _differing(run, wanted)):
            nearest = min(nearest or keys, keys, key=len)
        else:
            scores.setdefault(run["config"]["optim"]["lr"], {}).setdefault(run.get("seed", run["folder"]), _score(run))
    if not scores:
        why = f" that differs in optim.lr and seed alone (the nearest also in {', '.join(nearest)})" if nearest else ""
        first = f"run `{command('train', '+sweeps=fair')}` first"
        raise UserError(f"{folder} has no run of act={act} init={init}{why}: {first}")
    return max(sorted(scores), key=lambda lr: fmean(scores[lr].values()))


@lru_cache(maxsize=8)
def _read(folder: Path, versions: tuple[int, ...]) -> list[Run]:
    return read_runs([folder])


def _asked(asked: DictConfig, act: str, init: str) -> dict[str, str] | None:
    """What runs must have in common with the configuration that asks; None where that is not valid anyway.

    Not its activation or initialisation where another one's learning rate is asked for.
    """
    from actsweep.config import schema  # here: whoever asks has loaded it

    other = {part for part, name in (("act", act), ("init", init)) if asked.names[part] != name}
    plain = {
        str(key): OmegaConf.to_container(asked[key], resolve=True) if OmegaConf.is_config(asked[key]) else asked[key]
        for key in asked
        if key not in {"hydra", "optim", "content"}
    }
    optim = {str(key): asked.optim[key] for key in asked.optim if key != "lr"} | {"lr": 1.0}  # lr is what is asked for
    try:
        settings = schema.Settings.model_validate(plain | {"optim": optim, "content": str(asked.content)})
    except (ValidationError, OmegaConfBaseException):
        return None  # as config.read will say
    found = texts(json.loads(json.dumps(settings.plain(), default=str)))
    return {key: value for key, value in found.items() if not is_in(FREE | other, key)}


def _differing(run: Run, wanted: Mapping[str, str]) -> list[str]:
    parts = {key.partition(".")[0] for key in wanted}
    own = {key: value for key, value in texts(run["config"]).items() if is_in(parts, key) and not is_in(FREE, key)}
    return sorted(key for key in own.keys() | wanted.keys() if own.get(key) != wanted.get(key))


def _score(run: Run) -> float:
    """Higher is better: validation accuracy, or minus the loss of a regression."""
    is_regression = run["config"].get("loss") == "mse"
    if run["status"] == "diverged":
        return -math.inf if is_regression else 1 / (run.get("classes") or math.inf)
    score = run["val_loss" if is_regression else "val_accuracy"]
    if score is None:
        why = "validated nothing, so its learning rate can't be judged"
        raise UserError(f"{run['folder']} {why}; give data.val_size=N")
    return -float(score) if is_regression else float(score)
