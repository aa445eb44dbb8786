"""Which setting is better, by how much, and how sure that is: the numbers of src.statistics, and a verdict in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from src import statistics
from src.figures._numbers import geometric_mean
from src.page import words
from src.page.groups import Group, Metric, Task
from src.page.words import plain
from src.statistics import Comparison, Estimate

SIGNIFICANT = 0.05
MOST_COMPARED = 200  # settings: 19,900 pairs take six seconds
MOST_NEXT = 3
ESTIMATES = {"mean": statistics.mean, "median": statistics.median, "IQM": statistics.interquartile_mean}


@dataclass(frozen=True)
class Found:
    """What the completed runs of a setting found, by seed, and its mean."""

    group: Group
    values: dict[int, float]
    mean: Estimate


@dataclass(frozen=True)
class Verdict:
    """The settings of a task, best first, and every pair of them."""

    task: Task
    found: tuple[Found, ...]
    pairs: Mapping[tuple[str, str], Comparison]

    def between(self, first: str, second: str) -> Comparison | None:
        """How much better the first is, whichever way round the pair was compared."""
        if pair := self.pairs.get((first, second)):
            return pair
        return turned(pair) if (pair := self.pairs.get((second, first))) else None


def turned(pair: Comparison) -> Comparison:
    """The same comparison, seen from the second setting."""
    difference, improvement = pair.difference, pair.improvement
    return Comparison(
        pair.n,
        pair.paired,
        Estimate(-difference.value, -difference.high, -difference.low, difference.n),
        pair.p_value,
        pair.p_holm,
        -pair.effect_size,
        Estimate(1 - improvement.value, 1 - improvement.high, 1 - improvement.low, improvement.n),
    )


def judge(task: Task) -> Verdict:
    """Estimates and comparisons of the completed runs. Of losses, the lower is the better: comparisons see −loss."""
    metric = task.metric
    sign = 1 if metric.higher_is_better else -1
    found = []
    for group in task.groups:
        values = {run["seed"]: value for run in group.completed if (value := metric.of(run)) is not None}
        if values:
            found.append(Found(group, values, statistics.mean(list(values.values())).within(*metric.possible)))
    found.sort(key=lambda each: -sign * each.mean.value)
    compared = found[:MOST_COMPARED] if len(found) > MOST_COMPARED else found
    by_label = {each.group.label: {seed: sign * value for seed, value in each.values.items()} for each in compared}
    furthest = metric.possible[1]
    pairs = {
        names: replace(pair, difference=pair.difference.within(-furthest, furthest))
        for names, pair in statistics.compare_all(by_label).items()
    }
    return Verdict(task, tuple(found), pairs)


def interval(estimate: Estimate, metric: Metric) -> str:
    """95 % interval, as text; nothing where n is too small for one."""
    if math.isnan(estimate.low):
        return ""
    return f"[{metric.text(estimate.low)}, {metric.text(estimate.high)}]"


def _ahead(best: Found, other: Found, pair: Comparison, metric: Metric) -> str:
    if other.mean.value == best.mean.value:
        return f"{other.group.label} has the same mean (n = {other.mean.n})."
    size = f"{metric.text(abs(pair.difference.value))} {metric.difference_unit}"
    low, high = pair.difference.low, pair.difference.high
    sure = (
        f"95 % interval {metric.text(low)} to {metric.text(high)}" if not math.isnan(low) else "too few for an interval"
    )
    paired = "paired by seed" if pair.paired else "unpaired, because their seeds differ"
    together = f"{sure}, Holm-corrected {words.p_value(pair.p_holm)}, {paired}, n = {pair.n}"
    apart = pair.p_holm < SIGNIFICANT
    ending = "that is a real difference." if apart else "these runs can’t tell the two apart."
    return f"{other.group.label} is {size} behind ({together}): {ending}"


def sentences(verdict: Verdict) -> list[str]:
    """The verdict in words."""
    task, metric = verdict.task, verdict.task.metric
    if not verdict.found:
        return ["No run completed, so there is nothing to compare."]
    best = verdict.found[0]
    extreme = "highest" if metric.higher_is_better else "lowest (lower is better)"
    sure = interval(best.mean, metric)
    said = [
        f"{best.group.label} has the {extreme} mean {metric.name}: {metric.with_unit(best.mean.value)}"
        + (f", 95 % interval {sure}" if sure else ", one run, so no interval")
        + f", n = {best.mean.n}."
    ]
    if best.group.broken:
        said[0] += f" That mean leaves out {best.group.broken}."
    if len(task.groups) == 1:
        return [*said, "There is no other setting to compare it with."]
    others = [
        (other, pair) for other in verdict.found[1:] if (pair := verdict.between(best.group.label, other.group.label))
    ]
    said += [_ahead(best, other, pair, metric) for other, pair in others[:MOST_NEXT]]
    apart = [other.group.label for other, pair in others if pair.p_holm < SIGNIFICANT]
    if len(others) > MOST_NEXT:
        which = f": {words.listed(apart)}" if apart else ""
        said.append(
            f"Of all {len(others)} other settings, {len(apart)} differ from it beyond chance "
            f"(Holm-corrected p < 0.05){which}."
        )
    if len(verdict.found) > MOST_COMPARED:
        said.append(f"Only the {MOST_COMPARED} best of {len(verdict.found)} settings were compared in pairs.")
    if nothing := [group.label for group in task.groups if not group.completed]:
        said.append(f"No run completed of {words.listed(nothing)}.")
    return said + _untrained(task)


def _untrained(task: Task) -> list[str]:
    """Which settings have runs that learnt nothing, and what their gradients looked like before training."""
    told = []
    for group in task.groups:
        share = trained(group)
        if share is not None and share.value < 1:
            ratio = first_to_last(group)
            why = (
                ""
                if ratio is None
                else f"; untrained, its first layer’s gradient is {words.number(ratio, 2)} × its last’s"
            )
            told.append(
                f"{group.label} ({round(share.value * share.n)} of {words.counted(share.n, 'run')} trained{why})"
            )
    return [f"Not every run learnt something: {words.listed(told)}."] if told else []


def warning(verdict: Verdict) -> str | None:
    """Why there are too few seeds for a verdict, if there are."""
    if len(verdict.found) < 2:
        return None
    return statistics.too_few(min(each.mean.n for each in verdict.found), len(verdict.pairs))


def trained(group: Group) -> Estimate | None:
    """The share of runs that learnt anything; those that diverged did not, those that failed don't count."""
    known = [run for run in group.completed if run.get("test_accuracy") is not None and run.get("classes")]
    n = len(known) + len(group.diverged)
    if not n or group.runs[0]["config"].get("loss") == "mse":
        return None
    return statistics.proportion(sum(statistics.trained(run["test_accuracy"], run["classes"]) for run in known), n)


