"""The report as one page that needs nothing else: report.html, from run folders, never from the code that trains.

Flow: statistics → report → **page**. Python gathers and condenses, page.js draws.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from src.figures._runs import SWITCH_ON, Run
from src.files import write_atomically
from src.page import provenance, verdict, words
from src.page.curves import activation_functions, learning_curves
from src.page.depth import by_depth
from src.page.examples import examples_of
from src.page.groups import Group, Task, groups_of, sampled, tasks_of
from src.page.histograms import MOST_SETTINGS, histograms_of
from src.page.layers import layers_of
from src.page.tables import Folders
from src.page.theory import theory_of

HERE = Path(__file__).parent
REPORT = "report.html"
SHOWN = 12  # settings that figures show until the reader chooses
MOST_TASKS = 6


def _setting(group: Group) -> dict[str, Any]:
    return {"label": group.label, "act": group.act, "panel": group.panel, "name": group.name} | group.look


def _declared(runs: list[Run], folders: Folders) -> dict[str, dict[str, str]]:
    """What the quantities of all runs mean; where runs disagree, the first word counts."""
    declared: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, part in folders.quantities(run).items():
            declared.setdefault(name, part)
    return declared


def _status(runs: list[Run], expected: list[str]) -> dict[str, Any]:
    """How many runs ended how, and the names of those that did not complete."""
    names = {run["name"] for run in runs}
    lists = {status: [run["name"] for run in runs if run["status"] == status] for status in ("diverged", "failed")}
    missing = [name for name in dict.fromkeys(expected) if name not in names]
    return {
        "expected": len(set(expected)) or None,
        "completed": sum(run["status"] == "completed" for run in runs),
        "named": {status: listed for status, listed in (lists | {"missing": missing}).items() if listed},
    }


def _judged(task: Task, positions: dict[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task as the template words it, and as the figures draw it."""
    found = verdict.judge(task)
    lines = by_depth(found, positions)
    worded = {
        "title": task.title,
        "metric": task.metric,
        "sentences": verdict.sentences(found),
        "warning": verdict.warning(found),
        "table": verdict.table(found),
        "settings": len(found.found),
        "pairs": len(found.pairs),
        "depth": bool(lines),
        "sample": sampled(task.groups, sum(len(each.values) for each in found.found)),
    }
    return worded, verdict.drawn(found, positions) | {"depth": lines}


def _script(name: str) -> Markup:
    return Markup((HERE / name).read_text(encoding="utf-8"))


def _policy(scripts: list[str]) -> str:
    """Content-Security-Policy: these scripts only, and no connection to anywhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _context(runs: list[Run], folder: Path, sweep: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template needs, and under "data" everything that the figures need."""
    folders = Folders()
    groups = groups_of(runs)
    tasks = tasks_of(groups)
    declared = _declared(runs, folders)
    positions = {group.label: position for position, group in enumerate(groups)}
    layers = layers_of(groups, folders, declared)
    judged = [_judged(task, positions) for task in tasks[:MOST_TASKS]]
    data = {
        "settings": [_setting(group) for group in groups],
        "shown": SHOWN,
        "tasks": [drawn for _, drawn in judged],
        "learning": learning_curves(groups, folders),
        "layers": layers,
        "histograms": histograms_of(groups, folders, declared),
        "functions": activation_functions(groups, folders),
    }
    return {
        "name": folder.resolve().name,
        "question": sweep.get("question"),
        "command": sweep.get("command"),
        "status": _status(runs, list(sweep.get("expected") or [])),
        "tasks": [worded for worded, _ in judged],
        "omitted_tasks": [task.title for task in tasks[MOST_TASKS:]],
        "theory": theory_of(groups, layers),
        "groups": groups,
        "sampled": sampled,
        "examples": [found for task in tasks[:MOST_TASKS] if (found := examples_of(task, folders))],
        "facts": provenance.facts(runs),
        "differing": provenance.differing(runs),
        "runs": provenance.run_rows(tasks, folder),
        "failures": provenance.failures(runs, folder),
        "damaged": folders.damaged,
        "switch_on": SWITCH_ON,
        "most_histograms": MOST_SETTINGS,
        "data": data,
    }


def write(runs: list[Run], folder: Path, sweep: dict[str, Any]) -> Path:
    """Write folder/report.html, atomically. `sweep` may have its `question`, its `command` and the names of the
    `expected` runs. Raises ValueError without runs.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "fixed": words.fixed, "counted": words.counted}
    scripts = {"theme": _script("theme.js"), "plotly": Markup(get_plotlyjs()), "page": _script("page.js")}
    parts = "drawing", "figures", "layers", "theory", "page"
    scripts["page"] = Markup("").join(_script(f"{name}.js") for name in parts)
    context = _context(runs, folder, sweep)
    html = environment.get_template("report.html.j2").render(
        context
        | {"data": words.embedded(context["data"]), "has": context["data"]}
        | {"scripts": scripts, "style": _script("style.css"), "policy": _policy(list(scripts.values()))}
    )
    path = folder / REPORT
    write_atomically(path, html.encode("utf-8", "replace").decode("utf-8"))  # names of files may be no Unicode
    return path
