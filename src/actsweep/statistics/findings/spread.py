"""Do seeds agree, does theory, and are there enough of them?"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from actsweep.statistics import inference
from actsweep.statistics.findings.finding import BREAKS, NOTE, Fact, Finding, Where
from actsweep.statistics.findings.seen import Seen, average, fact, wider
from actsweep.statistics.findings.signal import better_init
from actsweep.statistics.inference import Estimate, are_paired
from actsweep.statistics.power import POWER, fewest, seeds_needed, too_few_of
from actsweep.statistics.setting import Setting

SHARE = 0.25  # of the runs, at least, in either mode: a mean of them is of no run
APART = 0.25  # of the way from chance to perfection, and three times the spread within the modes
DEVIATES = 0.1  # of the layers: by chance, beyond 4 standard deviations, next to none
MOST_SEEDS = 100  # that a remedy asks for
NEAREST = 3


def unstable(seen: Seen) -> list[Finding]:
    """Some seeds train and others don't, or train to something far worse."""
    classes = next((run["classes"] for run in seen.runs if run.get("classes")), None)
    if not classes or seen.setting.measure != "test_accuracy" or seen.n < 3 or not seen.learnt:
        return []  # untrained networks differ by chance
    tested = [run.get("test_accuracy") for run in seen.runs]
    accuracies = np.sort([1 / classes if each is None else float(each) for each in tested])
    place = int(np.diff(accuracies).argmax()) + 1
    low, high = accuracies[:place], accuracies[place:]
    gap, share = float(high[0] - low[-1]), len(low) / seen.n
    is_far = gap > max(APART * (1 - 1 / classes), max(np.ptp(low), np.ptp(high)))
    split = SHARE <= seen.unlearnt.value <= 1 - SHARE
    if not (split or (is_far and SHARE <= share <= 1 - SHARE)):
        return []
    lost = seen.unlearnt if split else inference.proportion(len(low), seen.n)
    said = (
        f"Of {seen.n} runs that differ in the seed alone {lost.value * seen.n:.0f} "
        f"{'learnt nothing' if split else f'reached at most {low[-1]:.0%}'} and the others up to {high[-1]:.0%}: a "
        "mean over seeds describes none of them."
    )
    evidence = (fact("runs in the lower mode", lost, threshold=SHARE), Fact("gap between modes", gap, "1", seen.n))
    where, source = Where(seen.label, share=lost.value), "Glorot & Bengio 2010"
    return [Finding("unstable", BREAKS, where, evidence, said, better_init(seen), source)]


def theory_deviates(seen: Seen) -> list[Finding]:
    """The flags of diagnostics/theory.py, of more layers than chance gives."""
    found = seen.untrained("theory_deviates")
    if found is None or found.values.mean() < DEVIATES:
        return []
    layer, _ = found.worst()
    share = average(found.values.mean(axis=1)).within(0, 1)
    facts, said = [fact("layers that deviate by more than 4 sd", share, threshold=DEVIATES)], []
    for name, words in (("pre_activation_rms", "size of z"), ("delta_ratio", "gradient’s factor")):
        pairs = [seen.untrained(each) for each in (name, f"{name}_theory")]
        if pairs[0] and pairs[1] and layer in pairs[0].layers and layer in pairs[1].layers:
            measured, expected = (float(each.mean[each.layers.index(layer)]) for each in pairs if each)
            facts.append(Fact(f"{words} in {layer}", measured, "1", share.n, theory=expected))
            said.append(f"{words} {measured:.2g}, theory {expected:.2g}")
    numbers = f" ({'; '.join(said)})" if said else ""
    words = (
        f"{share.value:.0%} of the layers deviate from mean-field theory by more than 4 standard deviations of layers "
        f"so wide, most often {layer}{numbers}: layers are narrow for the depth, or weights and inputs "
        "aren’t independent. Believe the measurement."
    )
    remedy = better_init(seen) if "critical" not in str(seen.option("names.init")) else wider(seen)
    where, source = Where(seen.label, layer, 0, share=share.value), "Hanin & Nica 2020: depth ÷ width"
    return [Finding("theory_deviates", NOTE, where, tuple(facts), words, remedy, source)]


