"""The report as one page that needs nothing else: report.html, from run folders, never from the code that trains.

Flow: statistics → report → **page**. Python gathers and condenses, page.js draws.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from actsweep.report.frames import SWITCH_ON, endings
from actsweep.report.page import provenance, summary, verdict, wording
from actsweep.report.page.curves import activation_functions, learning_curves
from actsweep.report.page.depth import by_depth
from actsweep.report.page.examples import examples_of
from actsweep.report.page.histograms import MOST_SETTINGS, histograms_of
from actsweep.report.page.layers import layers_of
from actsweep.report.page.tables import Folders
from actsweep.report.page.tasks import Styles, Task, sampled, styles, tasks_of
from actsweep.report.page.theory import theory_of
from actsweep.results.files import write_atomically
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, repetitions, settings_of

HERE = Path(__file__).parent
REPORT = "report.html"
SHOWN = 12  # settings that figures show until the reader chooses
MOST_TASKS = 6


def _declared(runs: Sequence[Run], folders: Folders) -> dict[str, dict[str, str]]:
    """What the quantities of all runs mean; where runs disagree, the first word counts."""
    declared: dict[str, dict[str, str]] = {}
    for run in runs:
        for name, part in folders.quantities(run).items():
            declared.setdefault(name, part)
    return declared


def _status(settings: Sequence[Setting], missing: Sequence[Path]) -> dict[str, Any]:
    """How many runs ended how, and the names of those that did not complete."""
    named = endings(settings, missing)
    return {
        "expected": sum(map(len, named.values())),
        "completed": len(named.pop("completed")),
        "named": {ended: names for ended, names in named.items() if names},
        "repeated": repetitions(settings),
    }


def _judged(task: Task, of: Styles) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task as the template words it, and as the figures draw it."""
    verdicts = [verdict.judge(task)]
    if any(setting.diverged for setting in task.settings):
        verdicts.append(verdict.judge(task, with_diverged=True))
    found = verdicts[0]
    lines = by_depth(found, of)
    worded = {
        "title": task.title,
        "metric": task.metric,
        "sentences": [sentence for each in verdicts for sentence in verdict.sentences(each)],
        "warning": verdict.warning(found),
        "table": summary.table(*verdicts),
        "stands": task.stands if len(verdicts) > 1 else None,
        "settings": len(found.found),
        "pairs": len(found.pairs),
        "depth": bool(lines),
        "sample": sampled(task.settings, sum(len(each.values) for each in found.found)),
    }
    return worded, verdict.drawn(verdicts, of) | {"depth": lines}


def script(name: str, folder: Path = HERE) -> Markup:
    return Markup((folder / name).read_text(encoding="utf-8"))


def policy(scripts: list[str]) -> str:
    """Content-Security-Policy: these scripts only, and no connection to anywhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _context(runs: Sequence[Run], folder: Path, sweep: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template needs, and under "data" everything that the figures need."""
    folders = Folders()
    settings = settings_of(runs, sweep.get("missing", ()))
    of, tasks = styles(settings), tasks_of(settings)
    counted = [run for each in settings for run in each.runs]
    declared = _declared(runs, folders)
    layers = layers_of(settings, folders, declared)
    judged = [_judged(task, of) for task in tasks[:MOST_TASKS]]
    data = {
        "settings": list(of.values()),
        "shown": SHOWN,
        "tasks": [drawn for _, drawn in judged],
        "learning": learning_curves(settings, folders),
        "layers": layers,
        "histograms": histograms_of(settings, folders, declared),
        "functions": activation_functions(settings, folders, of),
    }
    return {
        "name": folder.resolve().name,
        "question": sweep.get("question"),
        "command": sweep.get("command"),
        "forget": sweep.get("forget"),
        "status": _status(settings, sweep.get("missing", ())),
        "tasks": [worded for worded, _ in judged],
        "omitted_tasks": [task.title for task in tasks[MOST_TASKS:]],
        "theory": theory_of(settings, layers),
        "settings": settings,
        "looks": of,
        "sampled": sampled,
        "examples": [found for task in tasks[:MOST_TASKS] if (found := examples_of(task, folders))],
        "facts": provenance.facts(counted),
        "differing": provenance.differing(counted),
        "runs": provenance.run_rows(tasks, folder),
        "failures": provenance.failures(counted, folder),
        "damaged": folders.damaged,
        "switch_on": SWITCH_ON,
        "most_histograms": MOST_SETTINGS,
        "data": data,
    }


@cache
def template(name: str, *folders: Path) -> Template:
    """A template of these folders, which may import the page's parts."""
    environment = Environment(
        loader=FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": wording.number, "fixed": wording.fixed, "counted": wording.counted}
    return environment.get_template(name)


def write(runs: Sequence[Run], folder: Path, sweep: dict[str, Any]) -> Path:
    """Write folder/report.html, atomically. `sweep` may have its `question`, its `command`, the folders of
    `missing` runs and the command to `forget` them. Raises ValueError without runs.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    ours = Markup("").join(
        script(f"{name}.js") for name in ("controls", "drawing", "figures", "layers", "theory", "page")
    )
    scripts = {"theme": script("theme.js"), "plotly": Markup(get_plotlyjs()), "page": ours}
    context = _context(runs, folder, sweep)
    html = template("report.html.j2").render(
        context
        | {"data": wording.embedded(context["data"]), "has": context["data"]}
        | {"scripts": scripts, "style": script("style.css"), "policy": policy(list(scripts.values()))}
    )
    path = folder / REPORT
    write_atomically(path, html.encode("utf-8", "replace").decode("utf-8"))  # names of files may be no Unicode
    return path
