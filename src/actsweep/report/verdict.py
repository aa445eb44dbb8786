"""Which setting is better, by how much, and how sure that is: numbers of inference.py, and a verdict in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from actsweep.report import wording
from actsweep.report.frames import first_to_last, trained_share
from actsweep.report.tasks import Task
from actsweep.statistics import inference
from actsweep.statistics.inference import Comparison, Estimate
from actsweep.statistics.power import too_few_of
from actsweep.statistics.setting import Setting

MOST_COMPARED = 200  # settings: 19,900 pairs take six seconds
MOST_NEXT = 3


@dataclass(frozen=True)
class Found:
    """What the runs of a setting found, by seed, and its mean."""

    setting: Setting
    values: dict[int, float]
    mean: Estimate


@dataclass(frozen=True)
class Verdict:
    """The settings of a task, best first, and every pair of them; of the completed runs, or with the diverged ones."""

    task: Task
    found: tuple[Found, ...]
    pairs: Mapping[tuple[str, str], Comparison]
    with_diverged: bool

    def between(self, first: str, second: str) -> Comparison | None:
        """How much better the first is, whichever way round the pair was compared."""
        if pair := self.pairs.get((first, second)):
            return pair
        return turned(pair) if (pair := self.pairs.get((second, first))) else None


def turned(pair: Comparison) -> Comparison:
    """The same comparison, seen from the second setting."""
    difference, improvement = pair.difference, pair.improvement
    return replace(
        pair,
        difference=Estimate(-difference.value, -difference.high, -difference.low, difference.n),
        effect_size=-pair.effect_size,
        improvement=Estimate(1 - improvement.value, 1 - improvement.high, 1 - improvement.low, improvement.n),
    )


def judge(task: Task, with_diverged: bool = False) -> Verdict:
    """Estimates and comparisons. Of losses, the lower is the better: comparisons see −loss."""
    metric = task.metric
    sign = 1 if metric.higher_is_better else -1
    found = [
        Found(setting, values, inference.mean(list(values.values())).within(*metric.possible))
        for setting in task.settings
        if (values := task.outcomes(setting, with_diverged))
    ]
    found.sort(key=lambda each: (-sign * each.mean.value, len(each.setting.diverged)))
    by_label = {
        each.setting.label: {seed: sign * value for seed, value in each.values.items()}
        for each in found[:MOST_COMPARED]
    }
    furthest = metric.possible[1]
    pairs = {
        names: replace(pair, difference=pair.difference.within(-furthest, furthest))
        for names, pair in inference.compare_all(by_label).items()
    }
    return Verdict(task, tuple(found), pairs, with_diverged)


def pairing(pair: Comparison) -> str:
    """Which runs were compared with which.

    >>> one = inference.compare({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 4.0})
    >>> pairing(one)
    'paired over the 2 of 3 seeds that both have'
    """
    if not pair.paired:
        return "unpaired, because their seeds differ"
    common = f"over the {pair.n} of {pair.seeds} seeds that both have"
    return f"paired {'by seed' if pair.n == pair.seeds else common}"


def _ahead(best: Found, other: Found, pair: Comparison, verdict: Verdict) -> str:
    metric, label = verdict.task.metric, other.setting.label
    sides = (best.setting, other.setting) if not verdict.with_diverged else ()  # who counts the diverged has said it
    without = ", ".join(f"{each.label} without {each.broken}" for each in sides if each.broken)
    lacking = f"; {without}" if without else ""
    if other.mean.value == best.mean.value and pair.difference.value == 0:
        return f"{label} has the same mean (n = {other.mean.n}{lacking})."
    where = "behind" if pair.difference.value >= 0 else "ahead"
    pair = pair if pair.difference.value >= 0 else turned(pair)
    size = f"{metric.text(pair.difference.value)} {metric.difference_unit}"
    low, high = metric.text(pair.difference.low), metric.text(pair.difference.high)
    sure = "too few for an interval" if math.isnan(pair.difference.low) else f"95 % interval {low} to {high}"
    together = f"{sure}, Holm-corrected {wording.p_value(pair.p_holm)}, {pairing(pair)}, n = {pair.n}"
    which = "one run" if pair.n == 1 else "these runs"
    ending = "that is a real difference." if pair.differ else f"{which} can’t tell the two apart."
    return f"{label} is {size} {where} ({together}{lacking}): {ending}"


def sentences(verdict: Verdict) -> list[str]:
    """The verdict in words."""
    task, metric = verdict.task, verdict.task.metric
    if not verdict.found:
        return [] if verdict.with_diverged else ["No run completed, so there is nothing to compare."]
    best = verdict.found[0]
    extreme = "highest" if metric.higher_is_better else "lowest (lower is better)"
    sure = wording.interval(best.mean, metric.text)
    sure = f"95 % interval {sure}" if sure else "one run, so no interval"
    value = f"{metric.with_unit(best.mean.value)}, {sure}, n = {best.mean.n}"
    said = [f"{best.setting.label} has the {extreme} mean {metric.name}: {value}."]
    if verdict.with_diverged:
        said[0] = f"With diverged runs counted as {task.stands}: {said[0]}"
    elif best.setting.broken:
        said[0] += f" That mean leaves out {best.setting.broken}."
    if len(task.settings) == 1:
        return [*said, "There is no other setting to compare it with."]
    between = partial(verdict.between, best.setting.label)
    others = [(other, pair) for other in verdict.found[1:] if (pair := between(other.setting.label))]
    said += [_ahead(best, other, pair, verdict) for other, pair in others[:MOST_NEXT]]
    apart = [other.setting.label for other, pair in others if pair.differ]
    if len(others) > MOST_NEXT:
        which = f": {wording.listed(apart)}" if apart else ""
        beyond = f"{len(apart)} differ from it beyond chance (Holm-corrected p < 0.05){which}"
        said.append(f"Of all {len(others)} other settings, {beyond}.")
    if len(verdict.found) > MOST_COMPARED:
        said.append(f"Only the {MOST_COMPARED} best of {len(verdict.found)} settings were compared in pairs.")
    if verdict.with_diverged:
        return said
    if nothing := [setting.label for setting in task.settings if not setting.completed]:
        said.append(f"No run completed of {wording.listed(nothing)}.")
    if (few := _few(verdict)) and not warning(verdict):
        said.append(f"Too few seeds for a verdict on {wording.listed(list(few))}. {next(iter(few.values()))}.")
    return said + _untrained(task)


def _untrained(task: Task) -> list[str]:
    """Which settings have runs that learnt nothing, and what their gradients looked like before training."""
    facts = []
    for setting in task.settings:
        share = trained_share(setting)
        is_trained = any(run.get("epochs") for run in setting.runs)  # an untrained network had nothing to learn
        if share is not None and share.value < 1 and is_trained:
            count = f"{round(share.value * share.n)} of {wording.counted(share.n, 'run')} trained"
            if (ratio := first_to_last(setting)) is not None:
                count += f"; untrained, its first layer’s gradient is {wording.number(ratio, 2)} × its last’s"
            facts.append(f"{setting.label} ({count})")
    return [f"Not every run learnt something: {wording.listed(facts)}."] if facts else []


def _few(verdict: Verdict) -> dict[str, str]:
    """Of the settings compared those of which there are too few seeds, with the reason."""
    return too_few_of({each.setting.label: each.values for each in verdict.found[:MOST_COMPARED]})


def warning(verdict: Verdict) -> str | None:
    """Why there are too few seeds for any verdict, if there are."""
    few = _few(verdict)
    return next(iter(few.values())) if few and len(few) == len(verdict.found[:MOST_COMPARED]) else None
