"""The table by setting: how many runs, what they found, and with what certainty."""

import math
from collections.abc import Sequence
from typing import Any

from actsweep.report.frames import first_to_last, mean_of, trained_share
from actsweep.report.page import wording
from actsweep.report.page.verdict import Verdict, interval
from actsweep.statistics import inference
from actsweep.statistics.setting import Setting

ESTIMATES = {"mean": inference.mean, "median": inference.median, "IQM": inference.interquartile_mean}


def _dead(setting: Setting) -> float | None:
    """Mean share of dead units over layers and completed runs, in percent."""
    share = mean_of([mean_of(run.get("dead_fraction")) for run in setting.completed])
    return None if share is None else 100 * share


def _cell(text: str, sort: float | None, below: str = "") -> dict[str, Any]:
    return {"text": text, "below": below, "sort": None if sort is None or math.isnan(sort) else sort}


def _share_cell(setting: Setting) -> dict[str, Any]:
    share = trained_share(setting)
    if share is None:
        return _cell("–", None)
    interval_of = f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
    return _cell(f"{round(share.value * share.n)}/{share.n}", share.value, interval_of)


def _estimates(setting: Setting, verdict: Verdict) -> dict[str, dict[str, Any]]:
    """Heading → cell: of the completed runs, or the mean with those that diverged."""
    metric, said = verdict.task.metric, ", diverged counted" if verdict.with_diverged else ""
    values = list(verdict.task.outcomes(setting, verdict.with_diverged).values())
    cells = {}
    for name, estimate in ESTIMATES.items() if not verdict.with_diverged else [("mean", inference.mean)]:
        got = estimate(values).within(*metric.possible) if values else None
        cell = _cell(metric.text(got.value), got.value, interval(got, metric)) if got else _cell("–", None)
        cells[f"{name}{said}, {metric.unit}"] = cell
    return cells


def _row(setting: Setting, verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """Heading → cell."""
    repeated = f"{len(setting.repeated)} repeated" if setting.repeated else ""
    below = ", ".join(filter(None, [setting.broken, repeated]))
    cells = {"n": _cell(str(len(setting.completed)), len(setting.completed), below)}
    if verdicts[0].task.metric.higher_is_better:
        cells["trained"] = _share_cell(setting)
    for verdict in verdicts:
        cells |= _estimates(setting, verdict)
    for name in ("epochs", "seconds"):
        average = mean_of([run.get(name) for run in setting.completed])
        cells[name] = _cell(wording.fixed(average, 1), average)
    ratio, dead = first_to_last(setting), _dead(setting)
    cells["gradient, first ÷ last layer"] = _cell(wording.number(ratio, 2), ratio)
    cells["dead units, %"] = _cell(wording.fixed(dead, 1), dead)
    return cells


def table(*verdicts: Verdict) -> dict[str, Any]:
    """One row per setting, in the order of the figures, also without a completed run; no column without a number."""
    settings = verdicts[0].task.settings
    cells = [_row(setting, verdicts) for setting in settings]
    headings = [name for name in cells[0] if any(row[name]["sort"] is not None for row in cells)]
    rows = [
        {"label": setting.label, "cells": [row[name] for name in headings]}
        for setting, row in zip(settings, cells, strict=True)
    ]
    return {"headings": headings, "rows": rows}
