"""report.md and results.tex: the page's summary for a pull request or an assistant, and a table for a paper.

Flow: summary → **as_text**.
"""

import re
from collections.abc import Sequence

from actsweep.report import provenance
from actsweep.report.frames import endings
from actsweep.report.summary import Judged, Summary
from actsweep.report.verdict import warning

MOST_ROWS = 60  # of a table in Markdown, best first
IN_MARKDOWN = ("n", "trained", "mean", "mean_with_diverged", "epochs", "gradient_first_to_last", "dead_percent")
IN_LATEX = ("n", "trained", "mean", "mean_with_diverged")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "…": r"\ldots{}", "−": "$-$", "÷": r"$\div$", "×": r"$\times$", "²": "$^2$", "–": "--",
}  # fmt: skip


def markdown(summary: Summary, name: str) -> str:
    """The whole of report.md."""
    ended = [f"{len(names)} {how}" for how, names in endings(summary.settings, summary.missing).items() if names]
    facts = [f"{heading}: {'; '.join(values)}" for heading, values in provenance.facts(summary.runs)]
    parts = [f"# {escaped(name)}", escaped(summary.sweep.get("question") or ""), f"Runs: {', '.join(ended)}."]
    for judged in summary.judged:
        parts += _told(judged, len(summary.judged) > 1)
    command = summary.sweep.get("command")
    parts += ["## Provenance", f"```\n{command}\n```" if command else "", "\n".join(f"- {escaped(x)}" for x in facts)]
    return "\n\n".join(filter(None, parts)) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is.

    >>> escaped("a|b <c> *d* e_f")
    'a\\\\|b \\\\<c\\\\> \\\\*d\\\\* e\\\\_f'
    """
    return re.sub(r"([\\`*_<>|\[\]#~])", r"\\\1", " ".join(text.split()))


def _told(judged: Judged, with_title: bool) -> list[str]:
    title = f"## {judged.task.title}: {judged.task.metric.name}" if with_title else "## Verdict"
    warned = warning(judged.verdicts[0])
    parts = [title, *map(escaped, judged.sentences), f"**Too few seeds for a verdict.** {warned}." if warned else ""]
    return [*parts, _rows(judged)]


def _rows(judged: Judged) -> str:
    keys = [key for key in IN_MARKDOWN if key in judged.table.headings]
    rows = [[escaped(each.label), *(escaped(cells[key].whole) for key in keys)] for each, cells in judged.best_first]
    heads = ["setting", *(escaped(judged.table.headings[key]) for key in keys)]
    lines = [heads, ["---", *["--:"] * len(keys)], *rows[:MOST_ROWS]]
    more = f"\n\n… and {len(rows) - MOST_ROWS} more in report.json." if len(rows) > MOST_ROWS else ""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + more + f"\n\n{escaped(judged.note)}"


def latex(summary: Summary) -> str:
    """The whole of results.tex: a table environment for each data set, to be read by \\input; needs booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, summary.judged))


def _latex_table(judged: Judged) -> str:
    keys = [key for key in IN_LATEX if key in judged.table.headings]
    heads = ["setting", *(judged.table.headings[key] for key in keys)]
    rows = [[each.label, *(cells[key].whole for key in keys)] for each, cells in judged.table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{in_latex(f'{judged.task.title}: {judged.note}')}}}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * len(keys)}}}",
            r"\toprule",
            _line(heads),
            r"\midrule",
            *map(_line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    """A row; its first cell in braces, as a bracket or star there would be an argument of the row before it."""
    first, *rest = map(in_latex, cells)
    return " & ".join([f"{{{first}}}", *rest]) + r" \\"


def in_latex(text: str) -> str:
    r"""Text that LaTeX shows as it is; characters that it doesn't know, by their number.

    >>> in_latex("leaky_relu, 50 % φ")
    'leaky\\_relu, 50 \\% [U+03C6]'
    """
    return "".join(map(_letter, " ".join(text.split())))


def _letter(letter: str) -> str:
    if letter in LATEX:
        return LATEX[letter]
    return letter if letter.isascii() and letter.isprintable() else f"[U+{ord(letter):04X}]"
