"""What the theory predicts for a run, from what its folder says, without calling anything that the folder names."""

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from actsweep.network import activations
from actsweep.places import REPOSITORY
from actsweep.results.reading import Run

if TYPE_CHECKING:
    from actsweep.theory.integrals import Function

DRAWN = ("weight", "bias")
TRAINS_TO = 6  # depth scales, ξ_c mostly: how deep networks train (Schoenholz et al. 2017)


def _is_as_named(run: Run) -> bool:
    """Whether weights and biases are drawn as conf/init says by that name, and no normalisation undoes it."""
    init = run["config"].get("init") or {}
    numbers = {key: value for key, value in init.items() if key not in DRAWN}
    named = OmegaConf.merge(OmegaConf.load(REPOSITORY / "conf" / "init" / f"{run['init']}.yaml"), numbers)
    said = OmegaConf.create({"init": named, "act": run["config"]["act"]}).init
    return run["norm"] == "none" and all(init.get(part, said[part]) == said[part] for part in DRAWN)


def variances(run: Run) -> tuple[float, float] | None:
    """(σ_w², σ_b²) of the run's initialisation; None where its name and numbers don't say them.

    Nor with normalisation, of which the theory says nothing.
    """
    init, width = run["config"].get("init") or {}, max(run["hidden_sizes"], default=1)
    known = {
        "default": (1 / 3, 1 / (3 * width)),
        "kaiming": (2.0, 0.0),
        "lecun": (1.0, 0.0),
        "variance": (init.get("weight_variance"), init.get("bias_variance")),
    }
    weight, bias = known.get(run["init"], (None, None))
    return None if weight is None or bias is None or not _is_as_named(run) else (weight, bias)


def reach(run: Run) -> float:
    """6 depth scales, to which the run's activation and initialisation should train; NaN where that isn't known."""
    if run["init"] == "critical":
        return math.inf if _is_as_named(run) else math.nan
    found = variances(run)
    return TRAINS_TO * depth_scale(_act(run), *found) if found else math.nan


def log_variance(run: Run) -> float:
    """Of ln ‖∂L/∂z‖² at the first layer relative to the output layer's, over untrained networks like the run's."""
    found = variances(run)
    return gradient_spread(_act(run), *found, tuple(run["hidden_sizes"])) if found else math.nan


def _act(run: Run) -> str:
    return json.dumps(run["config"]["act"], sort_keys=True)


@lru_cache(maxsize=1024)
def depth_scale(act: str, weight_variance: float, bias_variance: float) -> float:
    """The depth scale of an activation, described in JSON; NaN where there is none."""
    from actsweep.theory.meanfield import MeanField, limit  # here: only these figures need torch

    try:
        return limit(MeanField(_function(act), weight_variance, bias_variance)).depth_scale
    except ValueError:
        return math.nan


@lru_cache(maxsize=1024)
def gradient_spread(act: str, weight_variance: float, bias_variance: float, widths: tuple[int, ...]) -> float:
    """The variance in `log_variance`; NaN where there is none."""
    from actsweep.theory.meanfield import layers

    steps = len(widths) + 1
    try:
        found = layers(_function(act), 1.0, [weight_variance] * steps, [bias_variance] * steps, [*widths, widths[-1]])
    except ValueError:
        return math.nan
    return float(found.log_variances[0])


def _function(act: str) -> "Function":
    """Raises UserError for what the run's folder must not name, and for what is no function of one number."""
    from actsweep.theory.integrals import Function

    description = json.loads(act)
    activations.refuse_foreign(description)
    return Function(activations.build_alike(description))
