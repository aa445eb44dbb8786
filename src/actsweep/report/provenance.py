"""Where the page's numbers come from: commands, versions, machines, configurations, and the run folders themselves."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from actsweep.report import wording
from actsweep.report.tasks import Task
from actsweep.results.reading import Run, status

MOST_VALUES = 12


def link(folder: str, page: Path) -> str:
    """From the page to a run's folder. The leading dot: a name with a colon must not read as a scheme."""
    return "./" + quote(os.fsencode(os.path.relpath(folder, page))) + "/"


def _counts(values: Sequence[str]) -> list[str]:
    """Each value and of how many runs it is, most frequent first."""
    counts = Counter(values).most_common()
    facts = [f"{value} ({wording.counted(n, 'run')})" if len(counts) > 1 else value for value, n in counts]
    return facts if len(facts) <= MOST_VALUES else [*facts[:MOST_VALUES], f"{len(facts) - MOST_VALUES} more"]


def facts(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Heading → what the runs say."""
    versions = [", ".join(f"{name} {is_}" for name, is_ in (run.get("versions") or {}).items()) for run in runs]
    seconds = [float(run["seconds"]) for run in runs if run.get("seconds") is not None]
    total = f"{wording.duration(sum(seconds))}, summed over {wording.counted(len(seconds), 'run')}"
    return [
        ("git revision", _counts([str(run.get("git") or "unknown") for run in runs])),
        ("versions", _counts([each or "unknown" for each in versions])),
        ("machine", _counts([str(run.get("machine") or "unknown") for run in runs])),
        ("device", _counts([str(run["device"]) for run in runs if run.get("device")])),
        ("time", [total] if seconds else ["unknown"]),
    ]


def differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Configuration key → its values, of those that differ between runs."""
    flat = pd.json_normalize([run["config"] for run in runs], sep=".").astype(object)
    text = flat.map(lambda value: "unset" if value is None or value != value else str(value))
    return [(str(key), _counts(text[key].tolist())) for key in text if text[key].nunique() > 1]


def run_rows(tasks: Sequence[Task], page: Path) -> list[dict[str, Any]]:
    """One row per run, with a link to its folder."""
    return [
        {
            "name": run["name"],
            "href": link(run["folder"], page),
            "setting": group.label,
            "seed": run["seed"],
            "status": "repeated" if run in group.repeated else status(run),
            "value": "–" if (value := task.value(run)) is None else task.metric.with_unit(value),
            "sort": value,
            "epochs": run.get("epochs"),
            "seconds": run.get("seconds"),
        }
        for task in tasks
        for group in task.settings
        for run in (*group.runs, *group.repeated)
    ]


def failures(runs: Sequence[Run], page: Path) -> list[dict[str, str]]:
    """The runs that failed, and why, in one line."""
    failed = [(run, " ".join(str(run.get("error") or "unknown").split())) for run in runs if run["status"] == "failed"]
    return [
        {"name": run["name"], "href": link(run["folder"], page), "error": wording.shortened(error)}
        for run, error in failed
    ]
