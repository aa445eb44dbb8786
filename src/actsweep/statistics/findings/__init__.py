"""What is wrong in a sweep's settings, how that is known, and what to do: `find`. Rules on tables, no training.

Flow: results → setting → **findings** → report. A rule is a pure function of what a setting's runs recorded; it says
nothing where that is not enough, and its threshold stands beside it with a reason.
"""

import math
import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from actsweep.results.reading import Run
from actsweep.statistics.findings import progress, signal, spread, steps, units
from actsweep.statistics.findings.finding import BREAKS, HARMS, KINDS, NOTE, Fact, Finding, Where
from actsweep.statistics.findings.seen import Seen, Tables, tables_of
from actsweep.statistics.setting import Setting

__all__ = ["BREAKS", "HARMS", "KINDS", "NOTE", "Fact", "Finding", "Tables", "Where", "find", "tables_of"]
RULES: tuple[Callable[[Seen], list[Finding]], ...] = (
    signal.of_scale, steps.diverged, steps.too_large, steps.too_small,
    units.born_dead, units.dying, units.saturated, units.collapsed, units.always_linear, units.stands_still,
    progress.stopped_on_plateau, progress.not_finished, progress.overfitting,
    spread.unstable, spread.theory_deviates,
)  # fmt: skip
INDEPENDENT = {"theory_deviates", "too_few_seeds"}  # of everything else
SCALE = {"exploding_signal", "exploding_gradient", "vanishing_signal", "vanishing_gradient"}
Looked = TypeVar("Looked")
HUNDREDFOLD, DECAYED = 100.0, "optim.weight_decay=0"


def find(settings: Sequence[Setting], read: Callable[[Run], Tables] = tables_of) -> tuple[Finding, ...]:
    """All findings of these settings, worst first: by severity, causes before what follows from them.

    `read`: a run's tables, by default from its folder; who has read them already gives them.
    """
    watched = [setting for setting in settings if setting.observed]
    found = [finding for each in watched for finding in _of_setting(Seen.of(each, read))]
    found += _said_by(spread.too_few_seeds, watched)
    found = [replace(each, explanation=in_words(each.explanation), evidence=_known(each.evidence)) for each in found]
    return tuple(sorted(found, key=lambda each: (-each.severity, bool(each.follows))))


def _said_by(rule: Callable[[Looked], list[Finding]], looked: Looked) -> list[Finding]:
    """What a rule finds. Its defect is told, with its traceback, and must not cost the report."""
    try:
        return rule(looked)
    except Exception as error:
        said = f"rule {rule.__name__}: {type(error).__name__}: {error}; the report is without it"
        warnings.warn(f"{said}\n{traceback.format_exc()}", RuntimeWarning, stacklevel=2)
        return []


def _known(evidence: Sequence[Fact]) -> tuple[Fact, ...]:
    """The fact that decided, and the others whose value is a number."""
    return (*evidence[:1], *(each for each in evidence[1:] if not math.isnan(each.value)))


def in_words(text: str) -> str:
    """Numbers and layers as the report writes them.

    >>> in_words("43% of the units of layer_02 are dead")
    '43 % of the units of layer 2 are dead'
    """
    return re.sub(r"\blayer_0*(\d)", r"layer \1", re.sub(r"(?<=\d)%", " %", text))


def _of_setting(watched: Seen) -> list[Finding]:
    """A setting's findings, the cause first, as grave as all that follows from it."""
    found = sorted((finding for rule in RULES for finding in _said_by(rule, watched)), key=_rank)
    if not (dependent := [each for each in found if each.kind not in INDEPENDENT]):
        return found
    cause = _cause(dependent)
    grave = replace(cause, severity=max(each.severity for each in dependent))
    following = [replace(each, follows=cause.kind) for each in dependent if each is not cause]
    return [grave, *following, *(each for each in found if each.kind in INDEPENDENT)]


def _rank(finding: Finding) -> float:
    """The place among KINDS. Where few runs diverged, what is wrong with the others comes first; what units do before
    training doesn't come from it."""
    place = list(KINDS).index
    if finding.kind == "diverged" and (finding.where.share or 0) <= 0.5:
        return place("step_too_small")
    born = finding.where.epoch == 0 and finding.kind in {"saturated", "collapsed", "always_linear"}
    return place("dying") - 0.5 if born else place(finding.kind)


def _cause(found: Sequence[Finding]) -> Finding:
    """The first by rank; but an initialisation that is made for other activations causes what vanishes or explodes, a
    step size that is further too small than a signal has vanished is the cause of the two, and where saturated units
    let gradients grow by less than a hundred, they are what is wrong. Weights that decay take units with them; where
    theory knows that the signal vanishes, units are silent for want of it."""
    by_kind = {each.kind: each for each in found}
    first, misfit, slow = found[0], by_kind.get("init_misfit"), by_kind.get("step_too_small")
    if slow and first.kind.startswith("vanishing") and _off(slow) > _off(first):
        return slow
    signal_lost = by_kind.get("vanishing_signal")
    if first.kind == "born_dead" and signal_lost and signal_lost.evidence[0].theory < signal_lost.evidence[0].threshold:
        return signal_lost
    if first.kind == "dying" and DECAYED in by_kind.get("collapsed", first).remedy:
        return by_kind["collapsed"]
    if first.kind == "exploding_gradient" and "saturated" in by_kind and first.evidence[0].value < HUNDREDFOLD:
        return by_kind["saturated"]
    return misfit if misfit and by_kind.keys() & SCALE else first


def _off(finding: Finding) -> float:
    """By which factor what decided is below its threshold."""
    first = finding.evidence[0]
    return first.threshold / first.value if first.value else math.inf
