"""What the theory predicts for a run, from what its folder says, without calling anything that the folder names."""

import json
import math
from functools import lru_cache

from actsweep.network import activations
from actsweep.results.reading import Run

TRAINS_TO = 6  # depth scales ξ_c: how deep networks train (Schoenholz et al. 2017)


def reach(run: Run) -> float:
    """6 ξ_c, the depth to which the run's activation and initialisation should train; NaN where that isn't known."""
    init, width = run["config"].get("init") or {}, max(run["hidden_sizes"], default=1)
    variances = {
        "default": (1 / 3, 1 / (3 * width)),
        "kaiming": (2.0, 0.0),
        "lecun": (1.0, 0.0),
        "variance": (init.get("weight_variance"), init.get("bias_variance")),
    }
    if run["init"] == "critical":
        return math.inf
    weight, bias = variances.get(run["init"], (None, None))
    if weight is None or bias is None:
        return math.nan
    return TRAINS_TO * depth_scale(json.dumps(run["config"]["act"], sort_keys=True), weight, bias)


@lru_cache(maxsize=1024)
def depth_scale(act: str, weight_variance: float, bias_variance: float) -> float:
    """ξ_c of an activation, described in JSON; NaN where there is none."""
    from actsweep.theory.integrals import Function  # here: only these figures need torch
    from actsweep.theory.meanfield import MeanField, limit

    description = json.loads(act)
    try:
        activations.refuse_foreign(description)
        theory = MeanField(Function(activations.build(description)), weight_variance, bias_variance)
        return limit(theory).correlation_scale
    except ValueError:
        return math.nan
