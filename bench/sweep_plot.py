"""Draws what bench/sweep.py measured: member-epochs per second against the number of members, as SVG and PNG.

python bench/sweep_plot.py bench/results/sweep.json    # writes sweep.svg and sweep.png beside it
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

LINES = {
    "a": ("the tutorials' loop", ":"),
    "b": ("plain, one after another", "--"),
    "c": ("plain, side by side", "-."),
    "f": ("matrix products alone", "-"),
}


def draw(report: dict[str, Any], path: Path) -> None:
    rates = {name: median(values) for name, values in report["member_epochs_per_second"].items()}
    stacks = {
        int(name.split()[1]): rate for name, rate in rates.items() if name.startswith("d ") and "bare" not in name
    }
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.loglog(list(stacks), list(stacks.values()), "o-", color="C0", label="stacked")
    for place, (key, (label, style)) in enumerate(LINES.items(), start=1):
        for name, rate in rates.items():
            if name.split()[0] == key:
                axes.axhline(rate, color=f"C{place}", linestyle=style, label=label)
    axes.set(xlabel="networks in the stack", ylabel="member-epochs per second")
    axes.set_title(f"{report['data']}, {report['device']}, {report['precision']}", fontsize="medium")
    axes.set_xticks(list(stacks), [str(members) for members in stacks])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(figure)


def main() -> None:
    for name in sys.argv[1:]:
        draw(json.loads(Path(name).read_text()), Path(name))


if __name__ == "__main__":
    main()
