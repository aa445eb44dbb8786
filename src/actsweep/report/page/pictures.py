"""A finding's small picture: what was measured, by layer, by epoch or by seed, as lines of SVG.

Flow: findings → page: **pictures**. Drawn here and not by page.js: they are there before anything else, and on paper.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from actsweep.report.frames import by_epoch, loss_unit
from actsweep.report.page.layers import aligned, mean_over_seeds, of_one_time
from actsweep.report.wording import number, spoken, thinned
from actsweep.results.folders import Folders
from actsweep.results.measured import Measured
from actsweep.results.reading import measured_at
from actsweep.statistics.findings import Finding
from actsweep.statistics.setting import Setting

Floats = npt.NDArray[np.float64]
SIGNAL, DEAD, UPDATES = ("signal", "pre_activation_rms"), ("dead_fraction", "always_off"), ("update_ratio",)
GRADIENT = ("grad_norm",)
UNTRAINED = {  # kind → the quantities to show by layer, the first that there is
    "vanishing_signal": SIGNAL, "exploding_signal": SIGNAL, "init_misfit": SIGNAL, "theory_deviates": SIGNAL[1:],
    "vanishing_gradient": GRADIENT, "exploding_gradient": GRADIENT, "born_dead": DEAD,
    "step_too_large": UPDATES,
}  # fmt: skip
TRAINED = {"layer_stands_still": UPDATES, "step_too_small": UPDATES, "collapsed": SIGNAL}
OVER_TIME = {  # … in the layer, over epochs
    "dying": DEAD, "saturated": ("saturated_fraction", "always_saturated"), "always_linear": ("always_linear",),
}  # fmt: skip
LOSSES = {"train_loss": "training", "val_loss": "validation, dashed"}
BY_SEED = ("unstable", "too_few_seeds")
WIDTH, HEIGHT, LEFT, BELOW, ABOVE, MOST_POINTS = 250, 104, 50, 18, 8, 60


@dataclass(frozen=True)
class Line:
    """(x, mean) and the lowest and highest of the runs; NaN where there is none."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    look: str = ""


@dataclass(frozen=True)
class Picture:
    lines: Sequence[Line]
    caption: str
    ends: tuple[str, str]  # of the x-axis
    log: bool = False


def picture_of(finding: Finding, setting: Setting, folders: Folders) -> dict[str, Any] | None:
    """`svg` and `caption`; None where nothing was measured that could be shown."""
    found = _picture(finding, setting, folders)
    svg = found and _svg(found)
    return {"svg": svg, "caption": found.caption} if found and svg else None


def _picture(finding: Finding, setting: Setting, folders: Folders) -> Picture | None:
    kind, about_gradients = finding.kind, finding.evidence[0].name.startswith("gradient")
    if kind in OVER_TIME:
        return _over_time(OVER_TIME[kind], finding.where.layer, setting, folders)
    if kind in UNTRAINED:
        names = GRADIENT if about_gradients else UNTRAINED[kind]
        return _by_layer(names, "untrained", setting, folders, lambda run, part: 0)
    if kind in TRAINED:
        at_end = lambda run, part: measured_at(run, part.epochs.tolist())  # noqa: E731
        return _by_layer(TRAINED[kind], "trained", setting, folders, at_end)
    return _by_seed(setting) if kind in BY_SEED else _losses(setting, folders)


def _having(names: Sequence[str], setting: Setting, folders: Folders) -> tuple[str, list[tuple[Any, Measured]]]:
    """The first of these quantities that was measured, and the runs that have it."""
    measured = [(run, folders.layers(run)) for run in setting.observed]
    for name in names:
        if found := [(run, each[name]) for run, each in measured if name in each]:
            return name, found
    return "", []


def _by_layer(
    names: Sequence[str], when: str, setting: Setting, folders: Folders, epoch: Callable[[Any, Measured], int | None]
) -> Picture | None:
    name, found = _having(names, setting, folders)
    parts = [part.at(at) for run, part in found if (at := epoch(run, part)) is not None and at in part.epochs]
    if not parts:
        return None
    log = not name.endswith("fraction") and name not in DEAD
    lines, layers = [_line(parts, log)], aligned(parts)[1]
    predicted = [part.at(0) for _, part in _having([f"{name}_theory"], setting, folders)[1] if 0 in part.epochs]
    lines += [_line(predicted, log, "theory")] if predicted and when == "untrained" else []
    theory = ", dashed: theory" if len(lines) > 1 else ""
    unit = f"{loss_unit(setting.runs)} per unit weight" if (name,) == GRADIENT else "1"
    caption = f"{name} ({unit}) by layer, {when}{theory}; {_sample(len(parts), log)}"
    return Picture(lines, caption, (f"layer {spoken(layers[0])}", spoken(layers[-1])), log)


def _line(parts: Sequence[Measured], log: bool, look: str = "") -> Line:
    stack = aligned(parts)[2][:, 0]
    return _over(np.arange(stack.shape[1], dtype=float), stack, log, look)


def _over(x: Floats, stack: Floats, log: bool = False, look: str = "") -> Line:
    """Of (S, X) values."""
    finite = np.isfinite(stack)
    low, high = np.where(finite, stack, np.inf).min(axis=0), np.where(finite, stack, -np.inf).max(axis=0)
    return Line(x, mean_over_seeds(np.where(finite, stack, np.nan), log), low, high, look)


