"""Is the step size too small or too large, and did the loss stop being finite: update ratios, losses."""

import math

import numpy as np

from actsweep.statistics import inference
from actsweep.statistics.findings.finding import BREAKS, Fact, Finding, Where
from actsweep.statistics.findings.seen import Seen, average, fact, geometric
from actsweep.statistics.inference import Estimate

USUAL = 1e-3  # ‖ΔW‖/‖W‖ of a step with which a layer learns: the rule of thumb
TOO_SMALL = 1e-4  # a tenth of it: a thousand steps move the weights by at most a tenth
TOO_LARGE = 3e-2  # thirty-fold: as few steps replace the weights
FIRST_STEP = 5e-3  # a good first step's, of the layer that moves most: momentum multiplies it by up to 10 later
UNFIT = 0.25  # of the loss of guessing, that is left at the end
SPIKE = 2.0  # losses of guessing: a network that says nothing has 1
SOURCE = "Karpathy 2022 (update ratio about 1e-3); LeCun et al. 1998 (largest stable step)"


def first_step(seen: Seen) -> Estimate:
    """The update ratio of the first step, of the layer that moves most."""
    found = seen.untrained("update_ratio")
    return geometric(found.values.max(axis=1)) if found else Estimate()


def largest_step(seen: Seen) -> Estimate:
    """The largest update ratio of any layer in any epoch, the median over runs: in a dead network nothing moves."""
    parts = (part for part in seen.measured("update_ratio") if (part.epochs > 0).any())
    trained = [part.values[np.isfinite(part.values)] for part in parts]
    return inference.median([float(values.max(initial=0.0)) for values in trained])


def scaled(seen: Seen, factor: float) -> tuple[str, ...]:
    """The learning rate times a factor, to one digit."""
    rate = seen.number("optim.lr")
    return (f"optim.lr={float(f'{rate * factor:.0e}'):g}",) if rate else ()


def slower(seen: Seen) -> tuple[str, ...]:
    """A learning rate at which the first step is a good one, at most a tenth."""
    first = first_step(seen).value
    return scaled(seen, min(0.1, FIRST_STEP / first) if first > 0 and math.isfinite(first) else 0.1)


def faster(seen: Seen) -> tuple[str, ...]:
    first = first_step(seen).value
    return scaled(seen, max(10.0, FIRST_STEP / first) if first > 0 else 10.0)


def too_small(seen: Seen) -> list[Finding]:
    """Even the layer that moves most hardly moves, and the loss has not come down."""
    largest, falls = largest_step(seen), [curve[-1] / curve[0] for curve in seen.losses() if curve[0]]
    if not largest.n or largest.value >= TOO_SMALL or not falls or float(np.median(falls)) < 0.5:
        return []
    evidence = (
        fact("largest update ratio of any layer", largest, "1", threshold=TOO_SMALL),
        fact(f"last {seen.loss} ÷ first", average(falls)),
    )
    said = (
        f"No step moves any layer’s weights by more than {largest.value:.2g} of their size (usual: {USUAL:g}), and the "
        f"{seen.loss} is still {np.mean(falls):.2f} of the first epoch’s."
    )
    return [Finding("step_too_small", seen.severity, Where(seen.label), evidence, said, faster(seen), SOURCE)]


def too_large(seen: Seen) -> list[Finding]:
    """The first step replaces weights, or the loss rises far above that of guessing; and it harms."""
    first, guessing = first_step(seen), seen.guessing
    peaks = [float(curve.max()) / guessing for curve in seen.losses()]
    spikes = bool(peaks) and float(np.median(peaks)) > SPIKE
    lost = seen.unlearnt.value > 0.25 or (spikes and seen.left() > UNFIT)
    if not lost or not first.value > TOO_LARGE:
        return []
    evidence = [fact("update ratio of the first step", first, "1", threshold=TOO_LARGE)]
    if peaks:
        evidence.append(fact(f"highest {seen.loss} ÷ that of guessing", geometric(np.array(peaks)), threshold=SPIKE))
    said = (
        f"The first step changes the weights of the layer that moves most by {first.value:.2g} of their size (usual: "
        f"{USUAL:g})"
        + (f", and the {seen.loss} rose to {np.median(peaks):.2g} times that of guessing" if spikes else "")
        + (f". {seen.lost()}." if seen.learnt else ".")
    )
    evidence.append(seen.outcome())
    return [Finding("step_too_large", seen.severity, Where(seen.label), tuple(evidence), said, slower(seen), SOURCE)]


def diverged(seen: Seen) -> list[Finding]:
    """The loss stopped being finite: in how many runs, in which epoch and step first."""
    runs = seen.setting.diverged
    if not runs:
        return []
    share = inference.proportion(len(runs), seen.n)
    times = [_when(seen, run["seed"]) for run in runs]
    epoch, step = min(times, key=lambda when: (when[0], math.inf if when[1] is None else when[1]))
    first = first_step(seen)
    evidence = (
        fact("runs that diverged", share),
        Fact("earliest epoch without a finite loss", epoch, "epochs", len(runs)),
        fact("update ratio of the first step", first, threshold=TOO_LARGE),
    )
    said = (
        f"In {len(runs)} of {seen.n} runs the loss stopped being finite, first in epoch {epoch}"
        + (f", at step {step}" if step is not None else "")
        + (f"; the first step moved weights by {first.value:.2g} of their size." if first.n else ".")
    )
    severity, where = BREAKS if share.value > 0.5 else seen.severity, Where(seen.label, None, epoch, step, share.value)
    return [Finding("diverged", severity, where, evidence, said, slower(seen), SOURCE)]


def _when(seen: Seen, seed: int) -> tuple[int, int | None]:
    """Epoch and step of the first loss that isn't finite: of the steps' own losses where they were recorded."""
    run, tables = next(pair for pair in zip(seen.runs, seen.tables, strict=True) if pair[0]["seed"] == seed)
    epochs, steps = tables.epochs, tables.read("steps")
    losses = epochs["train_loss"].to_numpy(dtype=float) if "train_loss" in epochs else np.zeros(0)
    broken = epochs.index.to_numpy()[~np.isfinite(losses)] if len(losses) else np.zeros(0)
    epoch = int(broken[0]) if len(broken) else max(int(run.get("epochs") or 0), 1)
    if steps is not None and "loss" in steps:
        lost = steps.index[~np.isfinite(steps["loss"].astype(float))]
        return epoch, int(steps["step"].iloc[lost[0]]) if len(lost) else None
    return epoch, None
