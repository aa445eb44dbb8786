"""A finding's small picture: what was measured, by layer, by epoch or by seed, as lines of SVG.

Drawn here and not by page.js: they are there before anything else, and on paper.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from actsweep.report.frames import by_epoch, loss_unit
from actsweep.report.page.layers import aligned, at_ends, mean_over_seeds, of_one_time, range_over_seeds
from actsweep.report.wording import number, spoken, thinned
from actsweep.results.folders import Floats, Folders, Measured
from actsweep.results.reading import Run
from actsweep.statistics.findings import Finding
from actsweep.statistics.setting import Setting

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
LOSSES = {"train_loss": ("training", ""), "val_loss": ("validation, dashed", "theory")}  # words, look
BY_SEED = ("unstable", "too_few_seeds")
Picture = dict[str, Any]  # its `svg` and its `caption`
WIDTH, HEIGHT, LEFT, BELOW, ABOVE, MOST_POINTS = 250, 104, 50, 18, 8, 60


@dataclass(frozen=True)
class Line:
    """(4, X): x, the mean, the lowest and the highest of the runs; NaN where there is none."""

    numbers: Floats
    look: str = ""


def picture_of(finding: Finding, setting: Setting, folders: Folders) -> Picture | None:
    """None where nothing was measured that could be shown."""
    kind = finding.kind
    if kind in OVER_TIME:
        return _over_time(OVER_TIME[kind], str(finding.where.layer), setting, folders)
    if kind in UNTRAINED:
        about_gradients = finding.evidence[0].name.startswith("gradient")
        return _by_layer(GRADIENT if about_gradients else UNTRAINED[kind], "untrained", setting, folders)
    if kind in TRAINED:
        return _by_layer(TRAINED[kind], "trained", setting, folders)
    return _by_seed(setting) if kind in BY_SEED else _losses(setting, folders)


def _having(names: Sequence[str], setting: Setting, folders: Folders) -> tuple[str, list[tuple[Run, Measured]]]:
    """The first of these quantities that was measured, and the runs that have it."""
    measured = [(run, folders.layers(run)) for run in setting.observed]
    for name in names:
        if found := [(run, each[name]) for run, each in measured if name in each]:
            return name, found
    return "", []


def _by_layer(names: Sequence[str], when: str, setting: Setting, folders: Folders) -> Picture | None:
    name, found = _having(names, setting, folders)
    if not (parts := at_ends(found)[when]):
        return None
    log = not name.endswith("fraction") and name not in DEAD
    lines, layers = [_over_layers(parts, log)], aligned(parts)[1]
    predicted = at_ends(_having([f"{name}_theory"], setting, folders)[1])["untrained"] if when == "untrained" else []
    lines += [_over_layers(predicted, log, "theory")] if predicted else []
    theory = ", dashed: theory" if predicted else ""
    unit = f"{loss_unit(setting.runs)} per unit weight" if (name,) == GRADIENT else "1"
    caption = f"{name} ({unit}) by layer, {when}{theory}; {_sample(len(parts), log)}"
    return _drawn(lines, caption, (f"layer {spoken(layers[0])}", spoken(layers[-1])), log)


def _over_layers(parts: Sequence[Measured], log: bool, look: str = "") -> Line:
    stack = aligned(parts)[2][:, 0]
    return _over(np.arange(stack.shape[1], dtype=float), stack, log, look)


def _over(x: Floats, stack: Floats, log: bool = False, look: str = "") -> Line:
    """Of (S, X) values, those that are finite."""
    finite = np.where(np.isfinite(stack), stack, np.nan)
    return Line(np.stack([x, mean_over_seeds(finite, log), *range_over_seeds(stack)]), look)


def _over_time(names: Sequence[str], layer: str, setting: Setting, folders: Folders) -> Picture | None:
    name, found = _having(names, setting, folders)
    if not found:
        return None
    times, layers, stack = aligned(parts := of_one_time([part for _, part in found]))
    unit = "step" if parts[0].by_step else "epoch"
    caption = f"{name} (1), layer {spoken(layer)}; {_sample(len(found))}"
    line = _over(times.astype(float), stack[..., layers.index(layer)])
    return _drawn([line], caption, (f"{unit} {times[0]}", str(times[-1])))


def _losses(setting: Setting, folders: Folders) -> Picture | None:
    tables = {run["seed"]: table for run in setting.observed if (table := folders.epochs(run)) is not None}
    lines, said = [], []
    for column, (words, look) in LOSSES.items():
        if having := {seed: table for seed, table in tables.items() if column in table}:
            wide = by_epoch(having, column)
            lines.append(_over(wide.index.to_numpy(dtype=float), wide.to_numpy().T, look=look))
            said.append(words)
    if not lines:
        return None
    caption = f"Loss ({loss_unit(setting.runs)}): {', '.join(said)}; {_sample(len(tables))}"
    return _drawn(lines, caption, ("epoch 1", str(int(max(line.numbers[0, -1] for line in lines)))))


def _by_seed(setting: Setting) -> Picture | None:
    factor, unit = (100, "%") if setting.measure == "test_accuracy" else (1, loss_unit(setting.runs))
    values = factor * np.array(list(setting.outcomes().values()), dtype=float)
    if not len(values):
        return None
    line = _over(np.arange(len(values), dtype=float), values[None], look="seeds")
    caption = f"{setting.measure.replace('_', ' ').capitalize()} ({unit}) of each seed, n = {len(values)} runs"
    return _drawn([line], caption, ("one seed each", ""))


def _sample(n: int, log: bool = False) -> str:
    of = "one run" if n == 1 else f"{'geometric ' * log}mean, lowest and highest of n = {n} runs"
    return f"{of}; logarithmic axis" if log else of


def _drawn(lines: Sequence[Line], caption: str, ends: tuple[str, str], log: bool = False) -> Picture | None:
    """Between the x-axis' ends. None where no number is finite. On a logarithmic axis 0 stands on the lower edge."""
    numbers = np.concatenate([line.numbers for line in lines], axis=1)
    x, values = numbers[0], numbers[1:]
    scaled = _logarithm(values) if log else (lambda y: y)
    heights = scaled(values)[np.isfinite(scaled(values))]
    if not len(heights):
        return None
    low, high = float(heights.min()), float(heights.max())
    right, down = _scale(x.min(), x.max(), LEFT, WIDTH - 8), _scale(low, high, HEIGHT - BELOW, ABOVE)
    parts = [_shape(line, right, lambda y: down(scaled(y))) for line in lines]
    bottom, top = _labels(*(10**end if log else end for end in (low, high)))
    bottom = "0" if log and (values == 0).any() else bottom
    parts += [_text(LEFT - 4, HEIGHT - BELOW, bottom, "end"), _text(LEFT - 4, ABOVE + 8, top, "end")]
    parts += [_text(LEFT, HEIGHT - 4, ends[0]), _text(WIDTH - 8, HEIGHT - 4, ends[1], "end")]
    shapes = f'<path class="frame" d="M{LEFT} {ABOVE}V{HEIGHT - BELOW}H{WIDTH - 8}"/>{"".join(parts)}'
    named = f'role="img" aria-label="{escape(caption)}"'
    svg = Markup(f'<svg class="picture" viewBox="0 0 {WIDTH} {HEIGHT}" {named}>{shapes}</svg>')
    return {"svg": svg, "caption": caption}


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


def _shape(line: Line, right: Callable[[Floats], Floats], down: Callable[[Floats], Floats]) -> str:
    x, mean, low, high = line.numbers[:, thinned(line.numbers.shape[1], MOST_POINTS)]
    middle, top, bottom = (_points(right(x), down(each)) for each in (mean, high, low))
    if line.look == "seeds" or len(x) == 1:
        return "".join('<circle cx="{}" cy="{}" r="3"/>'.format(*point.split(",")) for point in middle)
    band = f'<polygon points="{" ".join([*top, *reversed(bottom)])}"/>'
    return f'{band}<polyline class="{line.look}" points="{" ".join(middle)}"/>'


def _points(x: Floats, y: Floats) -> list[str]:
    return [f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True) if np.isfinite(b)]


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
