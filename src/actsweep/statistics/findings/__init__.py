"""What is wrong in a sweep's settings, how that is known, and what to do: `find`. Rules on tables, no training.

Flow: results → setting → **findings** → report. A rule is a pure function of what a setting's runs recorded; it says
nothing where that is not enough, and its threshold stands beside it with a reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from actsweep.results.reading import Run
from actsweep.statistics.findings.finding import BREAKS as BREAKS
from actsweep.statistics.findings.finding import HARMS as HARMS
from actsweep.statistics.findings.finding import KINDS as KINDS
from actsweep.statistics.findings.finding import NOTE as NOTE
from actsweep.statistics.findings.finding import Fact as Fact
from actsweep.statistics.findings.finding import Finding as Finding
from actsweep.statistics.findings.finding import Where as Where
from actsweep.statistics.findings.plateau import not_finished
from actsweep.statistics.findings.seen import Seen, Tables, seen
from actsweep.statistics.findings.seen import tables_of as tables_of
from actsweep.statistics.setting import Setting

Rule = Callable[[Seen], list[Finding]]
RULES: tuple[Rule, ...] = (not_finished,)


def find(settings: Sequence[Setting], read: Callable[[Run], Tables] = tables_of) -> tuple[Finding, ...]:
    """All findings of these settings, worst first: by severity, causes before what follows from them.

    `read`: a run's tables, by default from its folder; who has read them already gives them.
    """
    found = [finding for setting in settings if setting.observed for finding in _of_setting(seen(setting, read))]
    order = list(KINDS)
    return tuple(sorted(found, key=lambda each: (-each.severity, bool(each.follows), order.index(each.kind))))


def _of_setting(watched: Seen) -> list[Finding]:
    found = [finding for rule in RULES for finding in rule(watched)]
    return [replace(each, follows="") for each in found]
