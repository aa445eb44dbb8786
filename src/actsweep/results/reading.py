"""Run folders → runs: the summaries that they hold, each run folder once, and what a summary says.

Flow: **results** → setting. Without pandas, torch or Lightning.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from actsweep.config.descriptions import flat
from actsweep.results import run_folder
from actsweep.results.damage import fault
from actsweep.results.files import warn

Run = dict[str, Any]
OURS = {"act", "config"}  # what no result.json of another program has
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def natural(text: str) -> tuple[list[tuple[float, str]], str]:
    """Sorts "depth 4" before "depth 10", and layer_11 before layer_100."""
    parts = enumerate(NUMBER.split(text))
    return [(float(part), "") if index % 2 else (math.inf, part) for index, part in parts], text


def _folders(folders: Iterable[Path]) -> Iterator[tuple[Path, list[str]]]:
    """The folders, all below them, and the names of their files: each once, however it is reached; no hidden ones."""
    seen: set[str] = set()

    def unread(error: OSError) -> None:
        warn(f"{error}: what is in there is left out")

    for folder in folders:
        for root, below, files in os.walk(folder, followlinks=True, onerror=unread):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if (real := os.path.realpath(root)) in seen:
                below.clear()
            else:
                seen.add(real)
                yield Path(root), files


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """The summaries of all runs in or below the folders, sorted by path. Hidden folders hold runs moved aside."""
    paths = [folder for folder, files in _folders(folders) if run_folder.RESULT in files]
    summaries = ((path, _summary(path)) for path in sorted(paths, key=lambda path: natural(str(path))))
    return [summary | {"folder": str(folder)} for folder, summary in summaries if summary]


def _summary(folder: Path) -> Run | None:
    try:
        found = run_folder.read_result(folder)
    except OSError as error:
        warn(f"{error}: that run is left out")
        return None
    if not found or not found.keys() >= OURS:
        return None
    if why := fault(found):
        warn(f"{folder / run_folder.RESULT}: {why}: that run is left out")
    return None if why else found


def read_sweeps(folders: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """What each sweep in or below the folders noted of itself, by its folder."""
    paths = [folder for folder, files in _folders(folders) if run_folder.SWEEP in files]
    return {path: run_folder.read_sweep(path) for path in paths}


def texts(config: dict[str, Any]) -> dict[str, str]:
    """Nested configuration → dotted key → value as text, empty sections apart."""
    return {key: str(value) for key, value in flat(config).items() if value != {}}


def data_of(run: Run) -> str:
    """What a run was trained on, as JSON: its source's arguments, with the content's digest for where it lies."""
    source = dict((run["config"].get("data") or {}).get("source") or {})
    content = run["config"].get("content")
    return json.dumps(source | ({"root": content} if content else {}), sort_keys=True)


def status(run: Run) -> str:
    """How a run ended. One that was tested, but whose measure is not finite, has diverged."""
    measure = run.get("test_accuracy") if run.get("test_accuracy") is not None else run.get("test_loss")
    finite = measure is None or math.isfinite(measure)
    return str(run["status"]) if finite or run["status"] != "completed" else "diverged"


def measured_at(run: Run, recorded: Iterable[int]) -> int | None:
    """When the tested weights were measured: at the tested epoch, else in the latest one before it; None: never.

    What was measured later is of weights that were given up. Of a run that was not tested, the last epoch.
    """
    tested = run.get("best_epoch")
    before = [epoch for epoch in recorded if tested is None or epoch == tested or 0 < epoch < tested]
    return max(before, default=None)


def one_line(run: Run) -> str:
    """A run in one line, for the terminal."""
    if run["status"] == "failed":
        return f"{run['name']}: failed, {run['error']}"
    if run["status"] == "diverged":
        return f"{run['name']}: diverged in epoch {run['epochs']}, its loss is no longer finite"
    accuracy, loss = run["test_accuracy"], run["test_loss"]
    if "atlas" in run:
        why = run["atlas"].get("no_edge") or ": ".join(run["atlas"]["unfit"] or ())
        found = f"not measured: {why}" if accuracy is None else f"mean test accuracy {accuracy:.2%}"
        return f"{run['name']}: {found}, {run['seconds']:.1f} s"
    found = f"test loss {loss:.4g}" if accuracy is None else f"test accuracy {accuracy:.2%}"
    when = f"epoch {run['best_epoch']} of {run['epochs']}" if run["epochs"] else "untrained"
    return f"{run['name']}: {found}, {when}, {run['seconds']:.1f} s"
