"""The report as one page that needs nothing else: report.html, from run folders, never from the code that trains.

Flow: statistics → report → **page**. Python gathers and condenses, page.js draws.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from actsweep.report import provenance, verdict, wording
from actsweep.report.findings import SEVERITIES, Entry, entries, fact_in_words, place
from actsweep.report.frames import SWITCH_ON, endings
from actsweep.report.page.comparisons import drawn
from actsweep.report.page.curves import activation_functions, learning_curves
from actsweep.report.page.depth import by_depth
from actsweep.report.page.examples import examples_of
from actsweep.report.page.histograms import MOST_SETTINGS, histograms_of
from actsweep.report.page.layers import layers_of
from actsweep.report.page.pictures import picture_of
from actsweep.report.page.styles import Styles, styles
from actsweep.report.page.theory import theory_of
from actsweep.report.summary import Judged, Summary
from actsweep.report.tasks import sampled
from actsweep.results.files import write_atomically
from actsweep.results.folders import Folders
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, repetitions

HERE = Path(__file__).parent
REPORT = "report.html"
SHOWN = 12  # settings that figures show until the reader chooses
MOST_TASKS = 6
MOST_OTHERS = 40  # settings with the same kind of finding that are named


def _declared(runs: Sequence[Run], folders: Folders) -> dict[str, dict[str, str]]:
    """What the quantities of all runs mean; where runs disagree, the first word counts, but each unit is said."""
    declared: dict[str, dict[str, str]] = {}
    units: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, part in folders.quantities(run).items():
            declared.setdefault(name, part)
            units.setdefault(name, {})[part["unit"]] = None
    return {name: part | {"unit": " or ".join(units[name])} for name, part in declared.items()}


def _status(settings: Sequence[Setting], missing: Sequence[Path]) -> dict[str, Any]:
    """How many runs ended how, and the names of those that did not complete."""
    named = endings(settings, missing)
    return {
        "expected": sum(map(len, named.values())),
        "completed": len(named.pop("completed")),
        "named": {ended: names for ended, names in named.items() if names},
        "repeated": repetitions(settings),
    }


def _worded(judged: Judged, of: Styles) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task as the template words it, and as the figures draw it."""
    task, verdicts, found = judged.task, judged.verdicts, judged.verdicts[0]
    lines = by_depth(found, of)
    worded = {
        "title": task.title,
        "metric": task.metric,
        "sentences": judged.sentences,
        "warning": verdict.warning(found),
        "table": judged.table,
        "stands": task.stands if judged.counts_diverged else None,
        "settings": len(found.found),
        "pairs": len(found.pairs),
        "depth": bool(lines),
        "sample": sampled(task.settings, sum(len(each.values) for each in found.found)),
    }
    return worded, drawn(verdicts, of) | {"depth": lines}


def _finding(each: Entry, by_label: Mapping[str, Setting], folders: Folders) -> dict[str, Any]:
    """A kind of finding as the template words it."""
    first = each.first
    return {
        "first": first,
        "severity": SEVERITIES[first.severity],
        "place": place(first),
        "remedy": each.remedy,
        "evidence": list(map(fact_in_words, first.evidence)),
        "consequences": each.consequences,
        "others": [(other.where.setting, place(other), other.explanation) for other in each.others[:MOST_OTHERS]],
        "more": max(len(each.others) - MOST_OTHERS, 0),
        "picture": picture_of(first, by_label[first.where.setting], folders),
    }


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


def _context(summary: Summary, folder: Path) -> dict[str, Any]:
    """Everything that the template needs, and under "data" everything that the figures need."""
    folders, settings, sweep = summary.folders, summary.settings, summary.sweep
    tasks = [judged.task for judged in summary.judged]
    of, by_label = styles(settings), {setting.label: setting for setting in settings}
    counted = summary.runs
    declared = _declared(counted, folders)
    layers = layers_of(settings, folders, declared)
    worded = [_worded(judged, of) for judged in summary.judged[:MOST_TASKS]]
    data = {
        "settings": list(of.values()),
        "shown": SHOWN,
        "tasks": [shown for _, shown in worded],
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
        "tasks": [words for words, _ in worded],
        "omitted_tasks": [task.title for task in tasks[MOST_TASKS:]],
        "findings": [_finding(each, by_label, folders) for each in entries(summary.findings)],
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


def write(summary: Summary, folder: Path) -> Path:
    """Write folder/report.html, atomically."""
    parts = ("controls", "drawing", "figures", "layers", "theory", "page")
    ours = Markup("").join(script(f"{name}.js") for name in parts)
    scripts = {"theme": script("theme.js"), "plotly": Markup(get_plotlyjs()), "page": ours}
    context = _context(summary, folder)
    html = template("report.html.j2").render(
        context
        | {"data": wording.embedded(context["data"]), "has": context["data"]}
        | {"scripts": scripts, "style": script("style.css"), "policy": policy(list(scripts.values()))}
    )
    path = folder / REPORT
    write_atomically(path, html)
    return path
