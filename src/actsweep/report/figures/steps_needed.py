"""How many steps does each setting need until it classifies every training example right?"""

import pandas as pd

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, beside, looks, rows, spread
from actsweep.report.frames import Runs, keep, table, with_table
from actsweep.results.reading import Run


def _steps(run: Run) -> tuple[int | None, int]:
    """The number of optimiser steps after which accuracy first was 1, or None; and of all steps."""
    epochs = table(run, "epochs")
    reached = epochs.loc[epochs["val_accuracy"] == 1.0, "step"]
    return (None if reached.empty else int(reached.iloc[0])), int(epochs["step"].iloc[-1])


def draw(runs: Runs) -> Drawing:
    missing = "no completed run has a validation accuracy in epochs.csv: only classifiers reach 100 %"
    groups = keep(with_table(runs, "epochs"), lambda run: "val_accuracy" in table(run, "epochs"), missing)
    found = [(group.act, group.label, run["seed"], *_steps(run)) for group in groups for run in group.completed]
    columns = ["act", "setting", "seed", "steps_needed", "steps_made"]
    values = pd.DataFrame(found, columns=columns).astype({"steps_needed": "Int64"})
    held_out = any(run["config"]["data"]["val_size"] for group in groups for run in group.completed)
    known = "validation" if held_out else "training"
    figure, axes = rows(groups, f"until 100 % {known} accuracy (optimiser steps)")
    look = looks(group.act for group in groups)
    for row, group in enumerate(groups):
        own = values[values["setting"] == group.label].reset_index(drop=True)
        heights = pd.Series(spread(row, len(own)))
        reached = own["steps_needed"].notna()
        colour = look[group.act]["color"]
        axes.plot(own.loc[reached, "steps_needed"].astype(float), heights[reached], "o", color=colour, markersize=4)
        never = {"color": colour, "markerfacecolor": "white", "markersize": 5, "clip_on": False, "gid": "never"}
        if not reached.all():
            edge = [1.0] * int((~reached).sum())
            axes.plot(edge, heights[~reached], ">", transform=axes.get_yaxis_transform(), **never)
            beside(axes, row, f"  {len(edge)} of {len(own)} not within {own.loc[~reached, 'steps_made'].max():,} steps")
    reached_at = values["steps_needed"].dropna()
    if len(reached_at) and reached_at.max() > 100 * reached_at.min():
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, 1.08 * (reached_at if len(reached_at) else values["steps_made"]).max())
    caption = (
        f"Optimiser steps after which every {known} example was first classified right, checked after each epoch on "
        "the validation set, which is the training set where nothing is held out. Each point is a seed; open triangles "
        "at the right edge never got there. " + sample(runs, groups)
    )
    return Drawing(figure, values, caption)
