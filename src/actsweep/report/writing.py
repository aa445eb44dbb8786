"""Run folders → tables, figures, one page: `python -m src.report FOLDER…`. Reads what runs left, never training code.

Flow: statistics → **report**.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from actsweep.config.command_line import stop
from actsweep.errors import UserError
from actsweep.places import command, door
from actsweep.report import figures
from actsweep.report.frames import endings, mean_of
from actsweep.results import files, locks, run_folder
from actsweep.results.reading import Run, read_sweeps
from actsweep.results.reading import read_runs as read_runs  # for those who report
from actsweep.statistics import atlas
from actsweep.statistics.inference import trained
from actsweep.statistics.setting import Setting, chance, labels, missing_of, repetitions, settings_of
from actsweep.threads import forkable

RESULTS = run_folder.RESULTS
TOLD = ("question", "command")
COUNTED = {"n": "completed"} | {name: name for name in ("diverged", "failed", "missing", "repeated")}
AVERAGED = ("test_loss", "epochs", "grad_norm_first", "grad_norm_last", "dead_fraction")


def _found(run: Run) -> dict[str, Any]:
    """What a run found, in numbers that can be averaged."""
    norms = (run if run["status"] == "completed" else run.get("initial") or {}).get("grad_norm") or [None]
    accuracy = run["test_accuracy"]
    return {
        "test_loss": run.get("test_loss"),
        "trained": None if accuracy is None else trained(accuracy, run["classes"]),
        "grad_norm_first": norms[0],
        "grad_norm_last": norms[-1],
        "dead_fraction": mean_of(run.get("dead_fraction")),
        "saturated_fraction": mean_of(run.get("saturated_fraction")),
    }


def table_of(runs: Sequence[Run], settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per run: what was varied, what was found, where it lies; of a repeated seed, which run counts for it."""
    counts = {id(run): first["folder"] for setting in settings for run, first in setting.repeats}
    rows = []
    for run, label in zip(runs, labels(runs), strict=True):
        dead, repeats = run.get("dead_outputs"), counts.get(id(run))
        rows.append(
            label
            | {key: run.get(key) for key in ("seed", "status", "epochs", "best_epoch", "val_accuracy", "test_accuracy")}
            | ({"status": "repeated"} if repeats else {})
            | _found(run)
            | {
                "dead_outputs": " ".join(str(int(count)) for count in dead) if dead else None,
                "hidden_sizes": "-".join(map(str, run["hidden_sizes"])),
                **{key: run.get(key) for key in ("seconds", "device", "config_hash", "error", "folder")},
                "repeats": repeats,
            }
        )
    return pd.DataFrame(rows)


