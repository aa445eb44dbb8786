"""Do our test accuracies agree with those that the tutorials publish?"""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actsweep.report.captions import sample, with_diverged
from actsweep.report.drawing import EDITIONS, Drawing, literal, looks, open_mark, spread
from actsweep.report.frames import TUTORIAL3, Runs, Values, keep, outcomes, trains_as
from actsweep.results.reading import Run
from actsweep.statistics.power import one_more
from actsweep.statistics.setting import Setting, settings_of

# UvA DL notebooks, tutorial 3: test accuracy in % of the notebooks' runs
PUBLISHED = {
    "PyTorch edition, seed 42": {
        "sigmoid": 10.00, "tanh": 87.59, "relu": 88.62, "leakyrelu": 88.92, "elu": 87.27, "swish": 88.73,
    },
    "JAX edition": {
        "sigmoid": 78.46, "tanh": 88.57, "relu": 88.65, "leakyrelu": 88.33, "elu": 88.32, "swish": 88.33,
    },
}  # fmt: skip
SETUP = {"data": "fashion_mnist", "init": "default", "norm": "none", "optim": "sgd"}
SIZES = [512, 256, 256, 128]
BREAK = 84  # %: what is above is magnified


def _comparable(run: Run) -> bool:
    is_alike = run["hidden_sizes"] == SIZES and run.items() >= SETUP.items() and trains_as(run, TUTORIAL3)
    return is_alike and run["epochs"] > 0 and run["test_accuracy"] is not None


def one_more_run(accuracies: Values) -> tuple[float, float] | None:
    """Where a single further seed falls with 95 % probability, in %; None for fewer than two seeds."""
    found = one_more(list(accuracies)).within(0.0, 100.0)
    return (found.low, found.high) if found.n > 1 else None


def _broken_axis(width: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    upper.spines["bottom"].set_visible(False)
    upper.tick_params(axis="x", length=0)
    slash = {"marker": [(-1, -0.6), (1, 0.6)], "markersize": 9, "linestyle": "none", "color": "black", "clip_on": False}
    upper.plot([0], [0], transform=upper.transAxes, **slash)
    lower.plot([0], [1], transform=lower.transAxes, **slash)
    lower.set_ylim(0, BREAK)
    return figure, (upper, lower)


def _draw_act(axes: Axes, position: int, found: pd.DataFrame, is_here: pd.Series, colour: str) -> None:
    is_own = found["source"] == "actsweep"
    own, here = found[is_own]["accuracy"].to_numpy(), is_here[is_own].to_numpy()
    x = np.array(spread(position - 0.15, len(own), 0.12))
    axes.plot(x[here], own[here], "o", color=colour, markersize=3.5, alpha=0.6)
    axes.plot([position - 0.37, position + 0.07], [own.mean()] * 2, color=colour, linewidth=1.8)
    if interval := one_more_run(own):
        axes.plot([position - 0.15] * 2, interval, color=colour, linewidth=1)
    for shift, (source, marker) in zip((0.2, 0.36), EDITIONS.items(), strict=True):
        published = found[(found["source"] == source) & is_here]["accuracy"]
        where = [position + shift] * len(published)
        axes.plot(where, published, marker, color=colour, markerfacecolor="white", markersize=6)


def _magnified_range(values: pd.DataFrame) -> tuple[float, float]:
    """Around the points above BREAK and the intervals that reach there."""
    own = values[values["source"] == "actsweep"].groupby("act")["accuracy"]
    ends = [end for _, each in own for end in one_more_run(each.to_numpy()) or ()]
    shown = [value for value in [*values["accuracy"], *ends] if BREAK < value <= 100]
    return min(shown, default=BREAK) - 0.2, max(shown, default=100) + 0.2


def _values(groups: list[Setting]) -> pd.DataFrame:
    own = outcomes(groups, column="accuracy")[["setting", "seed", "accuracy"]].astype({"seed": str}).to_numpy()
    published = [
        (group.label, "42" if "42" in source else "", accuracies[group.act], source)
        for source, accuracies in PUBLISHED.items()
        for group in groups
        if group.act in accuracies
    ]
    rows = [*((*row, "actsweep") for row in own), *published]
    return pd.DataFrame(rows, columns=["act", "seed", "accuracy", "source"])


def _agreement(values: pd.DataFrame) -> str:
    own = values[values["source"] == "actsweep"].groupby("act")["accuracy"]
    intervals = {act: interval for act, each in own if (interval := one_more_run(each.to_numpy()))}
    published = values[(values["source"] != "actsweep") & values["act"].isin(intervals)]
    pairs = published[["act", "accuracy"]].to_numpy()
    inside = [intervals[act][0] <= value <= intervals[act][1] for act, value in pairs]
    return f"{sum(inside)} of {len(inside)} lie on their line"


def draw(runs: Runs) -> Drawing:
    wanted = "data=fashion_mnist and everything else as in conf/config.yaml"
    groups = keep(settings_of(runs), _comparable, f"no completed run is of the published network: {wanted}")
    values = _values(groups)
    look = looks(group.act for group in groups)
    figure, (upper, lower) = _broken_axis(max(6.5, 1.1 * len(groups) + 1.5))
    for position, group in enumerate(groups):
        found = values[values["act"] == group.label]
        for each, is_here in ((upper, found["accuracy"] > BREAK), (lower, found["accuracy"] <= BREAK)):
            _draw_act(each, position, found, is_here, look[group.act]["color"])
    low, high = _magnified_range(values)
    upper.set_ylim(low, high)
    lower.set_xticks(range(len(groups)), [literal(fill(group.label, 18)) for group in groups])
    lower.set_xlim(-0.6, len(groups) - 0.4)
    upper.set_ylabel("test accuracy (%), magnified")
    lower.set_ylabel("(%)")
    marks = [open_mark("this sweep, each seed", "o", fill="#444444")]
    marks += [open_mark(source, marker) for source, marker in EDITIONS.items()]
    figure.legend(handles=marks, loc="outside upper center", ncols=3)
    caption = (
        "Test accuracy in % on FashionMNIST's 10,000 test images. Points: each seed of this sweep; bar: their mean; "
        "line: where one more seed would fall with 95 % probability (Student's prediction interval, from two seeds "
        f"on). Open: what the two editions of UvA tutorial 3 publish, one run each; {_agreement(values)}. The axis is "
        "broken and changes its scale. " + with_diverged(groups) + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
