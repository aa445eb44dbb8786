"""Run folders → tables, figures, one page: `python -m src.report FOLDER…`. Reads what runs left, never training code.

Flow: statistics → **report**.
"""

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from src import figures, files, results
from src.command_line import one_line_errors, stop
from src.statistics import trained

RESULTS = results.RESULTS
TOLD = ("question", "command")
CHANGES_NOTHING = {"report", "figures", "trainer.enable_progress_bar"}  # of what a run finds


def read_runs(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The summaries of all runs in or below the folders, sorted by path."""
    paths = sorted({path for folder in folders for path in folder.rglob(results.RESULT)})
    summaries = ((path.parent, results.read_result(path.parent)) for path in paths)
    return [summary | {"folder": str(folder)} for folder, summary in summaries if summary]


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested configuration → dotted key → value as text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def varied(runs: list[dict[str, Any]]) -> list[str]:
    """The configuration keys, other than the seed, whose values differ between runs; `names.act` stands for `act.*`."""
    configs = [_flat(run["config"]) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config if key not in CHANGES_NOTHING)
    differing = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    named = {key.removeprefix("names.") for key in differing if key.startswith("names.")}
    own = [key for key in differing if key.partition(".")[0] not in named | {"seed"}]
    return [key for key in own if key == "names.act" or not _follows_from_act(key, configs)]


def _follows_from_act(key: str, configs: list[dict[str, str]]) -> bool:
    """Whether a key's value is a matter of the activation alone, so that naming the activation names it."""
    values = {(config["names.act"], config.get(key)) for config in configs}
    return len(values) == len({config["names.act"] for config in configs})


def settings_of(runs: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What distinguishes each run from the others, seed apart, under short names; always its activation."""
    shapes = {(run["depth"], tuple(run["hidden_sizes"])) for run in runs}
    named_by_depth = len(shapes) == len({depth for depth, _ in shapes})
    unsaid = {"names.act", "hidden_sizes"} if named_by_depth else {"names.act"}
    keys = [key for key in varied(runs) if key not in unsaid]
    labels = []
    for run in runs:
        flat = _flat(run["config"])
        label = {"act": run["act"], "depth": str(run["depth"])}
        label |= {key.removeprefix("names.").rpartition(".")[2]: flat.get(key, "") for key in keys}
        labels.append(label)
    if len({run["depth"] for run in runs}) == 1:
        for label in labels:
            del label["depth"]
    return labels


def _ends(values: list[float | None] | None) -> tuple[float | None, float | None]:
    return (values[0], values[-1]) if values else (None, None)


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def table_of(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per run: what was varied, what was found, where it lies."""
    rows = []
    for run, label in zip(runs, settings_of(runs), strict=True):
        completed = run["status"] == "completed"
        accuracy = run["test_accuracy"]
        first, last = _ends(run.get("grad_norm") if completed else (run.get("initial") or {}).get("grad_norm"))
        dead = run.get("dead_outputs")
        rows.append(
            label
            | {key: run.get(key) for key in ("seed", "status", "epochs", "best_epoch", "val_accuracy", "test_accuracy")}
            | {
                "test_loss": run.get("test_loss"),
                "trained": None if accuracy is None else trained(accuracy, run["classes"]),
                "grad_norm_first": first,
                "grad_norm_last": last,
                "dead_fraction": _mean(run.get("dead_fraction")),
                "saturated_fraction": _mean(run.get("saturated_fraction")),
                "dead_outputs": " ".join(str(int(count)) for count in dead) if dead else None,
                "hidden_sizes": "-".join(map(str, run["hidden_sizes"])),
                **{key: run.get(key) for key in ("seconds", "device", "config_hash", "error", "folder")},
            }
        )
    return pd.DataFrame(rows)


def by_setting(table: pd.DataFrame) -> pd.DataFrame:
    """One row per setting: n of each status, and mean ± std over completed runs only."""
    keys = list(table.columns[: table.columns.get_loc("seed")])  # type: ignore[misc]
    rows = []
    for values, group in table.groupby(keys, sort=False, dropna=False):
        done = group[group["status"] == "completed"]
        rows.append(
            dict(zip(keys, values, strict=True))
            | {
                "n": len(done),
                "diverged": int((group["status"] == "diverged").sum()),
                "failed": int((group["status"] == "failed").sum()),
                "trained": int(done["trained"].eq(True).sum()),
                "test_accuracy_mean": done["test_accuracy"].astype(float).mean(),
                "test_accuracy_std": done["test_accuracy"].astype(float).std(),
                **{
                    name: done[name].astype(float).mean()
                    for name in ("test_loss", "epochs", "grad_norm_first", "grad_norm_last", "dead_fraction")
                },
            }
        )
    return pd.DataFrame(rows)


def show(summary: pd.DataFrame, console: Console) -> None:
    """Print the table by setting."""
    keys = list(summary.columns[: summary.columns.get_loc("n")])  # type: ignore[misc]
    headings = [*keys, "n", "trained", "test accuracy %", "test loss", "epochs", "grad_norm first", "last", "dead"]
    broken = summary["diverged"].sum() or summary["failed"].sum()
    table = Table(
        *headings,
        *(["diverged", "failed"] if broken else []),
        caption="mean ± standard deviation over the n completed runs",
    )
    for row in summary.to_dict("records"):
        mean, std = 100 * row["test_accuracy_mean"], 100 * row["test_accuracy_std"]
        cells = [
            *(str(row[key]) for key in keys),
            str(row["n"]),
            f"{row['trained']}/{row['n']}",
            _cell(mean, ".2f") + ("" if pd.isna(std) else f" ± {std:.2f}"),
            *(
                _cell(row[name], digits)
                for name, digits in (
                    ("test_loss", ".3g"),
                    ("epochs", ".1f"),
                    ("grad_norm_first", ".1e"),
                    ("grad_norm_last", ".1e"),
                    ("dead_fraction", ".1%"),
                )
            ),
            *([str(row["diverged"]), str(row["failed"])] if broken else []),
        ]
        table.add_row(*cells)
    console.print(table)


def _cell(value: float, form: str) -> str:
    return "–" if pd.isna(value) else format(value, form)


def one_line(run: dict[str, Any]) -> str:
    """A run in one line, for the terminal."""
    if run["status"] == "failed":
        return f"{run['name']}: failed, {run['error']}"
    if run["status"] == "diverged":
        return f"{run['name']}: diverged in epoch {run['epochs']}, its loss is no longer finite"
    accuracy, loss = run["test_accuracy"], run["test_loss"]
    found = f"test loss {loss:.4g}" if accuracy is None else f"test accuracy {accuracy:.2%}"
    when = f"epoch {run['best_epoch']} of {run['epochs']}" if run["epochs"] else "untrained"
    return f"{run['name']}: {found}, {when}, {run['seconds']:.1f} s"


def sweep_of(folders: list[Path]) -> dict[str, Any]:
    """What the folders' sweeps asked, were started with and expected, taken together."""
    sweeps = [sweep for folder in folders if (sweep := results.read_sweep(folder))]
    together = {key: " · ".join(dict.fromkeys(str(sweep[key]) for sweep in sweeps if sweep.get(key))) for key in TOLD}
    return together | {"expected": [name for sweep in sweeps for name in sweep.get("expected", [])]}


def missing(runs: list[dict[str, Any]], folders: list[Path]) -> list[Path]:
    """Folders of the runs that the folders' sweeps expect and that left no result: not begun, or interrupted."""
    found = {Path(run["folder"]).resolve() for run in runs}
    expected = [folder / name for folder in folders for name in results.read_sweep(folder).get("expected") or []]
    return [path for path in expected if path.resolve() not in found]


def statuses(runs: list[dict[str, Any]], absent: int) -> str:
    """How many runs there should be, and what became of them, in words.

    >>> statuses([{"status": "completed"}, {"status": "failed"}], 1)
    '3 runs expected: 1 completed, 1 failed, 1 missing'
    """
    counts = Counter(run["status"] for run in runs) + Counter(missing=absent)
    named = [f"{counts[name]} {name}" for name in ("completed", "diverged", "failed", "missing") if counts[name]]
    return f"{counts.total()} runs expected: {', '.join(named)}"


def write(runs: list[dict[str, Any]], folders: list[Path], with_page: bool = True) -> None:
    """results.csv, figures/ and report.html in the first folder, and the table by setting in the terminal."""
    folder = folders[0]
    table, absent = table_of(runs), missing(runs, folders)
    rows = pd.DataFrame([{"status": "missing", "folder": str(path)} for path in absent], columns=table.columns)
    text = table.to_csv(index=False) + rows.to_csv(index=False, header=False)
    files.write_atomically(folder / results.RESULTS, text)
    console = Console()
    show(by_setting(table), console if console.is_terminal else Console(width=120))
    print(f"{statuses(runs, len(absent))}; {folder / results.RESULTS}")
    with _beside(_draw, runs, folder):
        if with_page:
            from src import page  # here, because plotly takes a second to import

            print(f"report: {page.write(runs, folder, sweep_of(folders))}", flush=True)


def _draw(runs: list[dict[str, Any]], folder: Path) -> None:
    asked = dict.fromkeys(name for run in runs for name in run["config"].get("figures", []))
    if asked and figures.draw(asked, runs, folder):
        print(f"figures: {folder / figures.FOLDER}", flush=True)


@contextmanager
def _beside(work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Do the work in another process while the context is open; first, where torch's threads forbid to fork."""
    if "torch" in sys.modules or "fork" not in multiprocessing.get_all_start_methods():
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
        prog="python -m src.report",
        description="results.csv, figures and report.html of one or more sweeps, in the first folder.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a sweep's folder, or several")
    folders = parser.parse_args().folders
    runs = read_runs(folders)
    if not runs:
        raise stop(f"no {results.RESULT} in {', '.join(map(str, folders))}: give the folder of a sweep or a run")
    write(runs, folders)


if __name__ == "__main__":
    with one_line_errors():
        main()
