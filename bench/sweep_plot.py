"""Draws what bench/sweep.py measured, a panel per file: member-epochs per second against the number of members.

python -m bench.sweep_plot bench/results/sweep.png bench/results/sweep-*.json

Points are medians over rounds, bars reach from the slowest round to the fastest.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

LINES = {
    "a": ("the tutorials' loop", ":"),
    "b": ("single runs, one after another", "--"),
    "c": ("single runs in processes", "-."),
    "f": ("matrix products alone", "-"),
}
POINTS = {
    "d": ("stacked, one process", "C0o-"),
    "d processes": ("stacked, a process per core", "C9^-"),
    "d bare": ("stacked, no diagnostics", "C5D"),
    "e": ("torch.func, steps only", "C7s"),
}


def draw(report: dict[str, Any], axes: Axes) -> None:
    rates = report["member_epochs_per_second"]
    for place, (key, (label, style)) in enumerate(LINES.items(), start=1):
        for name in rates:
            if name.split()[0] == key:
                axes.axhline(median(rates[name]), color=f"C{place}", linestyle=style, label=label)
    for key, (label, style) in POINTS.items():
        found = {int(name.split()[-1]): rates[name] for name in rates if name.rpartition(" ")[0] == key}
        middle = [median(each) for each in found.values()]
        spread = [[m - min(each), max(each) - m] for m, each in zip(middle, found.values(), strict=True)]
        axes.errorbar(list(found), middle, yerr=list(zip(*spread, strict=True)), fmt=style, capsize=3, label=label)
    members = sorted({int(name.split()[-1]) for name in rates if name.startswith("d ")})
    axes.set(xscale="log", yscale="log", xlabel="networks")
    axes.set_xticks(members, [str(number) for number in members])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    network = ", ".join(report["overrides"]) or "default network"
    axes.set_title(f"{report['data']}, {network}\n{report['device']}, {report['precision']}", fontsize="medium")


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    size = 1 + 4.2 * len(sources), 4.4
    figure, row = plt.subplots(1, len(sources), figsize=size, squeeze=False, layout="constrained")
    for source, axes in zip(sources, row[0], strict=True):
        draw(json.loads(source.read_text()), axes)
    row[0, 0].set_ylabel("member-epochs per second")
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    for suffix in (".svg", ".png"):
        figure.savefig(target.with_suffix(suffix), dpi=150)


if __name__ == "__main__":
    main()
