"""Units that are of no use: born dead, dying, saturated, always linear, collapsed; layers that stand still."""

import math
from collections.abc import Callable

import numpy as np

from actsweep.results.folders import Floats
from actsweep.statistics.findings.finding import Fact, Finding, Where
from actsweep.statistics.findings.seen import AT_CHANCE, ByLayer, Seen, average, fact, wider
from actsweep.statistics.findings.signal import activation, better_init
from actsweep.statistics.findings.steps import UNFIT, slower
from actsweep.statistics.inference import Estimate

HALF = 0.5  # of a layer's units: it is half as wide as asked
NEARLY_ALL = 0.75  # of the runs; of a layer's units that don't bend: of biases as large as signals, it is half
DIED, FEW = 0.35, 4  # of a layer's units, at least so many: default ReLU networks lose a fifth at lr=0.1, and train
SATURATED = 0.7  # of (image, unit) pairs: a critical sigmoid network has 0.6, and trains
CONSTANT = 0.01  # of a layer's size: what tells images apart is lost in what they have in common
STILL = 0.01  # of the update ratio of the layer that moves most
MOVES = 1e-5  # update ratio: a hundredth of the usual
FLAT = 0.05  # of the largest slope, as saturated_fraction has it


def silent_at_birth(seen: Seen) -> ByLayer | None:
    """The share of units that put out 0 on all training images, untrained; where not counted, that is dead."""
    outputs, dead = seen.untrained("dead_outputs"), seen.untrained("dead_fraction")
    sizes = seen.runs[0].get("hidden_sizes")
    if outputs is not None and sizes and len(sizes) == len(outputs.layers):
        return ByLayer(outputs.layers, outputs.values / np.array(sizes, dtype=float))
    return dead


def born_dead(seen: Seen) -> list[Finding]:
    """Half of a layer's units are silent before training, and nearly all runs learn nothing: else it is the seed."""
    found = silent_at_birth(seen)
    if found is None or seen.unlearnt.value <= NEARLY_ALL:
        return []
    layer, values = found.worst()
    if float(np.median(values)) < HALF:
        return []
    share = average(values).within(0, 1)
    whole = int((found.values.max(axis=1) == 1).sum())
    evidence = (fact("units silent on every image, untrained", share, threshold=HALF), seen.outcome())
    said = (
        f"Before training, {share.value:.0%} of the units of {layer} put out 0 on every image; in {whole} of "
        f"{share.n} runs a whole layer does, and nothing passes it. {seen.said()}"
    )
    where, source = Where(seen.label, layer, 0, share=share.value), "Lu et al. 2019: 2^−width a layer"
    return [Finding("born_dead", seen.severity, where, evidence, said, wider(seen), source)]


def dying(seen: Seen) -> list[Finding]:
    """Units that were alive and are dead at the last measurement, of the completed runs."""
    whole, seen = seen, seen.only(seen.setting.completed)
    before, after = seen.untrained("dead_fraction"), seen.trained("dead_fraction")
    if before is None or after is None or before.layers != after.layers or flat_at_both_ends(seen):
        return []  # what is flat at both ends saturates
    layer, values = ByLayer(before.layers, after.values - before.mean).worst()
    share = average(values).within(-1, 1)
    sizes = seen.runs[0].get("hidden_sizes") or [FEW / DIED]
    if share.value < max(DIED, FEW / min(sizes)):
        return []
    died, revived = (_total(seen, name, layer) for name in ("units_died", "units_revived"))
    dead = float(after.mean[after.layers.index(layer)])
    evidence = (
        fact("units that died, of the layer’s", share, threshold=DIED),
        Fact("units dead at the end, of the layer’s", dead, "1", share.n),
        Fact("died", died, "units a run", share.n),
        Fact("revived", revived, "units a run", share.n),
    )
    epoch = _half_way(seen, layer)
    why = "too large a step throws units to where their slope is 0."
    unknown = math.isnan(died) or math.isnan(revived)
    said = (
        f"{dead:.0%} of the units of {layer} are dead at the end, {share.value:.0%} more than before training; half "
        f"of that by epoch {epoch}. "
        + (why.capitalize() if unknown else f"{died:.0f} deaths and {revived:.0f} revivals a run: {why}")
    )
    where = Where(seen.label, layer, epoch, share=share.value)
    return [Finding("dying", whole.severity, where, evidence, said, slower(whole), "Lu et al. 2019; Maas et al. 2013")]


def _total(seen: Seen, name: str, layer: str) -> float:
    sums = [float(np.nansum(part.values[:, part.layers.index(layer)])) for part in seen.measured(name, layer)]
    return float(np.mean(sums)) if sums else math.nan


def _half_way(seen: Seen, layer: str) -> int:
    """The first epoch in which half of the final number of units is dead, the median over runs."""
    epochs = []
    for part in seen.measured("dead_fraction", layer):
        values = part.values[:, part.layers.index(layer)]
        epochs.append(int(part.epochs[int(np.argmax(values >= (values[0] + values[-1]) / 2))]))
    return int(np.median(epochs))


