"""What the figures read: the runs of settings, and the tables in their folders."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from actsweep.errors import UserError
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, chance, left_out, settings_of

LONG_ROW, MOST_LISTED = 4, 10  # seeds in a row that are shortened; how many are named
SWITCH_ON = {
    "epochs": "train for at least one epoch",
    "layers": "switch on diagnostics=[gradients]",
    "histograms": "switch on diagnostics=[histograms]",
    "curves": "switch on diagnostics=[curve]",
    "steps": "switch on diagnostics=[steps]",
    "examples": "switch on diagnostics=[per_example]",
    "regions": "switch on diagnostics=[regions]",
    "predictions": "switch on diagnostics=[predictions]",
}


def keep(groups: Iterable[Setting], wanted: Callable[[Run], bool], otherwise: str) -> list[Setting]:
    """The settings' completed runs for which `wanted(run)`. Raises UserError, `otherwise`, if none is left."""
    kept = [replace(group, completed=tuple(run for run in group.completed if wanted(run))) for group in groups]
    if not any(group.completed for group in kept):
        raise UserError(otherwise)
    return [group for group in kept if group.completed]


def with_table(runs: Sequence[Run], name: str) -> list[Setting]:
    """The settings' completed runs whose folder has NAME.csv. Raises UserError that says what to do if none has."""
    missing = f"no completed run has {name}.csv: {SWITCH_ON[name]}"

    def has(run: Run) -> bool:
        trained = (
            run["epochs"] > 0 or name != "epochs"
        )  # an untrained network was validated, which is no learning curve
        return trained and Path(run["folder"], f"{name}.csv").is_file()

    return keep(settings_of(runs), has, missing)


def table(run: Run, name: str) -> pd.DataFrame:
    """NAME.csv of a run's folder."""
    return pd.read_csv(Path(run["folder"], f"{name}.csv"))


def layer_number(layer: str) -> int:
    """layer_03 → 3."""
    return int(layer.rpartition("_")[2])


def listed(seeds: Iterable[int]) -> str:
    """Seeds in few words, however many there are.

    >>> listed([2, 0, 1]), listed([2000, *range(1000)]), listed(range(0, 99, 2))
    ('0, 1, 2', '0 to 999, 2000', '0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 40 others')
    """
    rows: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if rows and seed == rows[-1][-1] + 1:
            rows[-1].append(seed)
        else:
            rows.append([seed])
    parts: list[tuple[str, int]] = []
    for row in rows:
        parts += [(f"{row[0]} to {row[-1]}", len(row))] if len(row) > LONG_ROW else [(str(seed), 1) for seed in row]
    others = sum(count for _, count in parts[MOST_LISTED:])
    return ", ".join(text for text, _ in parts[:MOST_LISTED]) + (f" and {others} others" if others else "")


def sample(
    runs: Sequence[Run], groups: Sequence[Setting], lowest_seed: bool = False, usable: Sequence[Setting] = ()
) -> str:
    """How many runs a figure shows, and how many it can't: the last sentences of its caption.

    `usable` are the settings with what the figure needs, where it shows only some of them.
    """
    used = [run for group in groups for run in (group.completed[:1] if lowest_seed else group.completed)]
    seeds = listed({run["seed"] for run in used})
    sizes = sorted({1 if lowest_seed else len(group.completed) for group in groups})
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    which = f"seed {seeds}" if seeds.isdigit() else f"seeds {seeds}"
    if lowest_seed and any(len(group.completed) > 1 for group in groups):
        which += ", the lowest"
    runs_word = "run" if n == "1" else "runs"
    per = f" per setting, {len(groups)} settings" if len(groups) > 1 else ""
    used_at_all = sum(len(group.completed) for group in usable or groups)
    return f"n = {n} {runs_word} ({which}){per}." + left_out(settings_of(runs), used_at_all)


def with_diverged(groups: Sequence[Setting]) -> str:
    """The means of the settings of which runs diverged, if those are counted too: a sentence for the caption."""
    told = []
    for group in groups:
        stands = chance(group, groups)
        if group.diverged and stands is not None:
            values = list(group.outcomes(stands).values())
            mean, of = sum(values) / len(values), f"{group.label} {{}} (n = {len(values)})"
            told.append(of.format(f"{100 * mean:.2f} %" if group.measure == "test_accuracy" else f"{mean:.3g}"))
    regressions = any(group.measure == "test_loss" for group in groups)
    how = "with the highest loss of all" if regressions else "as chance"
    return f"Means with diverged runs counted {how}: {', '.join(told)}. " if told else ""


def loss_unit(runs: Iterable[Run]) -> str:
    """The unit of these runs' losses: nats, or in regressions the square of the labels' unit."""
    losses = {run["config"].get("loss", "cross_entropy") for run in runs}
    return "label²" if losses == {"mse"} else "nats"
