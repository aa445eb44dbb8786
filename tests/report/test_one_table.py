"""Page, terminal, report.json, report.md and results.tex say the same numbers, and each is well formed."""

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker
from rich.console import Console

from actsweep import load
from actsweep.diagnostics.gradients import GradientNorm
from actsweep.places import REPOSITORY
from actsweep.report import as_data, as_text, page, terminal, verdict
from actsweep.report.findings import entries, fact_in_words
from actsweep.report.page.pictures import picture_of
from actsweep.report.summary import Summary, summarise
from actsweep.results import run_folder
from actsweep.results.folders import Folders
from actsweep.results.reading import Run
from actsweep.statistics.findings import BREAKS, HARMS, Fact, Finding, Where
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import result_of, sweep

SCHEMA = Draft202012Validator(json.loads((REPOSITORY / "docs" / "report.schema.json").read_text()))
NASTY = ("100%_of {a} & b", "#1 ~ $2^3$ \\x", "[x] *y* <z> | `w`")
FACTS = (
    Fact("gradient norm, first ÷ last layer", 0.00271828, "1", 3, 0.0021, 0.0034, 0.0031, 0.01),
    Fact("largest loss", math.inf, "nats", 3),
)


def findings_of(label: str) -> tuple[Finding, ...]:
    first = Finding(
        "vanishing_gradient", BREAKS, Where(label, "layer_01", 2), FACTS, "It vanishes.", ("init=critical",), "H"
    )
    second = Finding(
        "stopped_on_plateau", HARMS, Where(label, epoch=3), FACTS[:1], "It stops.", (), "P", "vanishing_gradient"
    )
    return first, second


@pytest.fixture(scope="module")
def summary() -> Summary:
    """Three activations, six seeds, two depths; names that Markdown, LaTeX, HTML, rich trip over; a run diverged."""
    runs = [result_of(act, [8] * depth, seed, "digits") for act in NASTY for depth in (2, 3) for seed in range(6)]
    for number, run in enumerate(runs):
        run |= {"folder": f"nowhere/{number}", "test_accuracy": 0.7 + 0.0123 * (7 * number % 11)}
    runs[0] |= {"status": "diverged", "test_accuracy": None, "best_epoch": None}
    found = summarise(settings_of(runs), {"question": "Which?", "command": "python -m src.train -m act=a"})
    return replace(found, findings=findings_of(found.settings[0].label))


def test_what_follows_from_a_finding_does_not_say_its_sentences_again() -> None:
    first, second = findings_of("relu")
    said = "3 of 3 runs learnt nothing."
    first = replace(first, explanation=f"Of 1, 0.14 is left. {said}")
    second, third = (replace(second, explanation=f"{own} {said}") for own in ("It stops at 0.5.", "It stops at 0.5."))
    (entry,) = entries([first, second, replace(third, kind="collapsed")])
    assert entry.following == [
        "From it follows: stopped on a plateau. It stops at 0.5.",
        "From it follows: collapsed units.",
    ]
    assert entry.lines[1] == "from it follows: stopped on a plateau. It stops at 0.5."


@pytest.fixture(scope="module")
def report(summary: Summary) -> dict[str, Any]:
    return json.loads(as_data.as_text(as_data.report_of(summary, "made up")), parse_constant=pytest.fail)


def in_words(row: dict[str, Any], key: str) -> str:
    return f"{row[key]['value']:.2f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}]"


def test_a_program_finds_what_the_schema_promises(summary: Summary, report: dict[str, Any], tmp_path: Path) -> None:
    SCHEMA.validate(report)
    assert report["runs"] == {"completed": 35, "diverged": 1, "failed": 0, "missing": 0}
    assert sorted(row["n"] for row in report["comparisons"]) == [5] * 5 + [6] * 10
    assert report["findings"][0]["evidence"][1]["value"] == "inf"
    regressions = sweep(tmp_path, seeds=(0,), loss="mse", test_accuracy=None, classes=0)
    SCHEMA.validate(json.loads(as_data.as_text(as_data.report_of(summarise(settings_of(regressions), {}), "x"))))
    SCHEMA.validate(json.loads(as_data.as_text(load(tmp_path).report)))
    assert load(tmp_path).settings["mean_value"].tolist() == [0.5, 0.5]


