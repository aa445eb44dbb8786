"""Which networks train, by σ_w² and depth, and does theory's depth scale say so?"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, panels
from actsweep.report.frames import Runs, keep, trained_of
from actsweep.report.reach import reach
from actsweep.results.reading import Run
from actsweep.statistics.inference import proportion
from actsweep.statistics.setting import Setting, act_order, settings_of

NEEDS = "no completed run has init=variance and a test accuracy: use init=variance init.weight_variance=… "


def _table(groups: Sequence[Setting]) -> pd.DataFrame:
    """A cell per setting: activation and whatever else varies, σ_w² and depth. Diverged runs have not trained."""
    rows = []
    for group in groups:
        first, (count, n) = group.observed[0], trained_of(group)
        share = proportion(count, n)
        panel = ", ".join(filter(None, [group.act, group.besides("weight_variance", "depth")]))
        cell = panel, first["config"]["init"]["weight_variance"], first["depth"]
        rows.append((*cell, n, count, share.value, share.low, share.high, reach(first)))
    rows.sort(key=lambda row: (act_order(row[0]), *row[1:3]))
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
    depths = np.log(np.maximum(grid.index.to_numpy(dtype=float), 1e-9))
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
    if known.empty:
        return ""
    right = ((known["depth"] <= known["theory_depth"]) == (known["share"] > 0.5)).sum()
    share = proportion(int(right), len(known))
    sure = f"{100 * share.value:.0f} %, 95 % interval {100 * share.low:.0f} to {100 * share.high:.0f} %"
    return f"6 ξ_c says rightly for {right} of {len(known)} cells whether most seeds train ({sure}). "


def draw(runs: Runs) -> Drawing:
    def of_variance(run: Run) -> bool:
        return run["init"] == "variance" and "weight_variance" in (run["config"].get("init") or {})

    settings = settings_of(runs)
    groups = keep(settings, lambda run: of_variance(run) and run.get("test_accuracy") is not None, NEEDS)
    table = _table(
        [*groups, *(each for each in settings if not each.completed and any(map(of_variance, each.diverged)))]
    )
    by_act = {str(act): rows for act, rows in table.groupby("act", sort=False)}
    figure, axes = panels([*by_act], (4.2, 3.2), "σ_w²", "hidden layers")
    for each, rows in zip(axes, by_act.values(), strict=True):
        image = _panel(each, rows)
    figure.colorbar(image, ax=axes, label="share of seeds that trained", shrink=0.8)
    caption = (
        "Share of seeds that trained (closed a tenth of the gap between chance and perfection; diverged ones did not), "
        "with Wilson's 95 % interval. Line: 6 ξ_c, to which theory expects training (Schoenholz et al. 2017), cut at "
        "the edges. " + agreement(table) + sample(runs, groups) + " (Diverged runs are counted here as not trained.)"
    )
    return Drawing(figure, table.replace([np.inf, -np.inf], np.nan), caption)
