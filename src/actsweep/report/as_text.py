"""report.md and results.tex: the page's summary for a pull request or an assistant, and a table for a paper."""

import re
from collections.abc import Sequence

from actsweep.report import provenance
from actsweep.report.findings import SEVERITIES, Entry, entries, fact_in_words, place
from actsweep.report.frames import endings
from actsweep.report.summary import Judged, Summary
from actsweep.report.verdict import warning
from actsweep.report.wording import listed

MOST_ROWS, MOST_OTHERS = 60, 8  # settings in a table, best first, and of a finding
IN_MARKDOWN = ("n", "trained", "mean", "mean_with_diverged", "epochs", "gradient_first_to_last", "dead_percent")
IN_LATEX = ("n", "trained", "mean", "mean_with_diverged")
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "∞": r"$\infty$",
    "|": "$|$", "…": r"\ldots{}", "−": "$-$", "÷": r"$\div$", "×": r"$\times$", "²": "$^2$", "–": "--",
})  # fmt: skip


def markdown(summary: Summary, name: str) -> str:
    """The whole of report.md."""
    ended = [f"{len(names)} {how}" for how, names in endings(summary.settings, summary.missing).items() if names]
    facts = [f"{heading}: {'; '.join(values)}" for heading, values in provenance.facts(summary.runs)]
    parts = [f"# {escaped(name)}", escaped(summary.sweep.get("question") or ""), f"Runs: {', '.join(ended)}."]
    several = len(summary.judged) > 1
    for judged in summary.judged:
        parts += _verdict(judged, several)
    told = list(map(_finding, entries(summary.findings))) or ["No rule found anything."]
    parts += ["## Findings", *told, "## Settings", *(_rows(judged, several) for judged in summary.judged)]
    command = summary.sweep.get("command")
    parts += ["## Provenance", f"```\n{command}\n```" if command else "", "\n".join(f"- {escaped(x)}" for x in facts)]
    return "\n\n".join(filter(None, parts)) + "\n"


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> print(escaped("a|b <c> *d* _e f_g [0, 1] [h](i) &lt; $j$"))
    a\|b \<c> \*d\* \_e f_g [0, 1] [h]\(i) \&lt; \$j\$
    """
    marks = r"([\\`*<|~$]|&(?=#?\w+;)|(?<=])\(|(?<![^\W_])_|_(?![^\W_]))"
    return re.sub(marks, r"\\\1", " ".join(text.split()))


def _verdict(judged: Judged, several: bool) -> list[str]:
    title = f"## {judged.task.title}: {judged.task.metric.name}" if several else "## Verdict"
    warned = warning(judged.verdicts[0])
    warned = f"**Too few seeds for a verdict.** {warned}." if warned else ""
    return [title, *map(escaped, judged.sentences), warned]


def _finding(each: Entry) -> str:
    first = each.first
    where = ", ".join(filter(None, [first.where.setting, place(first)]))
    evidence, others = "; ".join(map(fact_in_words, first.evidence)), [other.where.setting for other in each.others]
    lines = [f"- **{escaped(first.title)}**, {SEVERITIES[first.severity]}: {escaped(f'{where}. {first.explanation}')}"]
    lines += [f"  - Try `{each.remedy}`"] if each.remedy else []
    lines += [f"  - Evidence: {escaped(evidence)}. Source: {escaped(first.source)}"]
    lines += [f"  - {escaped(said)}" for said in each.following]
    lines += [f"  - The same in {escaped(listed(others, MOST_OTHERS))}"] if others else []
    return "\n".join(lines)


def _rows(judged: Judged, several: bool) -> str:
    title = f"### {judged.task.title}\n\n" if several else ""
    heads, *rows = judged.texts(IN_MARKDOWN, judged.best_first)
    lines = [heads, ["---", *["--:"] * len(heads[1:])], *rows[:MOST_ROWS]]
    more = f"\n\n… and {len(rows) - MOST_ROWS} more in report.json." if len(rows) > MOST_ROWS else ""
    table = "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in lines)
    return f"{title}{table}{more}\n\n{escaped(judged.note)}"


def latex(summary: Summary) -> str:
    """The whole of results.tex: a table environment for each data set, to be read by \\input; needs booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, summary.judged))


def _latex_table(judged: Judged) -> str:
    heads, *rows = judged.texts(IN_LATEX, judged.rows)
    caption, body = in_latex(f"{judged.task.title}: {judged.note}"), "\n".join(map(_line, rows))
    return rf"""\begin{{table}}
\caption{{{caption}}}
\centering
\begin{{tabular}}{{l{"r" * len(heads[1:])}}}
\toprule
{_line(heads)}
\midrule
{body}
\bottomrule
\end{{tabular}}
\end{{table}}
"""


def _line(cells: Sequence[str]) -> str:
    """A row; its first cell in braces, as a bracket or star there would be an argument of the row before it."""
    first, *rest = map(in_latex, cells)
    return " & ".join([f"{{{first}}}", *rest]) + r" \\"


def in_latex(text: str) -> str:
    r"""Text that LaTeX shows as it is; characters that it doesn't know, by their number.

    >>> in_latex("leaky_relu, 50 % φ")
    'leaky\\_relu, 50 \\% [U+03C6]'
    """
    known = " ".join(text.split()).translate(LATEX)
    return re.sub(r"[^ -~]", lambda letter: f"[U+{ord(letter[0]):04X}]", known)