def rows_of_page(text: str) -> dict[str, list[str]]:
    """Label → its cells, in words."""
    body = text[text.index('aria-label="Table by setting"') :].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("<tr>")[2:]]
    words = [
        [html.unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", cell, flags=re.DOTALL)) for cell in row] for row in rows
    ]
    return {" ".join(label.split()): [" ".join(cell.split()) for cell in cells] for label, *cells in words}


def rows_of_latex(text: str) -> list[list[str]]:
    """The cells of the table, as LaTeX would print them; by a parser that forgives nothing."""
    nodes, _, _ = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    [table] = [node for node in nodes if isinstance(node, LatexEnvironmentNode)]
    [tabular] = [node for node in table.nodelist if isinstance(node, LatexEnvironmentNode)]
    rows = tabular.latex_verbatim().partition("\\midrule")[2].partition("\\bottomrule")[0].split("\\\\\n")[:-1]
    said = LatexNodes2Text(math_mode="text", keep_braced_groups=False)
    return [[said.latex_to_text(cell).strip().replace("ˆ", "^") for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def rows_of_terminal(summary: Summary, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The cells of the table, whose lines below the first have no setting."""
    terminal.show(summary, Path("results.csv"))
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows: list[list[str]] = []
    for cells in ([cell.strip() for cell in line] for line in lines):
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return rows


def test_every_form_of_the_report_says_the_same_numbers(
    summary: Summary, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(terminal, "WIDTH", 400)
    drawn = rows_of_page(page.write(summary, tmp_path).read_text())
    printed = {row[0]: row[1:] for row in rows_of_terminal(summary, capsys)}
    typeset = {row[0]: row[1:] for row in rows_of_latex(as_text.latex(summary))}
    lines = as_text.markdown(summary, "made up").splitlines()
    assert len(report["settings"]) == len(drawn) == len(printed) == len(typeset) == 6
    for row in report["settings"]:
        expected = {in_words(row, key) for key in ("mean", "mean_with_diverged")}
        label = row["setting"]
        assert expected <= set(drawn[label])
        assert expected <= set(printed[label])
        assert expected <= set(typeset[label])
        [line] = [line for line in lines if line.startswith(f"| {as_text.escaped(label)} |")]
        assert all(f"| {words} |" in line for words in expected)
        counted = f"{row['trained']['count']}/{row['trained']['n']}"
        assert all(any(cell.startswith(counted) for cell in found[label]) for found in (drawn, printed, typeset))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("length", [13, 26, 31, 60])
def test_no_column_of_the_terminals_table_is_cut(length: int, width: int) -> None:
    names = "relu", "tanh, lr 0.25, norm batch, init critical, data mine, depth 50"[:length]
    runs = [result_of(act, [8], seed, "digits") | {"folder": f"{act}{seed}"} for act in names for seed in range(3)]
    [judged] = summarise(settings_of(runs), {}).judged
    console = Console(width=width)
    with console.capture() as shown:
        console.print(terminal._table(judged, console.width, with_title=False))
    lines = [line for line in shown.get().splitlines() if "│" in line]
    assert {line.count("│") for line in lines} == {len(judged.headings.keys() & set(terminal.SHOWN)) + 2}
    assert "…" not in "".join(lines)


def test_differences_and_evidence_are_the_same_numbers_too(
    summary: Summary, report: dict[str, Any], tmp_path: Path
) -> None:
    text = html.unescape(page.write(summary, tmp_path).read_text())
    prose = as_text.markdown(summary, "made up").replace("\\", "")
    best = report["tasks"][0]["best"]
    said = [row for row in report["comparisons"] if row["first"] == best][: verdict.MOST_NEXT]
    assert len(said) == 3
    for row in said:
        size, sides = row["better_by"], [f"{row['better_by'][key]:.2f}".replace("-", "−") for key in ("low", "high")]
        assert f"{abs(size['value']):.2f} percentage points" in text
        assert f"interval {sides[0]} to {sides[1]}" in text
        assert verdict.wording.p_value(row["p_holm"]) in prose
    for finding in report["findings"]:
        for fact in finding["evidence"]:
            numbers = {key: math.nan if value is None else value for key, value in fact.items()}
            numbers |= {"value": float(numbers["value"])}
            assert fact_in_words(Fact(**numbers)) in text
            assert fact_in_words(Fact(**numbers)) in prose


def test_names_come_through_latex_and_markdown_as_they_are(summary: Summary) -> None:
    labels = [setting.label for setting in summary.settings]
    assert [row[0] for row in rows_of_latex(as_text.latex(summary))] == labels
    assert {len(row) for row in rows_of_latex(as_text.latex(summary))} == {5}
    said = LatexNodes2Text(math_mode="text").latex_to_text(as_text.in_latex("".join(NASTY)))
    assert said.replace("ˆ", "^") == "".join(NASTY)  # the parser has another character for it


def many(settings: int, seeds: int) -> list[Run]:
    runs = [result_of("relu", (8, 8), seed, "digits") for _ in range(settings) for seed in range(seeds)]
    for number, run in enumerate(runs):
        rate = 0.0001 * 1.02 ** (number // seeds)
        run["config"] = run["config"] | {"optim": {"lr": rate}}
        run |= {"folder": f"nowhere/{number}", "test_accuracy": 0.8 + 0.001 * ((number * 7919) % 97)}
    return runs


@pytest.mark.parametrize(("settings", "seeds"), [(333, 3), (1000, 1)])
def test_a_thousand_runs_fit_into_256_kilobytes_and_what_does_not_is_counted(
    settings: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "MOST_COMPARED", 60)  # 200 take seconds
    found = summarise(settings_of(many(settings, seeds)), {})
    many_findings = tuple(each for setting in found.settings for each in findings_of(setting.label))
    report = as_data.report_of(replace(found, findings=many_findings), "many")
    text = as_data.as_text(report)
    assert 100_000 < len(text.encode()) <= 256_000
    SCHEMA.validate(json.loads(text))
    assert len(report["settings"]) + report["left_out"]["settings"] == settings
    assert len(report["findings"]) + report["left_out"]["findings"] == 2 * settings
    assert report["left_out"]["settings"] == 0 if seeds == 3 else report["left_out"]["settings"] > 0
    means = [row["mean"]["value"] for row in report["settings"]]
    assert means == sorted(means, reverse=True)


def test_gradients_of_a_regression_have_the_unit_of_its_loss(tmp_path: Path) -> None:
    (run,) = sweep(tmp_path, acts=["relu"], seeds=[0], loss="mse")
    rows = pd.DataFrame({"layer": ["layer_01", "layer_02"], "quantity": "grad_norm", "value": 1.0})
    rows.assign(epoch=0, step=0).to_csv(Path(run["folder"], "layers.csv"), index=False)
    run_folder.write_quantities(Path(run["folder"]), GradientNorm.quantities, "mse")
    assert set(load(tmp_path).layers["unit"]) == {"label² per unit weight"}
    (setting,) = settings_of([run])
    shown = picture_of(findings_of(setting.label)[0], setting, Folders())
    assert shown is not None
    assert shown["caption"].startswith("grad_norm (label² per unit weight) by layer, untrained")


def test_a_validation_loss_without_a_training_loss_is_drawn_dashed_as_is_said(tmp_path: Path) -> None:
    (setting,) = settings_of(sweep(tmp_path, acts=["relu"]))
    shown = picture_of(findings_of(setting.label)[1], setting, Folders())
    assert shown is not None
    assert shown["caption"] == "Loss (nats): validation, dashed; mean, lowest and highest of n = 2 runs"
    assert shown["svg"].count('<polyline class="theory"') == shown["svg"].count("<polyline") == 1
