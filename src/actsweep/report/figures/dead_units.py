"""How many units never answer: whose output is 0 on all training images, before and after training?"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import EDITIONS, Drawing, Look, looks, open_mark, panels
from actsweep.report.frames import TUTORIAL3, WHEN, Runs, at, keep, trains_as
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, settings_of

# UvA DL notebooks, tutorial 3, ReLU: the PyTorch edition's counts (seed 42), the JAX edition's
PUBLISHED = {
    ((512, 256, 256, 128), "untrained"): ((0, 0, 3, 10), (0, 0, 3, 7)),
    ((512, 256, 256, 128), "trained"): ((0, 0, 0, 3), (0, 0, 3, 3)),
    ((256,) * 5 + (128,) * 5, "untrained"): (
        (0, 0, 7, 27, 89, 60, 58, 61, 72, 56),
        (0, 1, 1, 19, 75, 53, 71, 57, 64, 69),
    ),
}


def _counts(run: Run) -> list[list[int]]:
    """Before training and at the end, as far as they are known."""
    return [counts for when in WHEN if (counts := at(when, run, "dead_outputs")) is not None]


def _is_published(run: Run, when: str) -> bool:
    """Whether the run is of the tutorial's networks, which differ in their layers, and trained as they were."""
    named = run["act"], run["data"], run["init"], run["norm"]
    is_alike = named == ("relu", "fashion_mnist", "default", "none") and not run["config"]["data"].get("standardise")
    return is_alike and (when == "untrained" or (run["optim"] == "sgd" and trains_as(run, TUTORIAL3)))


def _values(groups: list[Setting]) -> pd.DataFrame:
    rows, found = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for group in groups:
        sizes = group.first["hidden_sizes"]
        for when in WHEN:
            found = [("actsweep", run["seed"], at(when, run, "dead_outputs") or ()) for run in group.completed]
            if any(run["seed"] == 42 and _is_published(run, when) for run in group.completed):
                published = zip(EDITIONS, PUBLISHED.get((tuple(sizes), when), ()), strict=False)
                found += [(edition, None, counts) for edition, counts in published]
            for source, seed, counts in found:
                cells = enumerate(zip(sizes, counts, strict=False), start=1)
                rows += [(group.act, group.label, source, seed, when, layer, *cell) for layer, cell in cells]
    columns = ["act", "setting", "source", "seed", "when", "layer", "units", "dead_outputs"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def _panel(axes: Axes, found: pd.DataFrame, colour: str) -> None:
    own = found[found["source"] == "actsweep"].groupby("layer")["dead_outputs"]
    means = own.mean()
    axes.bar(means.index, means, color=colour, alpha=0.45, width=0.5)
    for layer, counts in own:
        if len(counts) > 1:
            axes.plot(int(str(layer)) + np.linspace(-0.15, 0.15, len(counts)), counts, "o", color=colour, markersize=3)
    for (edition, marker), shift in zip(EDITIONS.items(), (-0.37, 0.37), strict=True):
        published = found[found["source"] == edition]
        if published.empty:
            continue  # an empty unclipped line would spoil the layout
        look: Look = {"color": "#D55E00", "markerfacecolor": "none", "markersize": 6, "clip_on": False}
        axes.plot(published["layer"] + shift, published["dead_outputs"], marker, **look)
    highest = own.max()
    for place, mean in zip(means.index, means, strict=True):
        label = f"{mean:.0f}" if mean == round(mean) else f"{mean:.1f}"
        axes.annotate(label, (place, highest[place]), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    units = found.groupby("layer")["units"].first()
    axes.set_xticks(units.index, [f"{layer}\n{size}" for layer, size in units.items()])


def draw(runs: Runs) -> Drawing:
    missing = "no completed run counted dead units: switch on diagnostics=[units]"
    counted = keep(settings_of(runs), lambda run: bool(_counts(run)), missing)
    none = "no run of these has a unit whose output is always 0, and none is of act=relu"
    groups = keep(counted, lambda run: any(run["act"] == "relu" or any(counts) for counts in _counts(run)), none)
    values = _values(groups)
    look = looks(group.act for group in groups)
    whens = [when for when in WHEN if (values["when"] == when).any()]
    depth = max(len(group.first["hidden_sizes"]) for group in groups)
    cells = [(group, when) for group in groups for when in whens]
    titles = [f"{group.label}: {when}" for group, when in cells]
    figure, axes = panels(titles, (max(3.2, 0.5 * depth), 2.2), "hidden layer, units below", "units", len(whens))
    for each, (group, when) in zip(axes, cells, strict=True):
        found = values[(values["setting"] == group.label) & (values["when"] == when)]
        if len(found):
            _panel(each, found, look[group.act]["color"])
        most = values.loc[values["setting"] == group.label, "dead_outputs"].max()
        each.set_ylim(0, 1.18 * max(most, 1))
    if published := set(values["source"]) - {"actsweep"}:
        marks = [open_mark(name, EDITIONS[name], "#D55E00", "none") for name in EDITIONS if name in published]
        figure.legend(handles=marks, loc="outside upper center", ncols=2)
    marked = "Open marks: what UvA tutorial 3 publishes. " if published else ""
    some = "Settings without any such unit are not shown. " if len(groups) < len(counted) else ""
    caption = (
        "Units whose output is 0 on all training images, per hidden layer. Bars, numbers: mean over seeds; "
        f"points: each seed. {marked}{some}{sample(runs, groups, usable=counted)}"
    )
    return Drawing(figure, values, caption)
