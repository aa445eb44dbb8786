"""What a finding is: something that is wrong in a setting, how that is known, why, and what to do about it."""

import math
from dataclasses import dataclass

KINDS = {  # kind → its name for people; what may be a cause stands before what may follow from it
    "exploding_signal": "exploding signal",
    "exploding_gradient": "exploding gradient",
    "born_dead": "units born dead",
    "diverged": "diverged",
    "vanishing_signal": "vanishing signal",
    "vanishing_gradient": "vanishing gradient",
    "dying": "dying units",
    "step_too_large": "step size too large",
    "step_too_small": "step size too small",
    "saturated": "saturated units",
    "collapsed": "collapsed units",
    "always_linear": "always-linear units",
    "unstable": "unstable over seeds",
    "init_misfit": "initialisation doesn’t fit the activation",
    "layer_stands_still": "a layer that doesn’t learn",
    "overfitting": "overfitting",
    "stopped_on_plateau": "stopped on a plateau",
    "not_finished": "not finished",
    "theory_deviates": "theory and measurement deviate",
    "too_few_seeds": "too few seeds",
}
BREAKS, HARMS, NOTE = 3, 2, 1  # severities: most runs learn nothing · they learn less or later · worth knowing


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
    enough for one; what theory says instead, and the rule's threshold."""

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
    """`evidence` begins with the fact that decided. `remedy`: overrides to put in place of what the command has, all
    together. `source`: of the rule. `follows`: the kind of the same setting's finding that explains this one."""

    kind: str  # of KINDS
    severity: int  # BREAKS, HARMS or NOTE
    where: Where
    evidence: tuple[Fact, ...]
    explanation: str  # a sentence or three, with the numbers
    remedy: tuple[str, ...] = ()
    source: str = ""
    follows: str = ""

    @property
    def title(self) -> str:
        return KINDS[self.kind]
