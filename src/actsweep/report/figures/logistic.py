"""How does a network with one output separate two classes: which logit does it give to the examples of each?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import COLOURS, Drawing, panels
from actsweep.report.frames import Runs, keep, of_group, table, with_table


def _panel(axes: Axes, found: pd.DataFrame) -> None:
    furthest = max(1.0, float(found["output"].abs().max()) * 1.05)
    z = np.linspace(-furthest, furthest, 400)
    axes.plot(z, 1 / (1 + np.exp(-z)), color="black", linewidth=1.3)
    axes.axvline(0, color="#777777", linestyle="--", linewidth=1)
    heights = found["label"] + np.random.default_rng(0).uniform(-0.05, 0.05, len(found))
    for label in (0, 1):
        members = found["label"] == label
        axes.plot(found.loc[members, "output"], heights[members], ".", color=COLOURS[label], markersize=4, alpha=0.4)
    axes.set_yticks([0, 0.5, 1])


def draw(runs: Runs) -> Drawing:
    missing = "no completed run with predictions.csv has a single output for two classes: train with loss=bce"
    groups = keep(with_table(runs, "predictions"), lambda run: run["config"].get("loss") == "bce", missing)
    columns = ["act", "setting", "seed", "example", "label", "prediction", "loss", "output"]
    tables = [of_group(group, table(group.first, "predictions")) for group in groups]
    values = pd.concat(tables, ignore_index=True)[columns]
    cells = {str(label): own for label, own in values.groupby("setting", sort=False)}
    right = {label: (own["prediction"] == own["label"]).mean() for label, own in cells.items()}
    titles = [f"{label}\n{right[label]:.1%} of {len(own):,} right" for label, own in cells.items()]
    figure, axes = panels(titles, (3.2, 2.5), "output z (log odds of class 1)", "label, σ(z)", sharey=True)
    for each, own in zip(axes, cells.values(), strict=True):
        _panel(each, own.reset_index(drop=True))
    caption = (
        "Each test example's output z against its label, which is 0 or 1 and jittered to be seen. Curve: σ(z), the "
        "probability of class 1; dashed: the decision boundary z = 0. z is in nats of log odds. "
    )
    return Drawing(figure, values, caption + sample(runs, groups, lowest_seed=True))
