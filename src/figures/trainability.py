"""Which networks train, by σ_w² and depth, and does theory's depth scale say so?"""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from src.figures._drawing import Drawing, panels
from src.figures._runs import Run, act_order, keep, sample, settings
from src.figures._theory import reach
from src.statistics import proportion, trained

DIVERGED = " (Diverged runs are counted here as not trained.)"
NEEDS = "no completed run has init=variance and a test accuracy: use init=variance init.weight_variance=… "


def _table(runs: list[Run], every: list[Run]) -> pd.DataFrame:
    """A cell per activation, σ_w² and depth. Diverged runs have not trained."""
    cells: dict[tuple[str, float, int], list[Run]] = {}
    for run in every:
        cells.setdefault((run["act"], run["config"]["init"]["weight_variance"], run["depth"]), []).append(run)
    rows = []
    for (act, variance, depth), own in sorted(cells.items(), key=lambda cell: (act_order(cell[0][0]), *cell[0][1:])):
        count = sum(run in runs and trained(run["test_accuracy"], run["classes"]) for run in own)
        share = proportion(count, len(own))
        predicted = reach(own[0])
        rows.append((act, variance, depth, len(own), count, share.value, share.low, share.high, predicted))
    columns = ["act", "weight_variance", "depth", "n", "trained", "share", "low", "high", "theory_depth"]
    return pd.DataFrame(rows, columns=columns)


def _panel(axes: Axes, rows: pd.DataFrame) -> Any:
    grid = rows.pivot(index="depth", columns="weight_variance", values="share")
    x, y = np.arange(grid.shape[1]), np.arange(grid.shape[0])
    image = axes.pcolormesh(x, y, grid.to_numpy(), cmap=mpl.colormaps["cividis"], vmin=0, vmax=1, shading="nearest")
    for cell in rows.to_dict("records"):
        place = list(grid.columns).index(cell["weight_variance"]), list(grid.index).index(cell["depth"])
        words = f"{int(cell['trained'])}/{int(cell['n'])}\n{cell['low']:.1f}–{cell['high']:.1f}"
        shade = "black" if cell["share"] > 0.5 else "white"
        axes.text(*place, words, ha="center", va="center", fontsize=6, color=shade)
    contour = rows.groupby("weight_variance")["theory_depth"].first().to_numpy()
    depths = np.log(grid.index.to_numpy(dtype=float))
    height = np.interp(np.log(np.maximum(contour, 1e-9)), depths, y)  # ends stay at the edge of the axis
    axes.plot(x, np.where(contour < grid.index.min(), -0.5, np.where(contour > grid.index.max(), len(y) - 0.5, height)),
              color="#D55E00", marker="o", clip_on=False)  # fmt: skip
    axes.set_xticks(x, [f"{value:g}" for value in grid.columns])
    axes.set_yticks(y, [str(value) for value in grid.index])
    axes.set_ylim(-0.5, len(y) - 0.5)
    return image


def agreement(table: pd.DataFrame) -> str:
    """In how many cells the majority of seeds did what 6 ξ_c says."""
    known = table[table["theory_depth"].notna()]
    right = ((known["depth"] <= known["theory_depth"]) == (known["share"] > 0.5)).sum()
    share = proportion(int(right), len(known))
    return (
        f"6 ξ_c says rightly for {right} of {len(known)} cells whether most seeds train "
        f"({100 * share.value:.0f} %, 95 % interval {100 * share.low:.0f} to {100 * share.high:.0f} %). "
        if len(known)
        else ""
    )


def draw(runs: list[dict[str, Any]]) -> Drawing:
    def wanted(run: Run) -> bool:
        return run.get("test_accuracy") is not None and "weight_variance" in (run["config"].get("init") or {})

    groups = keep(settings(runs), lambda run: wanted(run) and run["init"] == "variance", NEEDS)
    kept = [run for group in groups for run in group.runs]
    diverged = [run for run in runs if run["status"] == "diverged" and run["init"] == "variance"]
    table = _table(kept, kept + diverged)
    acts = list(dict.fromkeys(table["act"]))
    figure, axes = panels(len(acts), (4.2, 3.2), "σ_w²", "hidden layers")
    for each, act in zip(axes, acts, strict=True):
        image = _panel(each, table[table["act"] == act])
        each.set_title(act)
    figure.colorbar(image, ax=axes, label="share of seeds that trained", shrink=0.8)
    caption = (
        "Share of seeds that trained (closed a tenth of the gap between chance and perfection; diverged ones did not), "
        "with Wilson's 95 % interval. Line: 6 ξ_c, to which theory expects training (Schoenholz et al. 2017), cut at "
        "the edges. " + agreement(table) + sample(runs, groups) + DIVERGED
    )
    return Drawing(figure, table.replace([np.inf, -np.inf], np.nan), caption)