def too_few_seeds(settings: Sequence[Setting]) -> list[Finding]:
    """Of the settings of each data set, whether so few seeds could ever show a difference, and how many would."""
    tasks: dict[tuple[str, str], list[Setting]] = {}
    for setting in settings:
        if len(setting.outcomes()) > 0:
            tasks.setdefault(setting.task, []).append(setting)
    return [finding for found in tasks.values() if len(found) > 1 for finding in _of_task(found)]


def _of_task(settings: Sequence[Setting]) -> list[Finding]:
    sign = 1 if settings[0].measure == "test_accuracy" else -1
    best, *others = sorted(settings, key=lambda each: -sign * float(np.mean(list(each.outcomes().values()))))
    pairs = len(settings) * (len(settings) - 1) // 2
    few = too_few_of({each.label: each.outcomes().keys() for each in settings})
    if not few:
        return []
    others = [each for each in others if best.label in few or each.label in few]
    where = best.label if best.label in few else others[0].label
    n = min(len(each.outcomes()) for each in settings)
    known = [(other, _seeds(best, other, pairs)) for other in others[:NEAREST]]
    shown = [each for each in known if each[1].n > 1]
    least = fewest(pairs)
    wanted = max([least, *(min(each.value, MOST_SEEDS) for _, each in shown[:1] if not math.isnan(each.value))])
    name = f"seeds for a power of {100 * POWER:.0f} %, {best.label} against"
    would_do = (fact(f"{name} {each.label}", N, "seeds") for each, N in shown)
    evidence = (Fact("seeds", n, "seeds", n, threshold=least), *would_do)
    more = f" and {len(few) - NEAREST} more" * (len(few) > NEAREST)
    which = "" if len(few) == len(settings) else f"{', '.join([*few][:NEAREST])}{more}: "
    said = f"{which}{next(iter(few.values()))}." + "".join(f" {_would_do(best, each, N)}" for each, N in shown)
    remedy = (_seeds_as_typed({seed for each in settings for seed in each.outcomes()}, int(wanted)),)
    return [Finding("too_few_seeds", NOTE, Where(where), evidence, said, remedy, "Fisher 1935; Cohen 1988: power 0.8")]


def _seeds_as_typed(known: Collection[int], wanted: int) -> str:
    """So many seeds: those that there are, and the next ones after the lowest.

    >>> _seeds_as_typed({0, 1, 2}, 6), _seeds_as_typed({5, 6}, 6), _seeds_as_typed({3, 17, 99}, 6)
    ('seed=range(6)', 'seed=range(5,11)', 'seed=3,4,5,6,17,99')
    """
    first = min(known)
    more = [seed for seed in range(first, first + wanted) if seed not in known]
    seeds = sorted([*known, *more[: max(0, wanted - len(known))]])[:wanted]
    if seeds[-1] - first >= wanted:
        return f"seed={','.join(map(str, seeds))}"
    return f"seed=range({first},{first + wanted})" if first else f"seed=range({wanted})"


def _seeds(best: Setting, other: Setting, pairs: int) -> Estimate:
    a, b = best.outcomes(), other.outcomes()
    common = sorted(a.keys() & b.keys())
    is_known = len(common) > 1 and are_paired(a, b)
    return seeds_needed([a[seed] - b[seed] for seed in common], pairs) if is_known else Estimate()


def _would_do(best: Setting, other: Setting, found: Estimate) -> str:
    if math.isnan(found.value):
        a, b = best.outcomes(), other.outcomes()
        how = "are equal" if all(a[seed] == b[seed] for seed in a.keys() & b.keys()) else "differ by the same"
        return f"{best.label} and {other.label} {how} in every seed{' that both have' * (a.keys() != b.keys())}."
    number = lambda value: f"{value:.0f}" if math.isfinite(value) else "more than 10,000"  # noqa: E731
    return (
        f"{best.label} against {other.label}: {number(found.value)} seeds show the difference seen, if it is one, with "
        f"a power of {POWER:.0%} ({number(found.low)} to {number(found.high)} by what {found.n} seeds leave open)."
    )
