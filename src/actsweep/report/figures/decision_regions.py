"""Which class does a trained network see where in the plane, and do the training points lie on the right side?"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from actsweep.report.captions import sample
from actsweep.report.dataset import training_examples
from actsweep.report.drawing import COLOURS, Drawing, Look, panels
from actsweep.report.frames import Runs, has_table, of_group, table, with_table
from actsweep.results.reading import Run, measured_at

MOST_POINTS = 2000


def _training_accuracy(run: Run) -> float | None:
    """At the tested epoch, as a fraction."""
    if not has_table(run, "epochs"):
        return None
    epochs = table(run, "epochs").set_index("epoch")
    found = dict(epochs.get("train_accuracy", pd.Series(dtype=float)).dropna())
    return found.get(measured_at(run, found))


def _points(run: Run) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The training points as the network sees them, at most MOST_POINTS; and the names of the classes."""
    dataset, examples = training_examples(run)
    train = examples[:MOST_POINTS]
    inputs = dataset.scale(train.inputs.clone()).numpy()
    found = pd.DataFrame({"x1": inputs[:, 0], "x2": inputs[:, 1], "class": train.labels.long().numpy().reshape(-1)})
    return found, dataset.classes


def _colours(regions: pd.DataFrame, classes: int) -> np.ndarray[Any, Any]:
    """A colour for each grid point: that of the predicted class, the paler the less probable."""
    base = np.array([to_rgb(COLOURS[i % len(COLOURS)]) for i in range(classes)])[regions["prediction"].astype(int)]
    probability = regions["probability"].to_numpy()
    if classes == 2:
        probability = np.maximum(probability, 1 - probability)  # the table has that of class 1
    certainty = np.clip((probability - 1 / classes) / (1 - 1 / classes), 0, 1)[:, None]
    return 1 - (1 - base) * (0.12 + 0.38 * certainty)


def _panel(axes: Axes, regions: pd.DataFrame, points: pd.DataFrame, classes: int) -> None:
    regions = regions.sort_values(["x2", "x1"])
    x1, x2 = np.unique(regions["x1"]), np.unique(regions["x2"])
    colours = _colours(regions, classes).reshape(len(x2), len(x1), 3)
    dx, dy = (x1[1] - x1[0]) / 2, (x2[1] - x2[0]) / 2
    extent = (x1[0] - dx, x1[-1] + dx, x2[0] - dy, x2[-1] + dy)
    axes.imshow(colours, extent=extent, origin="lower", interpolation="nearest", aspect="equal")
    prediction = regions["prediction"].to_numpy().reshape(len(x2), len(x1))
    for border in range(classes if classes > 2 else 1):
        axes.contour(x1, x2, prediction == border, levels=[0.5], colors="#333333", linewidths=0.6)
    for number, members in points.groupby("class"):
        look: Look = {"color": COLOURS[int(str(number)) % len(COLOURS)], "markeredgecolor": "white"}
        axes.plot(members["x1"], members["x2"], "o", markersize=3, markeredgewidth=0.3, **look)


def draw(runs: Runs) -> Drawing:
    groups = with_table(runs, "regions")
    accuracies = {group.label: _training_accuracy(group.first) for group in groups}
    titles = [f"{label}\ntraining accuracy {of:.1%}" if of is not None else label for label, of in accuracies.items()]
    figure, axes = panels(titles, (2.9, 3.2), "x₁ (1)", "x₂ (1)")
    figure.set_layout_engine("compressed")  # for panels whose aspect is fixed
    tables = []
    for each, group in zip(axes, groups, strict=True):
        regions = table(group.first, "regions")
        points, classes = _points(group.first)
        _panel(each, regions, points, len(classes))
        kinds = [regions.round(5).assign(kind="grid"), points.assign(kind="training point")]
        tables.append(of_group(group, pd.concat(kinds)))
    values = pd.concat(tables, ignore_index=True)
    columns = ["act", "setting", "seed", "kind", "x1", "x2", "class", "prediction", "probability"]
    caption = (
        "Areas: the predicted class, the paler the less probable; lines: where it changes. Points: training examples, "
        f"at most {MOST_POINTS:,}, in the colour of their class. Inputs have no unit. Training accuracy is that logged "
        "while the tested epoch trained. " + sample(runs, groups, lowest_seed=True)
    )
    return Drawing(figure, values[columns].astype({"class": "Int64", "prediction": "Int64"}), caption)
