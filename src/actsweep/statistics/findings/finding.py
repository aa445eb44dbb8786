"""What a finding is: something that is wrong in a setting, how that is known, why, and what to do about it."""

import math
from dataclasses import dataclass, field

KINDS = {  # kind → its name for people; causes before what follows from them
    "diverged": "diverged",
    "step_too_large": "step size too large",
    "exploding_signal": "exploding signal",
    "exploding_gradient": "exploding gradient",
    "born_dead": "units born dead",
    "vanishing_signal": "vanishing signal",
    "vanishing_gradient": "vanishing gradient",
    "step_too_small": "step size too small",
    "init_misfit": "initialisation doesn’t fit the activation",
    "dying": "dying units",
    "saturated": "saturated units",
    "collapsed": "collapsed units",
    "always_linear": "always-linear units",
    "layer_stands_still": "a layer that doesn’t learn",
    "stopped_on_plateau": "stopped on a plateau",
    "not_finished": "not finished",
    "overfitting": "overfitting",
    "unstable": "unstable over seeds",
    "theory_deviates": "theory and measurement deviate",
    "too_few_seeds": "too few seeds",
}
BREAKS, HARMS, NOTE = 3, 2, 1  # severities: the network did not learn · learns worse or later · worth knowing


@dataclass(frozen=True)
class Where:
    """In which setting (its label), and where there: a layer's name, an epoch, an optimiser step, a share of units."""

    setting: str
    layer: str | None = None
    epoch: int | None = None  # completed epochs; 0: untrained
    step: int | None = None
    share: float | None = None  # of the layer's units, or of the runs


@dataclass(frozen=True)
class Fact:
    """A number: what it is, its unit ("1": a ratio or fraction), over how many runs, with a 95 % interval where n is
    enough, and what theory or the rule's threshold has instead."""

    name: str
    value: float
    unit: str = "1"
    n: int = 1
    low: float = math.nan
    high: float = math.nan
    theory: float = math.nan
    threshold: float = math.nan


@dataclass(frozen=True)
class Finding:
    """`evidence` begins with the fact that decided. `remedy`: overrides to add to the command, first what is likeliest
    to help. `source`: of the rule and its threshold. `follows`: the kind of the same setting's finding that explains
    this one; empty for a cause."""

    kind: str  # of KINDS
    severity: int  # BREAKS, HARMS or NOTE
    where: Where
    evidence: tuple[Fact, ...]
    explanation: str  # a sentence or two, with the numbers
    remedy: tuple[str, ...] = ()
    source: str = ""
    follows: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        return KINDS[self.kind]