def saturated(seen: Seen) -> list[Finding]:
    """Most pairs lie where the slope is next to 0, of an activation that is flat at both ends."""
    found = _worst(seen, "saturated_fraction", SATURATED)
    if not found or not flat_at_both_ends(seen):
        return []
    where, share, when = found
    if when == "at the end" and seen.unlearnt.value <= 0.5 and not seen.left() > UNFIT:
        return []  # harmless
    said = (
        f"{share.value:.0%} of the (image, unit) pairs of {where.layer} lie, {when}, where the slope is at most 5 % of "
        f"its largest: hardly a gradient passes them."
    )
    remedy = slower(seen) if when == "at the end" else better_init(seen)
    evidence = (fact(f"saturated pairs, {when}", share, threshold=SATURATED), seen.outcome())
    return [Finding("saturated", seen.severity, where, evidence, said, remedy, "Glorot & Bengio 2010")]


def flat_at_both_ends(seen: Seen) -> bool:
    curve = seen.tables[0].read("curves")
    if curve is None or "slope" not in curve or "x" not in curve:
        return False
    slopes = curve.sort_values("x")["slope"].abs().to_numpy()
    return bool(max(slopes[0], slopes[-1]) <= FLAT * slopes.max())


def always_linear(seen: Seen) -> list[Finding]:
    found = _worst(seen, "always_linear", NEARLY_ALL)
    if not found:
        return []
    where, share, when = found
    said = (
        f"{share.value:.0%} of the units of {where.layer} are, {when}, linear on every image: so much of the layer "
        "adds nothing that the next one’s weights could not."
    )
    remedy = ("act=relu",) if activation(seen) in {"Identity", "PReLU"} else better_init(seen)
    evidence = (fact(f"units linear on every image, {when}", share, threshold=NEARLY_ALL),)
    source = "Saxe et al. 2014: depth without a bend"
    return [Finding("always_linear", seen.severity, where, evidence, said, remedy, source)]


def _worst(seen: Seen, quantity: str, threshold: float) -> tuple[Where, Estimate, str] | None:
    """The layer with the highest share, that share, and when it reached the threshold first."""
    for when, epoch, read in seen.ends:
        if (found := read(quantity)) and found.mean.max() >= threshold:
            layer, values = found.worst()
            share = average(values).within(0, 1)
            return Where(seen.label, layer, epoch, share=share.value), share, when
    return None


def variation(read: Callable[[str], ByLayer | None]) -> ByLayer | None:
    """The signal as a part of z's size, by layer: what tells images apart of all that there is."""
    signal, mean, std = (read(name) for name in ("signal", "pre_activation_mean", "pre_activation_std"))
    if signal is None or mean is None or std is None or not signal.layers == mean.layers == std.layers:
        return None
    if not signal.values.shape == mean.values.shape == std.values.shape:
        return None  # some runs lack one of them
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = signal.values / np.hypot(mean.values, std.values)
    return ByLayer(signal.layers, np.nan_to_num(values, nan=1.0))


def collapsed(seen: Seen) -> list[Finding]:
    """A hidden layer answers nearly the same to every image."""
    for when, epoch, read in seen.ends:
        found = variation(read)
        hidden = ByLayer(found.layers[:-1], -found.values[:, :-1]) if found and len(found.layers) > 1 else None
        lost = seen.unlearnt.value > 0.5 or (when == "at the end" and seen.left() >= AT_CHANCE)
        if hidden is None or -hidden.mean.max() > CONSTANT or not lost:
            continue
        layer, values = hidden.worst()
        share = average(-values)
        decay = seen.number("optim.weight_decay") or 0.0
        said = (
            f"What {layer} puts into its units varies, {when}, between images by {share.value:.2g} of its size only: "
            f"it answers the same to all of them. {seen.said()}"
        )
        remedy = ("optim.weight_decay=0",) if decay and when == "at the end" else better_init(seen)
        where = Where(seen.label, layer, epoch)
        evidence = (fact(f"signal ÷ size of z, {when}", share, threshold=CONSTANT), seen.outcome())
        return [Finding("collapsed", seen.severity, where, evidence, said, remedy, "Poole et al. 2016: c* = 1")]
    return []


def stands_still(seen: Seen) -> list[Finding]:
    """A layer whose weights hardly move in any epoch, while another's do."""
    parts = seen.measured("update_ratio")
    rows = [part.values[part.epochs > 0] for part in parts]
    rows = [np.where(np.isfinite(each), each, 0.0).max(axis=0) for each in rows if len(each)]
    if not rows or len({len(each) for each in rows}) > 1 or not np.max(rows, initial=0) > 0:
        return []
    most = np.median(np.array(rows), axis=0)
    slowest = int(most.argmin())
    if most[slowest] > min(STILL * most.max(), MOVES):
        return []
    layer = parts[0].layers[slowest]
    evidence = (
        Fact("largest update ratio of the layer", float(most[slowest]), "1", len(rows), threshold=MOVES),
        Fact("largest update ratio of any layer", float(most.max()), "1", len(rows)),
    )
    said = (
        f"No recorded step moves {layer} by more than {most[slowest]:.2g} of its size, another layer by up to "
        f"{most.max():.2g}: it stays what it was at the start."
    )
    where, source = Where(seen.label, layer), "Karpathy 2022"
    return [Finding("layer_stands_still", seen.severity, where, evidence, said, better_init(seen), source)]
