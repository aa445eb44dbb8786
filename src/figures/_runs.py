"""What the figures read: runs grouped by setting, and the tables in their folders."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.report import settings_of

Run = dict[str, Any]
LONG_ROW, MOST_LISTED = 4, 10  # seeds in a row that are shortened; how many are named
ACTS = ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
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


@dataclass(frozen=True)
class Setting:
    """Completed runs that differ in their seed only, by seed; `rest` is what else than the activation varies."""

    act: str
    rest: str
    runs: tuple[Run, ...]
    diverged: int = 0
    failed: int = 0

    @property
    def label(self) -> str:
        return f"{self.act}, {self.rest}" if self.rest else self.act

    @property
    def label_with_broken(self) -> str:
        """The label, and how many more runs of this setting did not complete."""
        broken = [f"{count} {what}" for count, what in ((self.diverged, "diverged"), (self.failed, "failed")) if count]
        return f"{self.label} ({', '.join(broken)})" if broken else self.label

    @property
    def first(self) -> Run:
        """The run with the lowest seed."""
        return self.runs[0]


def act_order(act: str) -> tuple[int, str]:
    """Sorts the six main activations first, in the order of the tutorials."""
    return (ACTS.index(act) if act in ACTS else len(ACTS), act)


def _natural(text: str) -> list[tuple[float, str]]:
    """Sorts "depth 4" before "depth 10"."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", text)
    return [(float(part), "") if index % 2 else (math.inf, part) for index, part in enumerate(parts)]


def settings(runs: Sequence[Run]) -> list[Setting]:
    """All settings, also those of which no run completed, by what varies besides the activation, then by activation."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run, label in zip(runs, settings_of(list(runs)), strict=True):
        rest = ", ".join(f"{key} {value}" for key, value in label.items() if key != "act" and value.lower() != "none")
        groups.setdefault((label["act"], rest), []).append(run)
    found = []
    for (act, rest), group in groups.items():
        by_status = {
            status: [run for run in group if run["status"] == status] for status in ("completed", "diverged", "failed")
        }
        completed = tuple(sorted(by_status["completed"], key=lambda run: run["seed"]))
        found.append(Setting(act, rest, completed, len(by_status["diverged"]), len(by_status["failed"])))
    return sorted(found, key=lambda each: (_natural(each.rest), act_order(each.act)))


def keep(groups: Iterable[Setting], wanted: Callable[[Run], bool], otherwise: str) -> list[Setting]:
    """The settings' runs for which `wanted(run)`. Raises ValueError, `otherwise`, if none is left."""
    kept = [replace(group, runs=tuple(run for run in group.runs if wanted(run))) for group in groups]
    if not any(group.runs for group in kept):
        raise ValueError(otherwise)
    return [group for group in kept if group.runs]


def with_table(runs: Sequence[Run], name: str) -> list[Setting]:
    """The settings' completed runs whose folder has NAME.csv. Raises ValueError that says what to do if none has."""
    missing = f"no completed run has {name}.csv: {SWITCH_ON[name]}"

    def has(run: Run) -> bool:
        trained = (
            run["epochs"] > 0 or name != "epochs"
        )  # an untrained network was validated, which is no learning curve
        return trained and Path(run["folder"], f"{name}.csv").is_file()

    return keep(settings(runs), has, missing)


def table(run: Run, name: str) -> pd.DataFrame:
    """NAME.csv of a run's folder."""
    return pd.read_csv(Path(run["folder"], f"{name}.csv"))


def layer_number(layer: str) -> int:
    """layer_03 → 3."""
    return int(layer.rpartition("_")[2])


def tested_epoch(run: Run, recorded: Iterable[int]) -> int:
    """The epoch whose weights were tested, or the last recorded one."""
    epochs = sorted(recorded)
    best = run.get("best_epoch")
    return best if best in epochs else epochs[-1]


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
    used = [run for group in groups for run in (group.runs[:1] if lowest_seed else group.runs)]
    seeds = listed({run["seed"] for run in used})
    sizes = sorted({1 if lowest_seed else len(group.runs) for group in groups})
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    which = f"seed {seeds}" if seeds.isdigit() else f"seeds {seeds}"
    if lowest_seed and any(len(group.runs) > 1 for group in groups):
        which += ", the lowest"
    runs_word = "run" if n == "1" else "runs"
    per = f" per setting, {len(groups)} settings" if len(groups) > 1 else ""
    text = f"n = {n} {runs_word} ({which}){per}."
    completed = sum(run["status"] == "completed" for run in runs)
    left_out = {status: sum(run["status"] == status for run in runs) for status in ("diverged", "failed")}
    left_out["completed without these numbers"] = completed - sum(len(group.runs) for group in usable or groups)
    named = [f"{count} {what}" for what, count in left_out.items() if count]
    return text + (f" Left out: {', '.join(named)}." if named else "")


def loss_unit(runs: Iterable[Run]) -> str:
    """The unit of these runs' losses: nats, or in regressions the square of the labels' unit."""
    losses = {run["config"].get("loss", "cross_entropy") for run in runs}
    return "label²" if losses == {"mse"} else "nats"