def by_setting(settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per setting: n of each status, and mean ± std over completed runs; then with diverged ones as chance."""
    rows = []
    for setting in settings:
        found = [{"epochs": run.get("epochs")} | _found(run) for run in setting.completed]
        numbers = pd.DataFrame(found, columns=["trained", *AVERAGED]).astype(float)
        row: dict[str, Any] = dict(setting.values)
        row |= {name: len(getattr(setting, of)) for name, of in COUNTED.items()}
        row["trained"] = int(numbers["trained"].sum())
        for name, diverged in (("test_accuracy", None), ("accuracy_or_chance", chance(setting, settings))):
            values = setting.outcomes(diverged) if setting.measure == "test_accuracy" else {}
            accuracies = pd.Series(values, dtype=float)
            row |= {f"{name}_mean": accuracies.mean(), f"{name}_std": accuracies.std()}
        rows.append(row | numbers[[*AVERAGED]].mean().to_dict())
    return pd.DataFrame(rows)


def show(summary: pd.DataFrame, console: Console) -> None:
    """Print the table by setting."""
    keys = list(summary.columns[: summary.columns.get_loc("n")])
    lacking = [name for name in COUNTED if name != "n" and summary[name].any()]
    diverged = summary["diverged"].any() and summary["accuracy_or_chance_mean"].notna().any()
    table = Table(
        *keys, "n", "trained", "test accuracy %", *(["diverged as chance %"] if diverged else []),
        "test loss", "epochs", "grad_norm first", "last", "dead", *(["left out"] if lacking else []),
        caption="mean ± standard deviation over the n completed runs"
        + ("; then with diverged runs counted as chance; trained: of both" if diverged else ""),
    )  # fmt: skip
    forms = {"test_loss": ".3g", "epochs": ".1f", "grad_norm_first": ".1e", "grad_norm_last": ".1e"}
    for row in summary.to_dict("records"):
        table.add_row(
            *(str(row[key]) for key in (*keys, "n")),
            f"{row['trained']}/{row['n'] + row['diverged']}",
            *(_percent(row, name) for name in ("test_accuracy", "accuracy_or_chance")[: 1 + bool(diverged)]),
            *(_cell(row[name], form) for name, form in (forms | {"dead_fraction": ".1%"}).items()),
            *([", ".join(f"{row[name]} {name}" for name in lacking if row[name])] if lacking else []),
        )
    console.print(table)


def _percent(row: dict[Any, Any], name: str) -> str:
    mean, std = 100 * row[f"{name}_mean"], 100 * row[f"{name}_std"]
    return _cell(mean, ".2f") + ("" if pd.isna(std) else f" ± {std:.2f}")


def _cell(value: float, form: str) -> str:
    return "–" if pd.isna(value) else format(value, form)


def facts(sweeps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What sweeps asked and were started with, taken together."""
    return {key: " · ".join(dict.fromkeys(str(sweep[key]) for sweep in sweeps if sweep.get(key))) for key in TOLD}


def statuses(settings: Sequence[Setting], missing: Sequence[Path]) -> str:
    """How many runs there should be, and what became of them, in words; a seed of a setting is one run."""
    found = endings(settings, missing)
    named = [f"{len(names)} {ended}" for ended, names in found.items() if names]
    return f"{sum(map(len, found.values()))} runs expected: {', '.join(named)}"


def forget(folders: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Take missing runs, all or the named ones, from what the folders' sweeps expect; returns their names."""
    there = {Path(run["folder"]).resolve() for run in read_runs(folders)}
    forgotten: dict[str, None] = {}
    for folder in read_sweeps(folders):
        with locks.held(folder):  # what a sweep at work has not begun yet is not missing
            sweep = run_folder.read_sweep(folder)
            absent = [name for name in sweep.get("expected") or [] if (folder / name).resolve() not in there]
            gone = dict.fromkeys(name for name in absent if not names or name in names)
            kept = [name for name in sweep.get("expected") or [] if name not in gone]
            if gone:
                files.write_atomically(folder / run_folder.SWEEP, files.as_json(sweep | {"expected": kept}))
            forgotten |= gone
    if unknown := [name for name in names if name not in forgotten]:
        places = ", ".join(map(str, folders))
        raise UserError(f"--forget {' '.join(unknown)}: no missing run of {places}; the report names those there are")
    return list(forgotten)


def write(runs: list[Run], folders: Sequence[Path], with_page: bool = True) -> None:
    """results.csv, figures/ and report.html in the first folder, and the table by setting in the terminal."""
    if of_atlas := [run for run in runs if atlas.is_of_atlas(run)]:
        write_atlas(of_atlas, folders[0])
        runs = [run for run in runs if not atlas.is_of_atlas(run)]
        if not runs:
            return
    folder, sweeps = folders[0], read_sweeps(folders)
    absent = missing_of(runs, sweeps)
    settings = settings_of(runs, absent)
    table = table_of(runs, settings)
    rows = pd.DataFrame([{"status": "missing", "folder": str(path)} for path in absent], columns=table.columns)
    text = table.to_csv(index=False) + rows.to_csv(index=False, header=False)
    files.write_atomically(folder / run_folder.RESULTS, text)
    console = Console()
    show(by_setting(settings), console if console.is_terminal else Console(width=120))
    print("; ".join(filter(None, (statuses(settings, absent), repetitions(settings), str(folder / RESULTS)))))
    sweep = facts(list(sweeps.values())) | {"missing": absent, "forget": forgetting(folders)}
    if absent:
        print(f"missing: {', '.join(path.name for path in absent)}; if they are not wanted: {sweep['forget']}")
    with _beside(_draw, runs, folder):
        if with_page:
            from actsweep.report import page  # here, because plotly takes a second to import

            print(f"report: {page.write(runs, folder, sweep)}", flush=True)


def write_atlas(runs: list[Run], folder: Path) -> None:
    """atlas.csv and atlas_excluded.csv; in the terminal, where a person's own functions stand among all."""
    table, excluded = atlas.tables(runs)
    for name, each in (("atlas", table), ("atlas_excluded", excluded)):
        files.write_atomically(folder / f"{name}.csv", each.to_csv(index=False))
    everything, own = atlas.among_all(table)
    counts = f"{table['act'].nunique()} functions measured, {len(excluded)} could not be"
    print(f"{counts}: {folder / 'atlas.csv'}, {folder / 'atlas_excluded.csv'}")
    for line in atlas.places(everything, own):
        print(line)


def forgetting(folders: Sequence[Path]) -> str:
    """The command after which missing runs are no longer expected."""
    return command("report", *folders, "--forget")


def _draw(runs: list[Run], folder: Path) -> None:
    asked = dict.fromkeys(name for run in runs for name in run["config"].get("figures", []))
    if asked and figures.draw(asked, runs, folder):
        print(f"figures: {folder / figures.FOLDER}", flush=True)


@contextmanager
def _beside(work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Do the work in another process while the context is open; first, where this one can't be forked."""
    if not forkable():
        work(*arguments)
        yield
        return
    sys.stdout.flush()
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    try:
        yield
    finally:
        process.join()
    if process.exitcode:
        raise stop(f"drawing the figures ended with exit code {process.exitcode}", code=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=door("report"),
        description="results.csv, figures and report.html of one or more sweeps, in the first folder.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a sweep's folder, or several")
    parser.add_argument("--forget", nargs="*", metavar="NAME", help="no longer expect these missing runs (none: any)")
    given = parser.parse_args()
    if given.forget is not None:
        names = forget(given.folders, given.forget)
        print(f"no longer expected: {', '.join(names) or 'nothing was missing'}")
    if runs := read_runs(given.folders):
        write(runs, given.folders)
    elif given.forget is None:
        raise stop(
            f"no {run_folder.RESULT} in {', '.join(map(str, given.folders))}: give the folder of a sweep or a run"
        )
