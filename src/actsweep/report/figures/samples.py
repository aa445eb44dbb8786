"""What do the examples that the networks learn look like?"""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from actsweep.errors import UserError
from actsweep.report.dataset import dataset_of
from actsweep.report.drawing import Drawing, panels
from actsweep.report.frames import Runs
from actsweep.report.tasks import titled
from actsweep.results.reading import data_of

if TYPE_CHECKING:
    from actsweep.data.dataset import Dataset

PER_CLASS = 4


def _images(dataset: "Dataset", rows: list[int]) -> npt.NDArray[Any]:
    """Some examples of the pool above each other, a blank line between them: (height, width) or (height, width, 3)."""
    images = dataset.pool.inputs[rows].reshape(len(rows), *dataset.shape).numpy()
    if images.ndim == 4:
        images = np.moveaxis(images, 1, -1) if images.shape[1] in (1, 3) else images
    blank = np.full((1, *images.shape[2:]), 0 if images.ndim == 3 else images.max(), dtype=images.dtype)  # white
    return np.concatenate([line for image in images for line in (image, blank)][:-1])


def draw(runs: Runs) -> Drawing:
    first = list({data_of(run): run for run in reversed(runs)}.values())
    opened = dict(zip(titled(first), map(dataset_of, first), strict=True))
    images = {name: data for name, data in opened.items() if len(data.shape) > 1 and data.classes}
    if not images:
        raise UserError(f"data={', '.join(opened)}: the examples are no images of classes")
    rows = [
        (name, number, title, (data.pool.labels == number).nonzero().flatten()[:PER_CLASS].tolist())
        for name, data in sorted(images.items())
        for number, title in enumerate(data.classes)
    ]
    columns = min(10, max(len(data.classes) for data in images.values()))
    titles = [title if number or len(images) == 1 else f"{fill(name, 18)}\n{title}" for name, number, title, _ in rows]
    figure, axes = panels(titles, (1, 3.1), "", "", columns)
    for each, (name, _, _, chosen) in zip(axes, rows, strict=True):
        each.imshow(_images(images[name], chosen), cmap="gray_r", interpolation="nearest")
        each.set_axis_off()
        each.title.set_fontsize(8)
    drawn = [(name, example, title) for name, _, title, chosen in rows for example in chosen]
    table = pd.DataFrame(drawn, columns=["data", "example", "class"])
    caption = (
        f"The first {PER_CLASS} examples of each class of {', '.join(sorted(images))}, in the order of the data set "
        f"(training and validation), raw intensities, dark is high. n = {len(table)} of "
        f"{sum(len(data.pool) for data in images.values()):,} images."
    )
    return Drawing(figure, table, caption)
