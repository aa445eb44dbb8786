"""What happened in each layer: every scalar quantity that any diagnostic declared, by layer and time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from actsweep.report.wording import plain_list, spoken, thinned
from actsweep.results.folders import Floats, Folders, Measured, Names
from actsweep.results.reading import Run, measured_at, natural, status
from actsweep.statistics.setting import Setting

FIRST = ("grad_norm", "update_ratio", "dead_fraction", "saturated_fraction")
TURNOVER = ("units_died", "units_revived")
MOST_TIMES, FEWEST_TIMES, FEWEST_BINS, MOST_NUMBERS = 40, 4, 8, 300_000


def mean_over_seeds(stack: Floats, logarithmic: bool) -> Floats:
    """(S, …) → (…), of what was measured; not finite where one isn't. Geometric if asked: 0 where one is 0.

    >>> mean_over_seeds(np.array([[1.0, 0.0, np.inf, np.nan], [100.0, 4.0, 1.0, np.nan]]), logarithmic=True)
    array([10.,  0., inf, nan])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.log(stack) if logarithmic else stack
        mean = np.nansum(terms, axis=0) / (~np.isnan(stack)).sum(axis=0)
    return np.where(np.isinf(stack).any(axis=0), np.inf, np.exp(mean) if logarithmic else mean)


def range_over_seeds(stack: Floats) -> tuple[Floats, Floats]:
    """(S, …) → lowest and highest of what is finite; NaN without any."""
    finite = np.where(np.isfinite(stack), stack, np.nan)
    return np.fmin.reduce(finite), np.fmax.reduce(finite)


def aligned(parts: Sequence[Measured]) -> tuple[npt.NDArray[np.int64], Names, Floats]:
    """All times, all layers, and the values of each seed at them: (S, T, L)."""
    times = np.unique(np.concatenate([part.times for part in parts]))
    layers = tuple(sorted({layer for part in parts for layer in part.layers}, key=natural))
    stack = np.full((len(parts), len(times), len(layers)), np.nan)
    for seed, part in enumerate(parts):
        rows = np.searchsorted(times, part.times)
        columns = np.array([layers.index(layer) for layer in part.layers])
        stack[seed][rows[:, None], columns] = part.values
    return times, layers, stack


def of_one_time(parts: Sequence[Measured]) -> Sequence[Measured]:
    """As they are if all have steps for times, or all have epochs; else each once an epoch."""
    return parts if len({part.by_step for part in parts}) == 1 else [_once_an_epoch(part) for part in parts]


def _once_an_epoch(part: Measured) -> Measured:
    epochs = np.unique(part.epochs)
    values = np.concatenate([part.at(int(epoch)).values for epoch in epochs])
    return replace(part, times=epochs, epochs=epochs, by_step=False, values=values)


def _heat_map(parts: Sequence[Measured], logarithmic: bool, most: int) -> dict[str, Any] | None:
    """Mean over seeds by layer and time; None for what is measured at the start and the end only."""
    if max(len(part.times) for part in parts) < 3 and max(int(part.epochs.max()) for part in parts) > 2:
        return None
    times, layers, stack = aligned(parts := of_one_time(parts))
    kept = thinned(len(times), most)
    values = mean_over_seeds(stack[:, kept], logarithmic)
    n = (~np.isnan(stack[:, kept])).any(axis=2).sum(axis=0)
    return {
        "x": times[kept].tolist(),
        "step": any(part.by_step for part in parts),
        "layers": list(map(spoken, layers)),
        "z": [plain_list(column) for column in values.T],
        "n": n.tolist(),
    }


def at_ends(found: Sequence[tuple[Run, Measured]]) -> dict[str, list[Measured]]:
    """What was measured of each run's untrained network, and of the weights that were tested."""
    at_end = ((part, measured_at(run, part.epochs.tolist())) for run, part in found)
    return {
        "untrained": [part.at(0) for _, part in found if 0 in part.epochs],
        "trained": [part.at(epoch) for part, epoch in at_end if epoch],
    }


def _profile(parts: Sequence[Measured], logarithmic: bool) -> dict[str, Any]:
    """Mean and range over seeds against layer, each measured once; to seven digits, because measurement and theory may
    agree in four."""
    _, layers, stack = aligned(parts)
    ends = range_over_seeds(stack[:, 0]) if len(parts) > 1 else (np.zeros(0), np.zeros(0))
    mean, low, high = (plain_list(each, 7) for each in (mean_over_seeds(stack[:, 0], logarithmic), *ends))
    return {"layers": list(map(spoken, layers)), "mean": mean, "low": low, "high": high, "n": len(parts)}


def _turnover(found: Sequence[dict[str, Measured]], most: int) -> dict[str, Any] | None:
    """Units that died and revived per bin of epochs, per layer: the sum over the bin of the mean over seeds."""
    parts = {name: [each[name] for each in found if name in each] for name in TURNOVER}
    if not all(parts.values()):
        return None
    columns: dict[str, Any] = {}
    for name, measurements in parts.items():
        times, layers, stack = aligned(measurements := list(of_one_time(measurements)))
        means = np.nan_to_num(mean_over_seeds(stack, logarithmic=False))
        width = -(-len(times) // most)
        starts = np.arange(0, len(times), width)
        columns |= {"x": times[starts].tolist(), "width": width, "step": measurements[0].by_step, "n": len(parts[name])}
        columns["layers"] = [spoken(layer) for layer in layers]
        columns[name] = [plain_list(column) for column in np.add.reduceat(means, starts, axis=0).T]
    return columns


def layers_of(groups: Sequence[Setting], folders: Folders, declared: dict[str, dict[str, str]]) -> dict[str, Any]:
    """All scalar quantities by setting, and the units that died and revived."""
    scalars = {name for name, part in declared.items() if part["kind"] != "histogram"}
    cells = sum(group.runs[0]["depth"] + 1 for group in groups if group.observed) * max(len(scalars), 1)
    most = int(np.clip(MOST_NUMBERS // max(cells, 1), FEWEST_TIMES, MOST_TIMES))
    shown: dict[str, dict[int, Any]] = defaultdict(dict)  # quantity → position of the setting → what is drawn
    turnover: dict[int, Any] = {}
    used = 0
    for position, group in enumerate(groups):
        pairs = [(run, found) for run in group.observed if (found := folders.layers(run))]
        used += sum(status(run) == "completed" for run, _ in pairs)
        for name in dict.fromkeys(name for _, each in pairs for name in each):
            having = [(run, each[name]) for run, each in pairs if name in each]
            parts = [part for _, part in having]
            negative = any((part.values < 0).any() for part in parts)
            log = declared.get(name, {}).get("scale") == "log" and not negative
            ends = {when: _profile(rows, log) for when, rows in at_ends(having).items() if rows}
            shown[name][position] = {"map": _heat_map(parts, log, most), "ends": ends, "log": log}
        if bins := _turnover([each for _, each in pairs], max(most, FEWEST_BINS)):
            turnover[position] = bins
    order = [name for name in dict.fromkeys((*FIRST, *declared, *shown)) if name in shown]
    return {
        "quantities": [{"name": name} | declared.get(name, {}) | {"settings": shown[name]} for name in order],
        "turnover": turnover,
        "used": used,
        "most": most,
    }
