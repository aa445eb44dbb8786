"""How each function of an atlas does at an initialisation: beside ReLU, among all, and what the best is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from actsweep.report.wording import counted, fixed, interval, listed, number
from actsweep.statistics import inference, ranking
from actsweep.statistics.inference import Comparison, Estimate

Cell = dict[str, Any]  # of a table: what is read, what is sorted by, what stands below in small letters
INITS = {"default": "torch’s initialisation", "critical": "the edge of chaos"}
REFERENCE = "relu"
BETTER, WORSE, ALIKE, NOT_COMPARED = "better", "worse", "can’t be told apart", "not compared"
MOST_IMAGES, ROUNDED = 20_000, 5.1e-7
TOP = 20  # functions that letters are given to


def accuracies(cells: "pd.Series[str]") -> list[dict[int, float]]:
    """Seed → test accuracy, %, of each cell of the table; the six digits there would break ties between seeds."""
    values = [np.array(cell.split(), dtype=float) for cell in cells]
    images = images_of(np.unique(np.concatenate([*values, []])))
    exact = (np.rint(each * images) / images if images else each for each in values)
    return [dict(enumerate((100 * each).tolist())) for each in exact]


def images_of(shares: ranking.Floats) -> int:
    """The smallest number of test images that all of these rounded shares are of; 0 if there is none.

    >>> images_of(np.array([0.911111, 0.908333])), images_of(np.array([0.8837, 0.5003]))
    (360, 10000)
    """
    left = np.arange(1, MOST_IMAGES + 1)
    for share in shares:
        left = left[np.abs(left * share - np.rint(left * share)) <= ROUNDED * left]
    return int(left[0]) if len(left) else 0


@dataclass(frozen=True)
class Standings:
    """The functions measured at one initialisation. Ranks and letters are of different ones: equals have one."""

    init: str
    values: dict[str, dict[int, float]]  # function → seed → test accuracy, %
    same_as: dict[str, str]  # function → the one that it equals

    @classmethod
    def of(cls, table: pd.DataFrame, init: str) -> "Standings":
        rows = table[(table["init"] == init) & table["accuracies"].notna()]
        values = dict(zip(rows["act"], accuracies(rows["accuracies"]), strict=True))
        same = rows[rows["same_as"].isin([*values])]
        return cls(init, values, dict(zip(same["act"], same["same_as"], strict=True)))

    @cached_property
    def different(self) -> list[str]:
        """The functions that equal no earlier one, best first."""
        acts = [act for act in self.values if act not in self.same_as]
        return sorted(acts, key=lambda act: -self.accuracy[act].value)

    @cached_property
    def accuracy(self) -> dict[str, Estimate]:
        return {act: inference.mean(list(values.values())).within(0, 100) for act, values in self.values.items()}

    @cached_property
    def compared(self) -> dict[str, Comparison]:
        """Each with ReLU; none if that was not measured."""
        others = {act: values for act, values in self.values.items() if act != REFERENCE}
        return ranking.against(self.values[REFERENCE], others) if REFERENCE in self.values else {}

    @cached_property
    def rates(self) -> dict[str, float]:
        """Benjamini & Hochberg's adjusted p-values of those comparisons."""
        found = ranking.discovery_rates([pair.p_value for pair in self.compared.values()])
        return dict(zip(self.compared, found, strict=True))

    @cached_property
    def _array(self) -> ranking.Floats:
        return np.array([list(self.values[act].values()) for act in self.different])

    @cached_property
    def ranks(self) -> dict[str, Estimate]:
        return dict(zip(self.different, ranking.ranks(self._array), strict=True))

    @cached_property
    def letters(self) -> dict[str, str]:
        return ranking.letters(self.different[:TOP], self.values)

    def verdict(self, act: str) -> str:
        """Beside ReLU, with 5 % false discoveries."""
        if act not in self.rates:
            return NOT_COMPARED
        if self.rates[act] > ranking.LEVEL:
            return ALIKE
        return BETTER if self.compared[act].difference.value > 0 else WORSE

    def verdicts(self, acts: Sequence[str]) -> str:
        """How many of these are better than ReLU, worse, or neither, and how that was tested."""
        relu, found = self.accuracy[REFERENCE], [self.verdict(act) for act in acts]
        return (
            f"Beside ReLU’s {percent(relu)}, {found.count(BETTER)} are better, {found.count(WORSE)} worse, "
            f"{found.count(ALIKE)} can’t be told apart from it: paired permutation tests over {relu.n} seeds, "
            "5 % false discoveries (Benjamini & Hochberg)."
        )

    def sentences(self) -> list[str]:
        """What the page says first."""
        if not self.different:
            return []
        said = [f"{counted(len(self.different), 'different function')} at {INITS[self.init]}."]
        if REFERENCE in self.values:
            said[0] += f" {self.verdicts(self.different)}"
        if min(self._array.shape) > 1:
            said.append(self._best())
        if self.same_as:
            said.append(self._doubles())
        return said

    def _best(self) -> str:
        best, (chosen, fresh) = self.different[0], ranking.best_on_fresh_seeds(self._array)
        curse = fixed(chosen.value - fresh.value)
        alike = [act for act in self.different[1:TOP] if set(self.letters[act]) & set(self.letters[best])]
        return (
            f"{best} has the highest mean, {percent(chosen)}; of the next {len(self.letters) - 1}, {len(alike)} can’t "
            f"be told apart from it{f' ({listed(alike)})' if alike else ''}. Chosen on half of the seeds and measured "
            f"on the others, the best of {len(self.different):,} is worth {percent(fresh)}: winner’s curse {curse}."
        )

    def _doubles(self) -> str:
        """What functions that equal another one show of the tests: they have nothing to find."""
        pairs = [inference.compare(self.values[act], self.values[first]) for act, first in self.same_as.items()]
        found = sum(rate <= ranking.LEVEL for rate in ranking.discovery_rates([pair.p_value for pair in pairs]))
        return f"Equal to another function, under another name: {len(pairs)}; measured, {found} of them differ from it."


def percent(found: Estimate) -> str:
    return f"{fixed(found.value)} % {interval(found)}".rstrip()


def cell(text: str, sort: float | str | None, below: str = "") -> Cell:
    if isinstance(sort, float) and not math.isfinite(sort):
        sort = None if math.isnan(sort) else "Infinity" if sort > 0 else "-Infinity"  # as scripts read it
    return {"text": text, "sort": sort, "below": below}


def accuracy(found: Standings, act: str) -> Cell:
    mean = found.accuracy[act]
    return cell(fixed(mean.value), mean.value, interval(mean))


def beside(found: Standings, act: str) -> Cell:
    """The mean difference from ReLU and its adjusted p-value; a dash for ReLU itself."""
    if (pair := found.compared.get(act)) is None:
        return cell("–", None)
    return cell(fixed(pair.difference.value), pair.difference.value, f"q = {number(found.rates[act], 2)}")


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of one protocol, of that which most measured ones have: accuracies of others say nothing beside them."""
    protocols = table.loc[table["accuracies"].notna(), "protocol"].mode()
    return table[table["protocol"] == protocols[0]] if len(protocols) else table


def standings_of(table: pd.DataFrame) -> Sequence[Standings]:
    return [found for init in INITS if (found := Standings.of(table, init)).values]
