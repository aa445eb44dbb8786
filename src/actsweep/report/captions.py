"""The ends of captions: how many runs a figure shows, how many it can't, and what that does to its means."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from actsweep.results.reading import Run
from actsweep.statistics.findings.seen import span
from actsweep.statistics.setting import Setting, chance, left_out, settings_of

LONG_ROW, MOST_LISTED = 4, 10  # seeds in a row that are shortened; how many are named


def listed(seeds: Iterable[int]) -> str:
    """Seeds in few words, however many there are.

    >>> listed([2, 0, 1]), listed([2000, *range(1000)]), listed(range(0, 99, 2))
    ('0, 1, 2', '0 to 999, 2000', '0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 40 others')
    """
    parts: list[tuple[str, int]] = []
    for _, pairs in groupby(enumerate(sorted(set(seeds))), lambda pair: pair[1] - pair[0]):
        row = [seed for _, seed in pairs]
        parts += [(f"{row[0]} to {row[-1]}", len(row))] if len(row) > LONG_ROW else [(str(seed), 1) for seed in row]
    others = sum(count for _, count in parts[MOST_LISTED:])
    return ", ".join(text for text, _ in parts[:MOST_LISTED]) + (f" and {others} others" if others else "")


def sample(
    runs: Sequence[Run], groups: Sequence[Setting], lowest_seed: bool = False, usable: Sequence[Setting] = ()
) -> str:
    """How many runs a figure shows, and how many it can't: the last sentences of its caption.

    `usable` are the settings with what the figure needs, where it shows only some of them.
    """
    shown = [group.completed[:1] if lowest_seed else group.completed for group in groups]
    seeds, n = listed(run["seed"] for each in shown for run in each), span([*map(len, shown)])
    which = f"seed {seeds}" if seeds.isdigit() else f"seeds {seeds}"
    if lowest_seed and any(len(group.completed) > 1 for group in groups):
        which += ", the lowest"
    per = f" per setting, {len(groups)} settings" if len(groups) > 1 else ""
    used = sum(len(group.completed) for group in usable or groups)
    return f"n = {n} {'run' if n == '1' else 'runs'} ({which}){per}." + left_out(settings_of(runs), used)


def with_diverged(groups: Sequence[Setting]) -> str:
    """The means of the settings of which runs diverged, if those are counted too: a sentence for the caption."""
    said: dict[str, list[str]] = {}
    for group in groups:
        stands = chance(group, groups)
        if group.diverged and stands is not None:
            values = list(group.outcomes(stands).values())
            mean = sum(values) / len(values)
            is_accuracy = group.measure == "test_accuracy"
            number = f"{100 * mean:.2f} %" if is_accuracy else f"{mean:.3g}"
            how = "as chance" if is_accuracy else "with the highest loss of all"
            said.setdefault(how, []).append(f"{group.label} {number} (n = {len(values)})")
    return "".join(f"Means with diverged runs counted {how}: {', '.join(means)}. " for how, means in said.items())


def room(shown: int, of: int, what: str = "settings", more: str = "") -> str:
    """A sentence about what a figure has no room for; nothing if it has."""
    return f"The first {shown} of {of} {what} are shown{more}. " if shown < of else ""
