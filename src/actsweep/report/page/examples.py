"""What one run gets wrong: its confusion matrix, and the test examples with the highest loss."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.image import imsave

from actsweep.report.dataset import pictures_of
from actsweep.report.tasks import Task
from actsweep.report.wording import number, shortened
from actsweep.results.folders import Folders
from actsweep.results.reading import Run

if TYPE_CHECKING:
    from actsweep.data.dataset import Pictures

NO_METADATA: Any = {"Software": None}
PAIR = ["label", "prediction"]
MOST_CLASSES, MOST_EXAMPLES, MOST_CONFUSIONS = 20, 24, 8


def _best(task: Task, folders: Folders) -> tuple[Run, pd.DataFrame] | None:
    """The run with the best validation accuracy (by its test accuracy it would flatter itself), and its predictions."""
    runs = [run for group in task.settings for run in group.completed if run.get("classes")]
    for run in sorted(runs, key=lambda run: -(run.get("val_accuracy") or 0)):
        found = folders.read(run, "predictions", ("example", *PAIR, "loss"))
        if found is not None:
            among = ((found[PAIR] >= 0) & (found[PAIR] < run["classes"])).all(axis=1)
            if len(found := found[among & found["example"].notna()]):
                return run, found
    return None


def _confused(counts: npt.NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """The most frequent mistakes, from (labels, predictions) → how many."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    places = [divmod(int(place), len(counts)) for place in order if wrong.flat[place]]
    return [
        f"{names[label]} → {names[prediction]}: {wrong[label, prediction]} of {counts[label].sum()}"
        for label, prediction in places
    ]


def _open(run: Run) -> "tuple[Pictures | None, str]":
    try:
        return pictures_of(run), ""
    except Exception as error:  # whatever a data set's loader raises, the rest of the page needs none of it
        reason = str(error.__cause__ or error).partition("\n")[0]
        return None, f"The data set can’t be opened here ({shortened(reason, 200)}), so classes are numbers."


def _data_uri(image: npt.NDArray[Any], low: float, high: float) -> str:
    """A PNG in the page itself; dark is high, as ink on paper."""
    png = io.BytesIO()
    imsave(png, image, vmin=low, vmax=high, cmap="gray_r", format="png", origin="upper", metadata=NO_METADATA)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _worst(found: pd.DataFrame, pictures: "Pictures", names: Sequence[str]) -> list[dict[str, str]]:
    shape, inputs = pictures.shape, pictures.test
    colour = len(shape) == 3 and shape[0] in (1, 3)
    if len(shape) < 2 or (len(shape) == 3 and not colour):
        return []
    known = found[(found["example"] >= 0) & (found["example"] < len(inputs))].dropna(subset=["loss"])
    low, high = float(inputs.min()), float(inputs.max())
    worst = []
    for row in known.sort_values("loss", ascending=False, kind="stable").head(MOST_EXAMPLES).to_dict("records"):
        image = inputs[int(row["example"])].reshape(shape)
        image = np.moveaxis(image, 0, -1).squeeze() if colour else image
        label, prediction = names[int(row["label"])], names[int(row["prediction"])]
        facts = {"label": label, "prediction": prediction, "loss": number(float(row["loss"]))}
        worst.append(facts | {"image": _data_uri(image, low, high)})
    return worst


def _chosen(run: Run) -> str:
    """Why this run, and its test accuracy."""
    test = f"{100 * run['test_accuracy']:.2f} %"
    if run.get("val_accuracy") is None:
        return f"The first run, as nothing was validated; its test accuracy is {test}."
    if not (run["config"].get("data") or {}).get("val_size"):
        of = "its training examples, as none is held out for a validation"
        return f"The run with the best accuracy on {of}; its test accuracy is {test}."
    return f"The run with the best validation accuracy, so that its test accuracy, {test}, was not what chose it."


def examples_of(task: Task, folders: Folders) -> dict[str, Any] | None:
    """One run's mistakes, the best one's if that is known; None where no run of this task noted its predictions, or
    they are no classes."""
    best = _best(task, folders)
    if best is None:
        return None
    run, found = best
    classes = run["classes"]
    pictures, problem = _open(run)
    titles = pictures.classes if pictures else ()
    names = titles if len(titles) == classes else tuple(map(str, range(classes)))
    labels, predictions = found[PAIR].to_numpy(dtype=np.int64).T
    counts = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    return {
        "task": task.title,
        "run": run["name"],
        "chosen": _chosen(run),
        "n": int(counts.sum()),
        "names": names,
        "matrix": counts.tolist() if len(names) <= MOST_CLASSES else None,
        "confused": _confused(counts, names),
        "worst": _worst(found, pictures, names) if pictures else [],
        "problem": problem,
    }
