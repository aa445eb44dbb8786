"""Did training get anywhere, and did it end too early? Losses and stops."""

import math

from actsweep.statistics import inference
from actsweep.statistics.findings.finding import HARMS, Fact, Finding, Where
from actsweep.statistics.findings.seen import Seen


def not_finished(seen: Seen) -> list[Finding]:
    """The best epoch is the last of all that were allowed, in most runs."""
    most = seen.option("trainer.max_epochs")
    known = [run for run in seen.setting.completed if run.get("best_epoch")]
    late = [run for run in known if run["best_epoch"] == run["epochs"] == most]
    if not most or not known or len(late) <= len(known) / 2 or len(known) < seen.n:
        return []
    share = inference.proportion(len(late), len(known))
    fact = Fact("runs whose best epoch is their last", share.value, "1", share.n, share.low, share.high)
    said = (
        f"In {len(late)} of {len(known)} runs epoch {most}, the last that was allowed, was the best: they were still "
        "improving."
    )
    remedy = (f"trainer.max_epochs={4 * most}",)
    return [
        Finding("not_finished", HARMS, Where(seen.setting.label, epoch=most), (fact,), said, remedy, "Prechelt 1998")
    ]


def loss_by_chance(seen: Seen) -> float:
    """Cross-entropy of guessing, nats."""
    return math.log(seen.classes) if seen.classes else math.nan
