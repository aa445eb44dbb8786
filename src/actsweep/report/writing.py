"""Run folders → tables, figures, one page: `python -m src.report FOLDER…`. Reads what runs left."""

import argparse
import gc
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from actsweep.config.command_line import stop
from actsweep.errors import UserError
from actsweep.places import command, door
from actsweep.report import as_data, as_text, figures, terminal, trial
from actsweep.report.frames import mean_of
from actsweep.report.summary import Summary, summarise
from actsweep.results import files, locks, ownership, run_folder
from actsweep.results.reading import Run, read_sweeps, status
from actsweep.results.reading import read_runs as read_runs  # for those who report
from actsweep.statistics import atlas
from actsweep.statistics.inference import trained
from actsweep.statistics.setting import Setting, labels, missing_of, settings_of
from actsweep.threads import forkable

RESULTS = run_folder.RESULTS
FORMS = (RESULTS, "report.json", "report.md", "results.tex")


def _found(run: Run) -> dict[str, Any]:
    """As numbers that can be averaged; and in which layers units are dead."""
    norms = (run if status(run) == "completed" else run.get("initial") or {}).get("grad_norm") or [None]
    accuracy, dead = run.get("test_accuracy"), run.get("dead_outputs")
    return {
        "test_loss": run.get("test_loss"),
        "trained": None if accuracy is None else trained(accuracy, run["classes"]),
        "grad_norm_first": norms[0],
        "grad_norm_last": norms[-1],
        "dead_fraction": mean_of(run.get("dead_fraction")),
        "saturated_fraction": mean_of(run.get("saturated_fraction")),
        "dead_outputs": " ".join(str(int(count)) for count in dead) if dead else None,
        "hidden_sizes": "-".join(map(str, run["hidden_sizes"])),
    }


def table_of(runs: Sequence[Run], settings: Sequence[Setting]) -> pd.DataFrame:
    """One row per run: what was varied, what was found, where it lies; of a repeated seed, which run counts for it."""
    counts = {id(run): first["folder"] for setting in settings for run, first in setting.repeats}
    rows = []
    for run, label in zip(runs, labels(runs), strict=True):
        repeats = counts.get(id(run))
        how = {"seed": run.get("seed"), "status": "repeated" if repeats else status(run)}
        how |= {key: run.get(key) for key in ("epochs", "best_epoch", "val_accuracy", "test_accuracy")}
        where = {key: run.get(key) for key in ("seconds", "device", "config_hash", "error", "folder")}
        rows.append(label | how | _found(run) | where | {"repeats": repeats})
    return pd.DataFrame(rows).astype({"epochs": "Int64", "best_epoch": "Int64"})  # also where some have none


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


def noted(runs: Sequence[Run], folders: Sequence[Path]) -> dict[str, Any]:
    """What is known of the sweeps themselves, their missing runs too."""
    sweeps = read_sweeps(folders)
    said = lambda key: dict.fromkeys(str(sweep[key]) for sweep in sweeps.values() if sweep.get(key))  # noqa: E731
    missing = missing_of(runs, sweeps)
    at_work = dict.fromkeys(filter(None, map(locks.holder, sweeps if missing else ())))
    return {key: " · ".join(said(key)) for key in ("question", "command")} | {
        "missing": missing,
        "at_work": " and ".join(at_work),
        "forget": "" if at_work else command("report", *folders, "--forget"),
    }


def content_of(folders: Sequence[Path]) -> dict[str, Any]:
    """What report.json holds, from the runs that are there now. Raises ValueError without any but an atlas'."""
    there = read_runs(folders)
    sweep, runs = noted(there, folders), [run for run in there if not atlas.is_of_atlas(run)]
    if there and not runs:
        made = command("report", *folders)
        raise ValueError(f"all runs here are an atlas', whose numbers are in atlas.csv and atlas.html: {made}")
    summary = summarise(settings_of(runs, sweep["missing"]), sweep)
    return as_data.report_of(summary, folders[0].resolve().name)


def write(runs: list[Run], folders: Sequence[Path], with_page: bool = True) -> Summary | None:
    """results.csv, report.json, report.md, results.tex, figures/ and report.html in the first folder; in the terminal
    the table by setting and the worst findings. None: all runs are the atlas'."""
    folder, sweep = folders[0], noted(runs, folders)
    of_atlas = [run for run in runs if atlas.is_of_atlas(run)]
    runs = [run for run in runs if not atlas.is_of_atlas(run)]
    settings = settings_of(runs, sweep["missing"])
    if of_atlas:
        write_atlas(of_atlas, settings, folder, with_page)
        if not runs:
            terminal.show_missing(sweep)
            return None
    for name in (*FORMS, *(["report.html"] if with_page else [])):  # before the first is written
        ownership.refuse_taken(*files.listed_at(folder / name))
    table = table_of(runs, settings)
    absent = [{"status": "missing", "folder": str(path)} for path in sweep["missing"]]
    text = table.to_csv(index=False) + pd.DataFrame(absent, columns=table.columns).to_csv(index=False, header=False)
    files.write_atomically(folder / RESULTS, text)
    with _drawing(_figures_of(runs), runs, folder):
        summary = summarise(settings, sweep)
        name = folder.resolve().name
        files.write_atomically(folder / "report.json", as_data.as_text(as_data.report_of(summary, name)))
        files.write_atomically(folder / "report.md", as_text.markdown(summary, name))
        files.write_atomically(folder / "results.tex", as_text.latex(summary))
        terminal.show(summary, folder / RESULTS)
        if with_page:
            from actsweep.report import page  # here, because plotly takes a second to import

            print(f"report: {page.write(summary, folder)}", flush=True)
    return summary