def _over_time(names: Sequence[str], layer: str | None, setting: Setting, folders: Folders) -> Picture | None:
    name, found = _having(names, setting, folders)
    if not found:
        return None
    times, layers, stack = aligned(parts := of_one_time([part for _, part in found]))
    shown = stack[..., layers.index(layer)] if layer in layers else np.nanmean(stack, axis=2)
    where = f"layer {spoken(layer)}" if layer in layers and layer else "all layers"
    unit = "step" if parts[0].by_step else "epoch"
    caption = f"{name} (1), {where}; {_sample(len(found))}"
    return Picture([_over(times.astype(float), shown)], caption, (f"{unit} {times[0]}", str(times[-1])))


def _losses(setting: Setting, folders: Folders) -> Picture | None:
    tables = {run["seed"]: table for run in setting.observed if (table := folders.epochs(run)) is not None}
    lines: list[Line] = []
    said: list[str] = []
    last = 0
    for column, words in LOSSES.items():
        having = {seed: table for seed, table in tables.items() if column in table}
        if having:
            wide = by_epoch(having, column)
            lines.append(_over(wide.index.to_numpy(dtype=float), wide.to_numpy().T, look="theory" * bool(said)))
            said.append(words)
            last = max(last, int(wide.index.max()))
    if not lines:
        return None
    caption = f"Loss ({loss_unit(setting.runs)}): {', '.join(said)}; {_sample(len(tables))}"
    return Picture(lines, caption, ("epoch 1", str(last)))


def _by_seed(setting: Setting) -> Picture | None:
    factor, unit = (100, "%") if setting.measure == "test_accuracy" else (1, loss_unit(setting.runs))
    values = factor * np.array(list(setting.outcomes().values()), dtype=float)
    if not len(values):
        return None
    seeds = np.arange(len(values), dtype=float)
    caption = f"{setting.measure.replace('_', ' ').capitalize()} ({unit}) of each seed, n = {len(values)} runs"
    return Picture([Line(seeds, values, values, values, "seeds")], caption, ("one seed each", ""))


def _sample(n: int, log: bool = False) -> str:
    of = "one run" if n == 1 else f"{'geometric ' * log}mean, lowest and highest of n = {n} runs"
    return f"{of}; logarithmic axis" if log else of


def _svg(picture: Picture) -> Markup | None:
    """None where no number is finite. On a logarithmic axis 0 stands on the lower edge."""
    values = np.concatenate([each for line in picture.lines for each in (line.mean, line.low, line.high)])
    scaled = _logarithm(values) if picture.log else (lambda y: y)
    values, has_zero = scaled(values), picture.log and bool((values == 0).any())
    x = np.concatenate([line.x for line in picture.lines])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    right, down = _scale(x.min(), x.max(), LEFT, WIDTH - 8), _scale(low, high, HEIGHT - BELOW, ABOVE)
    parts = [shape for line in picture.lines for shape in _shapes(line, right, lambda y: down(scaled(y)))]
    bottom, top = _labels(*(10**end if picture.log else end for end in (low, high)))
    bottom = "0" if has_zero else bottom
    parts += [_text(LEFT - 4, HEIGHT - BELOW, bottom, "end"), _text(LEFT - 4, ABOVE + 8, top, "end")]
    parts += [_text(LEFT, HEIGHT - 4, picture.ends[0]), _text(WIDTH - 8, HEIGHT - 4, picture.ends[1], "end")]
    frame = f'<path class="frame" d="M{LEFT} {ABOVE}V{HEIGHT - BELOW}H{WIDTH - 8}"/>'
    return Markup(f'<svg class="picture" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{frame}{"".join(parts)}</svg>')


def _logarithm(values: Floats) -> Callable[[Floats], Floats]:
    """To base 10; of 0, a tenth of the smallest other value's."""
    known = values[np.isfinite(values) & (values > 0)]
    floor = math.log10(known.min()) - 1 if len(known) else math.nan
    return lambda y: np.where(y == 0, floor, np.log10(np.where(y > 0, y, np.nan)))


def _labels(low: float, high: float) -> list[str]:
    """With as many digits as tell them apart."""
    pairs = [[number(end, digits) for end in (low, high)] for digits in (3, 4, 5)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])


def _scale(low: float, high: float, start: float, end: float) -> Callable[[Floats], Floats]:
    """From values to places; in the middle where all are equal."""
    if high - low < 1e-12 * max(abs(high), abs(low), 1e-300):
        return lambda v: np.where(np.isfinite(v), (start + end) / 2, np.nan)
    return lambda v: start + (v - low) / (high - low) * (end - start)


def _shapes(line: Line, right: Callable[[Floats], Floats], down: Callable[[Floats], Floats]) -> Iterator[str]:
    kept = thinned(len(line.x), MOST_POINTS)
    line = Line(line.x[kept], line.mean[kept], line.low[kept], line.high[kept], line.look)
    x, mean = right(line.x), down(line.mean)
    if line.look == "seeds" or len(x) == 1:
        yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in _points(x, mean))
        return
    edge = [*_points(x, down(line.high)), *reversed(_points(x, down(line.low)))]
    yield f'<polygon points="{_joined(edge)}"/>'
    yield f'<polyline class="{line.look}" points="{_joined(_points(x, mean))}"/>'


def _points(x: Floats, y: Floats) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True) if np.isfinite(b)]


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
