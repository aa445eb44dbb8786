"""How often is a network dead before it trains, and does it keep to the bound of Lu et al. 2019?"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from actsweep.report.captions import sample
from actsweep.report.drawing import COLOURS, MARKERS, Drawing, Look, depth_axis, legend, panels
from actsweep.report.frames import Runs, by_layer, keep
from actsweep.results.reading import Run
from actsweep.statistics.inference import proportion
from actsweep.statistics.setting import Setting, settings_of

NEEDS = "no completed run looked for layers that are off: switch on diagnostics=[taxonomy]"
COLUMNS = ["act", "init", "width", "depth", "n", "born_dead", "share", "low", "high", "bound"]
OF_RELU = "the bound is of ReLU networks without normalisation: use act=relu norm=none"


def _born_dead(run: Run) -> bool | None:
    """Whether all units of any hidden layer were off on the whole probe before training; None: not measured."""
    off = by_layer(run, ["layer_off"], epoch=0)
    return None if off.empty else bool((off["value"] == 1).any())


def _table(groups: Sequence[Setting]) -> pd.DataFrame:
    from actsweep.theory.meanfield import born_dead  # here: only this figure needs it

    rows = []
    for group in groups:
        sizes, n = group.first["hidden_sizes"], len(group.completed)
        count = sum(bool(_born_dead(run)) for run in group.completed)
        share = proportion(count, n)
        where, bound = group.at_init("depth", "width", "hidden_sizes"), float(born_dead(sizes)[-1])
        rows.append((group.act, where, min(sizes), len(sizes), n, count, share.value, share.low, share.high, bound))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS[:4], ignore_index=True)


def verdict(values: pd.DataFrame) -> str:
    """How many settings keep to the bound, as far as their seeds can tell."""
    above, expected = (values["low"] > values["bound"]).sum(), (values["n"] * values["bound"]).sum()
    count, n = int(values["born_dead"].sum()), int(values["n"].sum())
    share = proportion(count, n)
    return (
        f"{count} of {n} networks were born dead ({100 * share.value:.0f} %, 95 % interval {100 * share.low:.0f} to "
        f"{100 * share.high:.0f} %), at most {expected:.3g} expected; {above} of {len(values)} settings lie above the "
        "bound by more than chance. "
    )


def draw(runs: Runs) -> Drawing:
    measured = keep(settings_of(runs), lambda run: _born_dead(run) is not None, NEEDS)
    groups = keep(measured, lambda run: (run["act"], run["norm"]) == ("relu", "none"), OF_RELU)
    values = _table(groups)
    widths = sorted(values["width"].unique())
    look: dict[Any, Look]
    look = {width: {"color": COLOURS[at % 8], "marker": MARKERS[at % 8]} for at, width in enumerate(widths)}
    cells = {f"{act}, init={init}": own for (act, init), own in values.groupby(["act", "init"], sort=False)}
    figure, axes = panels([*cells], (3.4, 2.8), "hidden layers", "networks born dead", sharey=True)
    for each, cell in zip(axes, cells.values(), strict=True):
        for width, own in cell.groupby("width"):
            depth, share, low, high = own[["depth", "share", "low", "high"]].to_numpy().T
            x = depth * (1 + 0.04 * (widths.index(width) - len(widths) / 2))  # beside each other
            each.plot(depth, own["bound"], color=look[width]["color"], linewidth=1)
            each.errorbar(x, share, [share - low, high - share], linestyle="none", elinewidth=1, **look[width])
        depth_axis(each, values["depth"])
        each.set_ylim(-0.03, 1.03)
    legend(figure, {f"width {width}": of for width, of in look.items()})
    caption = (
        "Share of untrained networks in which all units of some layer are off on every probe example. Points: "
        "measured, with Wilson's 95 % interval; lines: the upper bound 1 − Π(1 − 2^−N) over layers "
        f"of N units (Lu et al. 2019), exact for a single input. {verdict(values)}"
    )
    return Drawing(figure, values, caption + sample(runs, groups, usable=measured))
