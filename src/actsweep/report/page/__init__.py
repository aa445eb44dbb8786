"""The report as one page that needs nothing else: report.html. Python gathers and condenses, page.js draws."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from actsweep.report import provenance, wording
from actsweep.report.findings import SEVERITIES, entries, fact_in_words, place
from actsweep.report.frames import SWITCH_ON, endings
from actsweep.report.page.comparisons import drawn, styles
from actsweep.report.page.curves import activation_functions, learning_curves
from actsweep.report.page.examples import examples_of
from actsweep.report.page.histograms import MOST_SETTINGS, histograms_of
from actsweep.report.page.layers import layers_of
from actsweep.report.page.pictures import picture_of
from actsweep.report.page.theory import theory_of
from actsweep.report.summary import Summary
from actsweep.report.tasks import sampled
from actsweep.report.verdict import warning
from actsweep.results.files import write_atomically
from actsweep.results.folders import Folders
from actsweep.results.reading import Run
from actsweep.statistics.setting import repetitions

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


def script(name: str, folder: Path = HERE) -> Markup:
    return Markup((folder / name).read_text(encoding="utf-8"))


def _policy(scripts: Iterable[str]) -> str:
    """Content-Security-Policy: these scripts only, and no connection to anywhere."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _context(summary: Summary, folder: Path) -> dict[str, Any]:
    """Everything that the template needs; "data": everything that the figures need, "has" before it became text."""
    folders, settings = summary.folders, summary.settings
    tasks = [judged.task for judged in summary.judged]
    of, by_label = styles(settings), {setting.label: setting for setting in settings}
    declared = _declared(summary.runs, folders)
    layers = layers_of(settings, folders, declared)
    shown = summary.judged[:MOST_TASKS]
    data = {
        "settings": list(of.values()),
        "shown": SHOWN,
        "tasks": [drawn(judged.verdicts, of) for judged in shown],
        "learning": learning_curves(settings, folders),
        "layers": layers,
        "histograms": histograms_of(settings, folders, declared),
        "functions": activation_functions(settings, folders, of),
    }
    return {
        "name": folder.resolve().name,
        **{key: summary.sweep.get(key) for key in ("question", "command", "forget")},
        "ended": endings(settings, summary.missing),
        "repeated": repetitions(settings),
        "tasks": shown,
        "omitted_tasks": [task.title for task in tasks[MOST_TASKS:]],
        "findings": [
            (each, picture_of(each.first, by_label[each.first.where.setting], folders))
            for each in entries(summary.findings)
        ],
        "most_others": MOST_OTHERS,
        "theory": theory_of(settings, layers),
        "settings": settings,
        "looks": of,
        "sampled": sampled,
        "warning": warning,
        "examples": [found for task in tasks[:MOST_TASKS] if (found := examples_of(task, folders))],
        "facts": provenance.facts(summary.runs),
        "differing": provenance.differing(summary.runs),
        "runs": provenance.run_rows(tasks, folder),
        "failures": provenance.failures(summary.runs, folder),
        "damaged": folders.damaged,
        "switch_on": SWITCH_ON,
        "most_histograms": MOST_SETTINGS,
        "has": data,
        "data": wording.embedded(data),
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
    environment.filters |= {"place": place, "fact": fact_in_words, "severity": SEVERITIES.__getitem__}
    return environment.get_template(name)


def render(path: Path, template: Template, context: dict[str, Any], scripts: dict[str, Markup], style: Markup) -> Path:
    """Write a page that can run these scripts alone, atomically; `theme` is added."""
    scripts = {"theme": script("theme.js")} | scripts
    html = template.render(context | {"scripts": scripts, "style": style, "policy": _policy(scripts.values())})
    write_atomically(path, html)
    return path


def write(summary: Summary, folder: Path) -> Path:
    """Write folder/report.html, atomically."""
    parts = ("controls", "drawing", "figures", "layers", "theory", "page")
    ours = Markup("").join(script(f"{name}.js") for name in parts)
    scripts = {"plotly": Markup(get_plotlyjs()), "page": ours}
    return render(folder / REPORT, template("report.html.j2"), _context(summary, folder), scripts, script("style.css"))
