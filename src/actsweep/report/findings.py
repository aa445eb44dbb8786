"""Findings as a report tells them: one of each kind with the others like it, what follows from it, its numbers."""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from actsweep.report.wording import counted, interval, number, shortened, spoken
from actsweep.statistics.findings import BREAKS, HARMS, NOTE, Fact, Finding

SEVERITIES = {BREAKS: "does not learn", HARMS: "learns worse", NOTE: "worth knowing"}
DIGITS = 4  # of a fact's numbers


@dataclass(frozen=True)
class Entry:
    """The worst finding of a kind; those of the same kind in other settings; what follows from it in its setting."""

    first: Finding
    others: tuple[Finding, ...]
    consequences: tuple[Finding, ...]

    @property
    def remedy(self) -> str:
        """The overrides, as they are typed."""
        return shlex.join(self.first.remedy)

    def line(self, most: int = 10_000) -> str:
        """In one line, for terminals and logs; `most` characters of the explanation."""
        said = f"{self.first.where.setting}: {self.first.title}. {shortened(self.first.explanation, most)}"
        remedy = f" Try {self.remedy}." if self.remedy else ""
        others = f" The same in {counted(len(self.others), 'other setting')}." if self.others else ""
        return said + remedy + others

    @property
    def following(self) -> list[str]:
        """What follows from it, in words, but for the sentences that have been said."""
        said, found = set(_sentences(self.first.explanation)), []
        for each in self.consequences:
            sentences = _sentences(each.explanation)
            news = [sentence for sentence in sentences if sentence not in said]
            found.append(" ".join([f"From it follows: {each.title}.", *news]))
            said.update(sentences)
        return found

    @property
    def lines(self) -> list[str]:
        """All of it but the evidence, a line each."""
        return [self.line(), *(f"{each[0].lower()}{each[1:]}" for each in self.following)]


def _sentences(text: str) -> list[str]:
    """
    >>> _sentences("Of 1, 0.14 is left. 3 of 3 runs learnt nothing: early stopping. init=critical keeps both.")
    ['Of 1, 0.14 is left.', '3 of 3 runs learnt nothing: early stopping.', 'init=critical keeps both.']
    """
    return re.split(r"(?<=\.) ", text)


def entries(findings: Sequence[Finding]) -> list[Entry]:
    """Causes by kind, in the given order; what follows from another finding stands with that one."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        if not any(_follows(finding, each) for each in findings):
            by_kind.setdefault(finding.kind, []).append(finding)
    following = lambda cause: tuple(each for each in findings if _follows(each, cause))  # noqa: E731
    return [Entry(first, tuple(others), following(first)) for first, *others in by_kind.values()]


def _follows(finding: Finding, cause: Finding) -> bool:
    return finding.follows == cause.kind and finding.where.setting == cause.where.setting


def place(finding: Finding) -> str:
    """Where in its setting, in words; nothing where it is about the whole of it."""
    where = finding.where
    parts = [
        where.layer and f"layer {spoken(where.layer)}",
        ("before training" if where.epoch == 0 else f"epoch {where.epoch}") if where.epoch is not None else None,
        None if where.step is None else f"step {where.step}",
    ]
    return ", ".join(part for part in parts if part)


def fact_in_words(fact: Fact) -> str:
    """
    >>> fact_in_words(Fact("first ÷ last layer", 0.002, n=3, low=0.001, high=0.004, threshold=0.01))
    'first ÷ last layer 0.002 [0.001, 0.004], n = 3, threshold 0.01'
    """
    unit = "" if fact.unit == "1" else f" {fact.unit}"
    found = f"{number(fact.value, DIGITS)}{unit} {interval(fact, partial(number, digits=DIGITS))}".rstrip()
    beside = {"theory": fact.theory, "threshold": fact.threshold}
    said = [f"{name} {number(value, DIGITS)}" for name, value in beside.items() if not math.isnan(value)]
    return ", ".join([f"{fact.name} {found}", f"n = {fact.n}", *said])


def as_row(finding: Finding) -> dict[str, Any]:
    """The finding as report.json holds it: numbers rounded as in words, None where there is none."""
    facts = [{key: _rounded(value) for key, value in asdict(fact).items()} for fact in finding.evidence]
    return asdict(finding) | {"title": finding.title, "remedy": list(finding.remedy), "evidence": facts}


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
