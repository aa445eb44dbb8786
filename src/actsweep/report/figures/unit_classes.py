"""In which way do units become useless while a network trains, how many die, and do they come back?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from actsweep.report.captions import room, sample
from actsweep.report.drawing import COLOURS, MOST_PANELS, Drawing, Look, legend, panels, whole_ticks
from actsweep.report.frames import Runs, by_layer, keep
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, settings_of

LOOKS: dict[str, Look] = {
    "always_off": {"color": COLOURS[1], "linestyle": "-"},
    "always_linear": {"color": COLOURS[3], "linestyle": "--"},
    "always_saturated": {"color": COLOURS[0], "linestyle": "-."},
    "collapsed": {"color": COLOURS[4], "linestyle": ":"},
}
TURNOVER = ("units_died", "units_revived")
NEEDS = "no completed run classified its units: switch on diagnostics=[units,taxonomy]"


def _by_epoch(run: Run) -> pd.DataFrame | None:
    """Per epoch: % of all hidden units in each class, units that died and revived; of an epoch its last measurement, if
    it is of all layers."""
    rows = by_layer(run, [*LOOKS, *TURNOVER])
    if rows.empty or not (rows["quantity"] == "always_off").any():
        return None
    wide = rows.pivot_table(index=["epoch", "layer"], columns="quantity", values="value", aggfunc="last")
    wide = wide.reindex(columns=[*LOOKS, *TURNOVER]).dropna(subset=["always_off"]).fillna(0.0)
    sizes = np.array(run["hidden_sizes"])
    share = 100 * sizes / sizes.sum()
    by_epoch = {
        epoch: {name: float(share @ part[name]) for name in LOOKS} | {name: part[name].sum() for name in TURNOVER}
        for epoch, part in wide.groupby("epoch")
        if len(part) == len(sizes)
    }
    return pd.DataFrame.from_dict(by_epoch, orient="index").rename_axis("epoch") if by_epoch else None


def _values(group: Setting) -> pd.DataFrame:
    together = pd.concat([_by_epoch(run) for run in group.completed]).groupby(level="epoch")
    means = together.mean()
    means.insert(0, "n", together.size())
    means.insert(0, "setting", group.label)
    return means.reset_index()


def _panel(classes: Axes, turnover: Axes, found: pd.DataFrame) -> None:
    for name, look in LOOKS.items():
        classes.plot(found["epoch"], found[name], **look, marker="o" if len(found) == 1 else None)
    classes.set_ylim(bottom=0)
    turnover.bar(found["epoch"], found["units_died"], color=COLOURS[1])
    turnover.bar(found["epoch"], -found["units_revived"], color=COLOURS[6])
    turnover.axhline(0, color="#777777", linewidth=0.8)
    whole_ticks(classes)
    whole_ticks(turnover)


def draw(runs: Runs) -> Drawing:
    groups = keep(settings_of(runs), lambda run: _by_epoch(run) is not None, NEEDS)
    shown = groups[: MOST_PANELS // 2]
    values = pd.concat([_values(group) for group in groups], ignore_index=True)
    titles = [group.label for group in shown]
    figure, axes = panels([*titles, *[""] * len(shown)], (2.3, 2.0), "epoch", "", len(shown))
    for place, label in enumerate(titles):
        _panel(axes[place], axes[len(shown) + place], values[values["setting"] == label])
    axes[0].set_ylabel("units (%)")
    axes[len(shown)].set_ylabel("units per epoch")
    bars = [Patch(color=COLOURS[1], label="died"), Patch(color=COLOURS[6], label="revived")]
    legend(figure, {name.replace("_", " "): look for name, look in LOOKS.items()}, *bars)
    caption = (
        "Above: hidden units in % that, on every probe example, have slope 0 at z ≤ 0 (off), one slope other than 0 "
        "(linear), at most 5 % of the largest slope (saturated), or an output that varies by less than 0.1 % of its "
        "size (collapsed); a unit may be in several classes. Below: units whose slope became 0 on all examples since "
        "the measurement before (died), and that came back (revived). Means over seeds. "
        f"{room(len(shown), len(groups))}{sample(runs, groups)}"
    )
    return Drawing(figure, values, caption)
