"""Did training end too early, or go on too long: losses, accuracies, and what ended it."""

import math

import numpy as np

from actsweep.results.folders import Floats
from actsweep.results.reading import Run
from actsweep.statistics import inference
from actsweep.statistics.findings.finding import HARMS, Finding, Where
from actsweep.statistics.findings.seen import Seen, Tables, average, fact, span

FELL, MATTERS = 0.02, 0.01  # in the last fifth of the epochs, of the training loss, and of that of guessing
ENOUGH = 50  # epochs, the default: patience ends them
UNFIT = 0.5  # of the loss of guessing
FALLING = 0.03  # of the loss of guessing, in the last fifth of the epochs: a converged run has less left altogether
GAP = 0.1  # training − validation accuracy: beyond what 200 validation examples' chance gives (2 sd: 0.07)
LATEST = 3  # epochs, the lowest of which counts: one is noise
LIMITS = ("trainer.limit_train_batches", "trainer.overfit_batches", "data.steps_per_epoch")
LOST = 0.1  # of the loss of guessing, by which the validation loss rose again


def not_finished(seen: Seen) -> list[Finding]:
    """The best epoch is the last that was allowed, in most runs, and the training loss is still falling."""
    most, pairs = seen.number("trainer.max_epochs"), zip(seen.runs, seen.tables, strict=True)
    known = [(run["epochs"], best) for run, tables in pairs if (best := _best_epoch(seen, run, tables))]
    late = [best for epochs, best in known if best == epochs == most]
    curves = [curve for curve in seen.only(seen.setting.completed).losses() if len(curve) > 1]
    falls = [fall / (fall + float(curve[-1])) if (fall := _last_fall(curve)) else 0.0 for curve in curves]
    matters = bool(curves) and float(np.median([_last_fall(each) / _scale(seen, each) for each in curves])) > MATTERS
    if not most or len(late) * 2 <= len(known) or not matters or float(np.median(falls)) < FELL:
        return []
    evidence = (
        fact("runs whose best epoch is the last allowed", inference.proportion(len(late), len(known)), threshold=0.5),
        fact(f"fall of the {seen.loss} in the last fifth", average(falls), threshold=FELL),
    )
    said = (
        f"In {len(late)} of {len(known)} runs epoch {most:.0f}, the last that was allowed, is the best: the "
        f"{seen.loss} still fell by {np.mean(falls):.0%} in the last fifth of the epochs."
    )
    where, remedy = Where(seen.label, None, int(most)), (f"trainer.max_epochs={max(ENOUGH, 4 * most):.0f}",)
    return [Finding("not_finished", seen.severity, where, evidence, said, remedy, "Prechelt 1998")]


def _best_epoch(seen: Seen, run: Run, tables: Tables) -> int | None:
    """Of a completed run; None where nothing was validated, and the last is the best for want of others. With test=last
    the recorded one is the last: then that of the score that was monitored."""
    recorded = run.get("best_epoch") if run["status"] == "completed" else None
    score = seen.option("monitor") or ("val_loss" if seen.setting.measure == "test_loss" else "val_accuracy")
    if "val_loss" in run and score.startswith("val_") and score not in tables.epochs:
        return None
    if not recorded or seen.option("test") != "last" or score not in tables.epochs:
        return recorded
    if not len(curve := tables.epochs[score].dropna()):
        return recorded
    values = curve.to_numpy(dtype=float)
    return int(curve.index.to_numpy()[values.argmin() if score.endswith("loss") else values.argmax()])


