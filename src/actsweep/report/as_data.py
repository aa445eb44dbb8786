"""report.json: what the page says, as data. docs/report.schema.json describes it; VERSION changes with it."""

import json
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from actsweep.config.descriptions import flat
from actsweep.report import provenance
from actsweep.report.findings import as_row
from actsweep.report.frames import endings
from actsweep.report.summary import Judged, Summary, as_numbers
from actsweep.report.verdict import Verdict, warning
from actsweep.report.wording import plain
from actsweep.results.files import speakable
from actsweep.statistics.inference import Comparison

VERSION = 1
MOST_BYTES = 256_000
SHARES = {"findings": 0.25, "comparisons": 0.3, "settings": 1.0}  # of the room that is left, one after the other
ALL_PAIRS = 100  # with more, settings are compared with the best one only


def report_of(summary: Summary, name: str) -> dict[str, Any]:
    """What is known of a sweep, within MOST_BYTES; `left_out` counts what has no room."""
    rows = {
        "findings": list(map(as_row, summary.findings)),
        "comparisons": [row for judged in summary.judged for row in _comparisons(judged)],
        "settings": [row for judged in summary.judged for row in _settings(judged)],
    }
    said = {
        "version": VERSION,
        "name": name,
        "question": summary.sweep.get("question") or None,
        "command": summary.sweep.get("command") or None,
        "runs": {ended: len(names) for ended, names in endings(summary.settings, summary.missing).items()},
        "tasks": [_task(judged) for judged in summary.judged],
        "configuration": _shared(summary),
        "provenance": dict(provenance.facts(summary.runs)),
    }
    kept, room = {}, MOST_BYTES - 200 - len(as_text(said).encode("utf-8", "replace"))
    for key, share in SHARES.items():
        sizes = [len(_json(row).encode("utf-8", "replace")) + 2 for row in rows[key]]
        kept[key] = rows[key][: sum(total <= share * room for total in accumulate(sizes))]
        room -= sum(sizes[: len(kept[key])])
    return said | kept | {"left_out": {key: len(rows[key]) - len(kept[key]) for key in kept}}


def as_text(report: dict[str, Any]) -> str:
    """JSON: a line for each key, and for each row of a list."""
    lines = [f"{json.dumps(key)}: {_listed(value)}" for key, value in report.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _listed(value: Any) -> str:
    return "[\n" + ",\n".join(map(_json, value)) + "\n]" if isinstance(value, list) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(speakable(value), ensure_ascii=False, allow_nan=False, default=lambda number: number.item())


def _task(judged: Judged) -> dict[str, Any]:
    metric, found = judged.task.metric, judged.verdicts[0].found
    return {
        "data": judged.task.title,
        "measure": metric.key,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "best": found[0].setting.label if found else None,
        "verdict": judged.sentences,
        "warning": warning(judged.verdicts[0]),
    }


def _settings(judged: Judged) -> Iterator[dict[str, Any]]:
    for setting, cells in judged.best_first:
        counts = {key: len(getattr(setting, key)) for key in ("diverged", "failed", "missing", "repeated")}
        numbers = {key: cell.data for key, cell in cells.items()}
        yield {"data": judged.task.title, "setting": setting.label, "values": dict(setting.values)} | numbers | counts


def _comparisons(judged: Judged) -> Iterator[dict[str, Any]]:
    """Of the completed runs, each pair, or each setting with the best; by how much the first is better."""
    verdict = judged.verdicts[0]
    labels = [each.setting.label for each in verdict.found]
    for i, first in enumerate(labels if len(verdict.pairs) <= ALL_PAIRS else labels[:1]):
        for second in labels[i + 1 :]:
            if pair := verdict.between(first, second):
                names = {"data": judged.task.title, "first": first, "second": second}
                yield names | _compared(pair, verdict)


def _compared(pair: Comparison, verdict: Verdict) -> dict[str, Any]:
    improvement = {key: plain(getattr(pair.improvement, key)) for key in ("value", "low", "high")}
    return {
        "n": pair.n,
        "paired": pair.paired,
        "seeds": pair.seeds,
        "better_by": as_numbers(pair.difference, verdict.task.metric),
        "p": plain(pair.p_value),
        "p_holm": plain(pair.p_holm),
        "differ": pair.differ,
        "effect_size": plain(pair.effect_size),
        "improvement": improvement,
    }


def _shared(summary: Summary) -> dict[str, Any]:
    """Configuration key → value, as far as all runs have the same one."""
    configs = [flat(run["config"]) for run in summary.runs]
    return {key: value for key, value in configs[0].items() if all(config.get(key) == value for config in configs)}
