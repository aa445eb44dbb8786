"""How much do the gradients of untrained networks differ from seed to seed, and is that what theory says?"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats  # type: ignore[import-untyped]

from actsweep.report.captions import sample
from actsweep.report.drawing import Drawing, Look, looks, panels
from actsweep.report.frames import Runs, by_layer, keep
from actsweep.report.reach import log_variance
from actsweep.report.wording import fixed
from actsweep.results.reading import Run
from actsweep.statistics.setting import Setting, settings_of

QUANTITIES = ("delta_ratio", "delta_ratio_theory")
THEORY: Look = {"color": "#444444", "linewidth": 1}
COLUMNS = ["act", "setting", "seed", "log_ratio", "theory_mean", "theory_variance"]
NEEDS = "no completed run has theory's predictions, and gradients other than 0, of all layers: use diagnostics=[theory]"


def _log_ratio(run: Run, quantity: str) -> float:
    """Σ ln of the squared quantity over layers: of the gradient at the first layer, relative to the output layer's."""
    found = by_layer(run, [quantity], epoch=0)
    values = found["value"].to_numpy() if len(found) else np.zeros(1)
    return 2 * float(np.log(values).sum()) if (values > 0).all() else math.nan


def _values(group: Setting) -> pd.DataFrame:
    variance = log_variance(group.first)
    mean = _log_ratio(group.first, "delta_ratio_theory") - variance / 2
    ratios = {run["seed"]: _log_ratio(run, "delta_ratio") for run in group.completed}
    rows = [(group.act, group.label, *each, mean, variance) for each in ratios.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _panel(axes: Axes, own: pd.DataFrame, look: Look) -> None:
    found, (mean, variance) = np.sort(own["log_ratio"]), own[["theory_mean", "theory_variance"]].iloc[0]
    axes.ecdf(found, color=look["color"])
    if math.isfinite(variance):
        reach = max(4 * math.sqrt(variance), np.abs(found - mean).max())
        x = np.linspace(mean - reach, mean + reach, 201)
        axes.plot(x, stats.norm(mean, math.sqrt(variance)).cdf(x), **THEORY)
    axes.set_ylim(-0.02, 1.02)


def said(own: pd.DataFrame) -> str:
    """Measured and predicted mean and variance, and whether their distributions can be told apart.

    >>> normal = stats.norm(-0.5, 1.0).ppf((np.arange(100) + 0.5) / 100)
    >>> said(pd.DataFrame({"setting": "relu", "log_ratio": normal, "theory_mean": -0.5, "theory_variance": 1.0}))
    'relu: mean -0.50 (theory -0.50), variance 1.00 (theory 1.00), Kolmogorov–Smirnov p = 1'
    """
    found, (mean, variance) = own["log_ratio"], own[["theory_mean", "theory_variance"]].iloc[0]
    means = f"{own['setting'].iloc[0]}: mean {found.mean():.2f}"
    measured = f"variance {fixed(found.var())}"  # a dash of one network
    if not math.isfinite(variance):
        return f"{means}, {measured}, theory not known"
    p = stats.kstest(found, stats.norm(mean, math.sqrt(variance)).cdf).pvalue
    return f"{means} (theory {mean:.2f}), {measured} (theory {variance:.2f}), Kolmogorov–Smirnov p = {p:.2g}"


def draw(runs: Runs) -> Drawing:
    groups = keep(
        settings_of(runs), lambda run: all(math.isfinite(_log_ratio(run, each)) for each in QUANTITIES), NEEDS
    )
    look = looks(group.act for group in groups)
    xlabel = "ln (‖∂L/∂z‖² first / output layer)"
    figure, axes = panels([group.label for group in groups], (3.4, 2.8), xlabel, "share of networks", sharey=True)
    tables = [_values(group) for group in groups]
    for each, group, own in zip(axes, groups, tables, strict=True):
        _panel(each, own, look[group.act])
    axes[0].legend(handles=[Line2D([], [], label="theory", **THEORY)], loc="upper left", fontsize=8)
    caption = (
        "Untrained networks: the share with at most so large a gradient at the first layer, beside the normal "
        "distribution that mean-field theory gives for wide layers at one example (for critical ReLU networks "
        f"variance β = 5 Σ 1/width, mean −β/2; Hanin & Nica 2020). {'; '.join(map(said, tables))}. "
    )
    values = pd.concat(tables, ignore_index=True).dropna(axis=1, how="all")
    return Drawing(figure, values, caption + sample(runs, groups))
