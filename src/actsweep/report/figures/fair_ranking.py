"""How do activation functions rank with one learning rate for all, and how with the one that suits each?"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from actsweep.errors import UserError
from actsweep.report.captions import sample, with_diverged
from actsweep.report.drawing import Drawing, Look, legend, looks, panels
from actsweep.report.frames import PERCENT, Runs, averaged, with_accuracy
from actsweep.statistics.inference import compare_all
from actsweep.statistics.power import too_few_of
from actsweep.statistics.setting import Setting, act_order, chance, settings_of

SHARED, OWN = "one learning rate for all", "the learning rate that suits each"
Cells = dict[tuple[str, str, str], tuple[float, dict[int, float]]]  # seed → test accuracy in %


def _cells(groups: Sequence[Setting], observed: Sequence[Setting], all_runs: bool = False) -> Cells:
    """(where, side, act) → its learning rate and accuracies. At the shared rate, all functions were observed."""
    rates: dict[tuple[str, str], set[float]] = {}
    for group in observed:
        rates.setdefault((group.act, group.at_init("lr")), set()).add(_rate(group))
    common = set.intersection(*rates.values())
    if len(common) != 1:
        share = f"share {len(common)} learning rates" if common else "don't share a learning rate"
        raise UserError(f"these functions {share}, and it takes one that all have: run +sweeps=fair_fresh")
    cells: Cells = {}
    for group in groups:
        rate, where = _rate(group), group.at_init("lr")
        alone = len(rates[group.act, where]) == 1  # what suits it is the shared one
        found = group.outcomes(chance(group, groups) if all_runs else None)
        for side in [SHARED] * (rate in common) + [OWN] * (rate not in common or alone):
            cells[where, side, group.act] = rate, {seed: 100 * value for seed, value in found.items()}
    return cells


def _rate(group: Setting) -> float:
    return float(group.observed[0]["config"]["optim"]["lr"])


def _rows(cells: Cells) -> pd.DataFrame:
    rows = [(*cell, rate, *averaged(list(found.values()), (0, 100))) for cell, (rate, found) in cells.items()]
    table = pd.DataFrame(rows, columns=["init", "tuning", "act", "lr", "n", PERCENT, "low", "high"])
    table["rank"] = table.groupby(["init", "tuning"])[PERCENT].rank(ascending=False, method="min").astype(int)
    return table.sort_values(["init", "tuning", "rank"], ascending=[False, False, True], ignore_index=True)


def _panel(axes: Axes, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    """A line per function from its place without to its place with a learning rate of its own."""
    acts = sorted(rows["act"].unique(), key=act_order)
    for place, act in enumerate(acts):
        own = rows[rows["act"] == act].set_index("tuning").reindex([SHARED, OWN]).dropna(subset=["n"])
        x = [[SHARED, OWN].index(side) + 0.05 * (place - len(acts) / 2) for side in own.index]
        middle = own[PERCENT].to_numpy()
        bars = [middle - own["low"].to_numpy(), own["high"].to_numpy() - middle]
        axes.errorbar(x, middle, bars, linewidth=1, elinewidth=1, **look[act])
    axes.set_xticks([0, 1], ["one rate\nfor all", "a rate that\nsuits each"])
    axes.set_xlim(-0.4, 1.4)


def claims(cells: Cells) -> str:
    """For each panel and side, how many pairs of functions the paired tests tell apart."""
    said, why = [], dict[str, None]()
    for init, side in dict.fromkeys((init, side) for init, side, _ in cells):
        groups = {act: cell[1] for (i, s, act), cell in cells.items() if (i, s) == (init, side)}
        pairs = compare_all(groups)
        apart = sum(pair.differ for pair in pairs.values())
        said.append(f"{apart} of {len(pairs)} pairs at init={init} with {side}")
        few = too_few_of(groups)
        why |= dict.fromkeys(few.values() if len(few) == len(groups) else ())
    return f"Told apart by paired tests (Holm, 5 %): {'; '.join(said)}. " + "".join(f"{reason}. " for reason in why)


def draw(runs: Runs) -> Drawing:
    settings = settings_of(runs)
    groups = with_accuracy(settings, "no completed run has a test accuracy: only classifiers are ranked")
    observed = [*groups, *(each for each in settings if each.diverged and not each.completed)]
    cells = _cells(groups, observed)
    diverged = any(each.diverged for each in observed)
    table = _rows(cells)
    look = looks(table["act"])
    by_init = {f"init={init}": rows for init, rows in table.groupby("init", sort=False)}
    figure, axes = panels([*by_init], (3.4, 3.4), "", "test accuracy (%)", sharey=True)
    for each, rows in zip(axes, by_init.values(), strict=True):
        _panel(each, rows, look)
    legend(figure, {act: look[act] for act in sorted(look, key=act_order)})
    of_all = f"With diverged runs as chance: {claims(_cells(observed, observed, True))}" if diverged else ""
    caption = (
        "Test accuracy in %: means over seeds that chose no learning rate; bars: 95 % t-intervals. "
        f"{claims(cells)}{of_all}{with_diverged(observed)}{sample(runs, groups)}"
    )
    return Drawing(figure, table, caption)