def write_atlas(runs: list[Run], others: Sequence[Setting], folder: Path, with_page: bool) -> None:
    """atlas.csv, atlas_excluded.csv, atlas.html; in the terminal, where a person's own functions stand among all.

    atlas_fashion.csv where the others hold functions on FashionMNIST; the page shows the committed one otherwise.
    """
    table, excluded = atlas.tables(runs)
    for name, each in (("atlas", table), ("atlas_excluded", excluded)):
        files.write_atomically(folder / f"{name}.csv", each.to_csv(index=False))
    everything, unfit, own = atlas.among_all(table, excluded)
    counts = f"{table['act'].nunique()} functions measured, {len(excluded)} could not be"
    print(f"{counts}: {folder / 'atlas.csv'}, {folder / 'atlas_excluded.csv'}")
    for line in atlas.places(everything, own):
        print(line)
    fashion = atlas.on_fashion(others)
    if fashion is not None:
        files.write_atomically(folder / atlas.FASHION.name, fashion.to_csv(index=False))
    if with_page and len(table):
        from actsweep.report import atlas as page  # here, as the other page

        fashion = pd.read_csv(atlas.FASHION) if fashion is None else fashion
        print(f"report: {page.write(everything, unfit, folder, own, fashion)}", flush=True)


def _figures_of(runs: Sequence[Run]) -> list[str]:
    """Which figures the runs ask for."""
    asked = dict.fromkeys(name for run in runs for name in run["config"].get("figures", []))
    if gone := asked.keys() - set(figures.known()):  # of another version, or of somebody else's checkout
        print(f"figure {', '.join(sorted(gone))}: there is no such figure here", file=sys.stderr)
    return [name for name in asked if name not in gone]


@contextmanager
def _drawing(names: Sequence[str], runs: Sequence[Run], folder: Path) -> Iterator[None]:
    """Draw the figures in two other processes while the context is open; first, where this one can't be forked."""
    if not forkable():
        written = len(figures.draw(names, runs, folder))
        yield
    else:
        if names:
            import_module("actsweep.report.drawing")  # matplotlib, once instead of in each
        context = multiprocessing.get_context("fork")
        counts = context.SimpleQueue()

        def work(share: Sequence[str]) -> None:
            gc.freeze()  # this process' garbage is the other's too, who writes what a file in it holds
            counts.put(len(figures.draw(share, runs, folder)))

        shares = [*names[::4], *names[3::4]], [*names[1::4], *names[2::4]]  # which last alike for the usual four
        processes = [context.Process(target=work, args=(share,)) for share in shares if share]
        sys.stdout.flush()
        for each in processes:
            each.start()
        try:
            yield
        finally:
            for each in processes:
                each.join()
        if failed := [each.exitcode for each in processes if each.exitcode]:
            raise stop(f"drawing the figures ended with exit code {failed[0]}", code=1)
        written = sum(counts.get() for _ in iter(counts.empty, True))
    if written:
        print(f"figures: {folder / figures.FOLDER}", flush=True)


def _try(summary: Summary | None, folder: Path) -> None:
    if summary is None:
        raise stop("--try: the atlas has no findings, whose remedies could be tried")
    found = trial.trials(summary.settings, summary.findings, folder)
    print(f"{len(found)} remedies are tried, a run each", flush=True)
    trial.run(found, folder)
    if failed := sum(each.failed for each in found):
        raise stop(f"{failed} of {len(found)} remedies could not be tried", code=1)


def _refuse(folders: Sequence[Path]) -> None:
    """End the program where one of several folders isn't there, or holds nothing."""
    for folder in folders:
        if not folder.is_dir():
            raise stop(f"{folder}: there is no such folder")
        if len(folders) > 1 and not (read_runs([folder]) or read_sweeps([folder])):
            raise _nothing_in([folder])


def _nothing_in(folders: Sequence[Path]) -> SystemExit:
    places = ", ".join(map(str, folders))
    if read_sweeps(folders):
        return stop(f"no run of the sweep in {places} has left a {run_folder.RESULT} yet")
    return stop(f"no {run_folder.RESULT} in {places}: give the folder of a sweep or a run")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=door("report"),
        description="results.csv, figures and the report of one or more sweeps, in the first folder.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a sweep's folder, or several")
    parser.add_argument("--forget", nargs="*", metavar="NAME", help="no longer expect these missing runs (none: any)")
    parser.add_argument(
        "--try", action="store_true", dest="tries", help="train one run of each finding with its remedy"
    )
    given = parser.parse_args()
    _refuse(given.folders)
    if given.forget is not None:
        names = forget(given.folders, given.forget)
        print(f"no longer expected: {', '.join(names) or 'nothing was missing'}")
    if runs := read_runs(given.folders):
        summary = write(runs, given.folders)
        if given.tries:
            _try(summary, given.folders[0])
    elif given.forget is None:
        raise _nothing_in(given.folders)