def first_to_last(group: Group) -> float | None:
    """The untrained network's gradient norm, first layer ÷ output layer: geometric mean over runs; 0 where one is 0."""
    ends = [(norms[0], norms[-1]) for run in group.observed if (norms := (run.get("initial") or {}).get("grad_norm"))]
    ratios = [first / last for first, last in ends if first is not None and last]
    return geometric_mean(ratios) if ratios else None


def _dead(group: Group) -> float | None:
    """Mean share of dead units over layers and completed runs, in percent."""
    shares = [mean for run in group.completed if (mean := _mean_of(run.get("dead_fraction"))) is not None]
    share = _mean_of(shares)
    return None if share is None else 100 * share


def _mean_of(values: Sequence[float | None] | None) -> float | None:
    known = [float(value) for value in values or () if value is not None]
    return sum(known) / len(known) if known else None


def _cell(text: str, sort: float | None, below: str = "") -> dict[str, Any]:
    return {"text": text, "below": below, "sort": None if sort is None or math.isnan(sort) else sort}


def _share_cell(group: Group) -> dict[str, Any]:
    share = trained(group)
    if share is None:
        return _cell("–", None)
    interval_of = f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
    return _cell(f"{round(share.value * share.n)}/{share.n}", share.value, interval_of)


def _row(group: Group, values: Sequence[float], metric: Metric) -> dict[str, dict[str, Any]]:
    """Heading → cell."""
    cells = {"n": _cell(str(len(group.completed)), len(group.completed), group.broken)}
    if metric.higher_is_better:
        cells["trained"] = _share_cell(group)
    for name, estimate in ESTIMATES.items():
        got = estimate(values).within(*metric.possible) if values else None
        cell = _cell(metric.text(got.value), got.value, interval(got, metric)) if got else _cell("–", None)
        cells[f"{name}, {metric.unit}"] = cell
    for name in ("epochs", "seconds"):
        average = _mean_of([run.get(name) for run in group.completed])
        cells[name] = _cell(words.fixed(average, 1), average)
    ratio, dead = first_to_last(group), _dead(group)
    cells["gradient, first ÷ last layer"] = _cell(words.number(ratio, 2), ratio)
    cells["dead units, %"] = _cell(words.fixed(dead, 1), dead)
    return cells


def table(verdict: Verdict) -> dict[str, Any]:
    """One row per setting, in the order of the figures, also without a completed run; no column without a number."""
    by_label = {each.group.label: list(each.values.values()) for each in verdict.found}
    groups = verdict.task.groups
    cells = [_row(group, by_label.get(group.label, []), verdict.task.metric) for group in groups]
    headings = [name for name in cells[0] if any(row[name]["sort"] is not None for row in cells)]
    rows = [
        {"label": group.label, "look": group.look, "cells": [row[name] for name in headings]}
        for group, row in zip(groups, cells, strict=True)
    ]
    return {"headings": headings, "rows": rows}


def drawn(verdict: Verdict, positions: Mapping[str, int]) -> dict[str, Any]:
    """What the figures of accuracy and of differences need; settings as their positions."""
    metric = verdict.task.metric
    rows = [
        {
            "setting": positions[each.group.label],
            "seeds": list(each.values),
            "values": [plain(value) if metric.factor == 1 else round(value, 3) for value in each.values.values()],
            "mean": plain(each.mean.value),
            "low": plain(each.mean.low),
            "high": plain(each.mean.high),
            "broken": each.group.broken,
        }
        for each in verdict.found
    ]
    pairs = [
        [
            positions[first],
            positions[second],
            pair.n,
            int(pair.paired),
            *map(plain, (pair.difference.value, pair.difference.low, pair.difference.high)),
            *map(plain, (pair.p_value, pair.p_holm, pair.effect_size)),
            *map(plain, (pair.improvement.value, pair.improvement.low, pair.improvement.high)),
        ]
        for (first, second), pair in verdict.pairs.items()
    ]
    classes = {run["classes"] for each in verdict.found for run in each.group.completed if run.get("classes")}
    return {
        "name": metric.name,
        "settings": [positions[group.label] for group in verdict.task.groups],
        "unit": metric.unit,
        "percent": metric.factor == 100,
        "higher": metric.higher_is_better,
        "chance": 100 / classes.pop() if len(classes) == 1 and metric.factor == 100 else None,
        "rows": rows,
        "pairs": pairs,
    }