def stopped_on_plateau(seen: Seen) -> list[Finding]:
    """Patience ended most runs while their training loss was still high, or falling."""
    patience, most = seen.patience, seen.number("trainer.max_epochs")
    ended = [run for run in seen.setting.completed if most and run["epochs"] and run["epochs"] < most]
    curves = [curve / seen.guessing for curve in seen.only(ended).losses()]
    lasts, falls = [float(curve[-1]) for curve in curves], [_last_fall(curve) for curve in curves]
    early = curves and (np.median(lasts) > UNFIT or np.median(falls) > FALLING)
    if not patience or len(ended) * 2 <= seen.n or not early:
        return []
    epochs = [run["epochs"] for run in ended]
    evidence = (
        fact(f"last {seen.loss} ÷ that of guessing", average(lasts), threshold=UNFIT),
        fact("its fall in the last fifth of the epochs", average(falls), threshold=FALLING),
        fact("runs ended by patience", inference.proportion(len(ended), seen.n)),
        fact("epochs", average(epochs), "epochs"),
    )
    said = (
        f"Early stopping (patience {patience:.0f}) ended {len(ended)} of {seen.n} runs after "
        f"{span(epochs)} epochs, when the {seen.loss} was {np.mean(lasts):.2f} of that of guessing"
        + (", and still falling." if np.median(falls) > FALLING else ": on a plateau, before they had learnt.")
    )
    where, remedy = Where(seen.label, None, int(np.median(epochs))), ("patience=null",)
    return [Finding("stopped_on_plateau", seen.severity, where, evidence, said, remedy, "Prechelt 1998")]


def _last_fall(curve: Floats) -> float:
    """By how much a curve fell below all before in the last fifth of its epochs: after a spike, it hasn't."""
    return max(0.0, float(curve[: -max(1, len(curve) // 5)].min() - curve[-1])) if len(curve) > 1 else 0.0


def overfitting(seen: Seen) -> list[Finding]:
    """Training examples are known far better than validation ones, or the validation loss has risen again."""
    tables = seen.only(seen.setting.completed).tables
    both = [seen.of_epochs(each, "train_accuracy", "val_accuracy") for each in tables]
    by_epoch = [found["val_loss"] for each in tables if len(found := seen.of_epochs(each, "val_loss"))]
    losses = [curve.to_numpy() for curve in by_epoch]
    if seen.unlearnt.value > 0.5 or not losses or seen.option("data.val_size") == 0:
        return []
    gaps = [float(found["train_accuracy"].iloc[-1] - found["val_accuracy"].iloc[-1]) for found in both if len(found)]
    rises = [float(curve[-LATEST:].min() - curve.min()) / _scale(seen, curve) for curve in losses]
    gap, rise = (average(each) for each in (gaps, rises))
    if not (gap.value > GAP or rise.value > LOST):
        return []
    best = int(np.median([curve.index.to_numpy()[int(curve.argmin())] for curve in by_epoch]))
    scale = "first epoch’s" if math.isnan(seen.guessing) else "loss of guessing"
    evidence = [
        fact("training − validation accuracy, last epoch", gap, threshold=GAP),
        fact(f"rise of the validation loss since its lowest ÷ {scale}", rise, threshold=LOST),
    ]
    known = {
        f"accuracy on training examples is {gap.value:.2f} above that on validation examples": gap.value,
        f"the validation loss, lowest in epoch {best}, has risen by {rise.value:.2f} of the {scale}": rise.value,
    }
    said = f"At the end, {', and '.join(part for part, value in known.items() if value >= 0.005)}."
    evidence = evidence if gap.value > GAP else evidence[::-1]
    where, remedy = Where(seen.label, None, best), _remedy(seen, rise.value > LOST)
    return [Finding("overfitting", HARMS, where, tuple(evidence), said, remedy, "Prechelt 1998")]


def _scale(seen: Seen, curve: Floats) -> float:
    """The loss of guessing; of a regression, the first epoch's, NaN where that is 0."""
    return (float(curve[0]) or math.nan) if math.isnan(seen.guessing) else seen.guessing


def _remedy(seen: Seen, rises: bool) -> tuple[str, ...]:
    """More examples where more are held out than trained on; to stop where the validation loss rises; else decay."""
    held, batch, steps = seen.number("data.val_size"), seen.number("data.batch_size"), seen.tables[0].epochs.get("step")
    held = None if any(map(seen.option, LIMITS)) else held  # where an epoch is short because it is asked to be
    batch = (batch or 0) * (seen.number("trainer.accumulate_grad_batches") or 1)  # examples of a step
    if held and batch and steps is not None and held > (trained := batch * float(steps.iloc[0])):
        return (f"data.val_size={(held + trained) / 5:.0f}",)
    if rises and seen.option("patience") is None:
        return ("patience=3",)
    return (f"optim.weight_decay={max(10 * (seen.number('optim.weight_decay') or 0.0), 0.01):g}",)
