"""What findings say where not every number is known, and that what they advise is possible."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

from actsweep.statistics import atlas
from actsweep.statistics.findings import NOTE, find, signal
from actsweep.statistics.setting import Setting, settings_of
from actsweep.theory.critical import critical
from actsweep.theory.integrals import describe
from actsweep.theory.meanfield import MeanField
from tests.results.made_up_runs import result_of
from tests.statistics.test_findings import FLAT, LOST, SICK, VANISHING, found, layers_of, run, tables

REGRESSION = {"config": run()["config"] | {"loss": "mse"}, "classes": 0, "test_accuracy": None}
UNTRAINED = {"epochs": 0, "best_epoch": 0, "test_accuracy": 0.1}
UNKNOWN = {"epochs": 1, "best_epoch": 1, "classes": None, "test_accuracy": None}  # as a module of one's own
BEHIND = {"delta_ratio": layers_of([0.01] * 3), "grad_norm": layers_of([1e-6, 1e-4, 0.01, 1])}


def epochs(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.RangeIndex(1, n + 1, name="epoch"))


@pytest.mark.parametrize("kind", SICK)
@pytest.mark.parametrize("what", [REGRESSION, UNTRAINED, UNKNOWN, {"classes": 1}])
def test_no_finding_says_a_number_that_is_none(kind: str, what: dict[str, Any]) -> None:
    sick, changed, _ = SICK[kind]
    for table in (sick.epochs, sick.epochs.iloc[:1], sick.epochs[["val_loss"]], 0.0 * sick.epochs):
        for each in found(replace(sick, epochs=table), **changed | what):
            assert not re.search(r"\bnan\b|\binf\b|\bNone\b|\(\)|\b0 of 0\b", each.explanation), each.explanation
            assert not any(np.isnan(fact.value) for fact in each.evidence)


def test_of_untrained_networks_nothing_is_said_to_be_learnt() -> None:
    first = found(replace(tables(**BEHIND), epochs=epochs(val_loss=[2.3], val_accuracy=[0.1])), **UNTRAINED)[0]
    assert (first.kind, first.severity) == ("vanishing_gradient", NOTE)
    assert "learnt" not in first.explanation
    assert "Whether the runs learn isn’t known yet." in first.explanation


def test_of_a_regression_no_epochs_at_the_loss_of_guessing_are_counted() -> None:
    first = found(tables(**BEHIND), **REGRESSION)[0]
    assert (first.kind, first.severity) == ("vanishing_gradient", 2)
    assert "The runs learnt all the same. " in first.explanation


def test_a_regression_overfits_by_its_validation_loss_alone() -> None:
    val = [1, 0.5, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.8]
    losses = epochs(train_loss=np.geomspace(1, 0.01, 10), val_loss=val)
    (only,) = found(replace(tables(), epochs=losses), **REGRESSION)
    assert only.explanation == (
        "At the end, the validation loss, lowest in epoch 3, has risen by 0.40 of the first epoch’s."
    )
    assert [each.name for each in only.evidence] == ["rise of the validation loss since its lowest ÷ first epoch’s"]


def test_deaths_that_nobody_counted_are_not_said_to_be_none() -> None:
    sick, changed, _ = SICK["dying"]
    uncounted = found(sick, **changed)[0].explanation
    assert uncounted.endswith("half of that by epoch 1. Too large a step throws units to where their slope is 0.")
    counts = {name: layers_of([0.0, 0.2, 0.1]) for name in ("units_died", "units_revived")}
    counted = found(replace(sick, layers={**sick.layers, **counts}), **changed)[0].explanation
    assert "epoch 1. 2 deaths and 2 revivals a run: too large a step" in counted


@pytest.mark.parametrize(
    ("accuracies", "monitor", "finished"),
    [([0.5, 0.7, 0.6], None, True), ([0.5, 0.6, 0.7], None, False), ([0.5, 0.7, 0.6], "val_loss", False)],
)
def test_where_the_last_epoch_is_tested_the_best_is_that_of_the_monitored_score(
    accuracies: list[float], monitor: str | None, finished: bool
) -> None:
    config = run()["config"] | {"test": "last", "monitor": monitor, "trainer": {"max_epochs": 3}}
    curves = epochs(train_loss=[2.3, 1.6, 1.0], val_loss=[2.3, 2.0, 1.9], val_accuracy=accuracies)
    kinds = [each.kind for each in found(replace(tables(), epochs=curves), epochs=3, best_epoch=3, config=config)]
    assert kinds == ([] if finished else ["not_finished"])


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("torch.nn.functional.softplus", "norm=layer"),
        ("torch.nn.Softmax", "norm=layer"),
        ("torch.nn.Softshrink", "norm=layer"),
        ("actsweep.network.activations.Maxout", "norm=layer"),
        ("tests.network.own_activations.GroupSort", "norm=layer"),
        ("torch.nn.functional.leaky_relu", "init=critical"),
        ("torch.nn.Sigmoid", "init=critical"),
    ],
)
def test_the_edge_of_chaos_is_advised_to_functions_that_have_one(target: str, remedy: str) -> None:
    config = run()["config"] | {"act": {"_target_": target}}
    assert found(tables(FLAT, **VANISHING), config=config, **LOST)[0].remedy == (remedy,)


@pytest.mark.parametrize(("name", "settles"), [*((name, True) for name in sorted(signal.EDGE)), ("Softshrink", False)])
def test_variances_settle_on_the_edge_of_the_functions_that_it_is_advised_to(name: str, settles: bool) -> None:
    phi = describe(getattr(nn, name)())
    point = critical(phi, 0.1)
    first = point.weight_variance + point.bias_variance  # of inputs whose mean square is 1
    assert math.isfinite(MeanField(phi, point.weight_variance, point.bias_variance).fixed_point(first)) == settles


def test_an_accuracy_of_0_is_one_and_not_chance() -> None:
    runs = tuple(
        run(seed, classes=2, test_accuracy=each, data="fashion_mnist")
        for seed, each in enumerate((0.0, 0.9, 0.95, 0.96))
    )
    setting = Setting({"act": "tanh"}, completed=runs)
    (unstable,) = find([setting], lambda run: tables())
    assert unstable.evidence[1].value == pytest.approx(0.9)
    on_fashion = atlas.on_fashion([setting])
    assert on_fashion is not None
    assert on_fashion["accuracies"].tolist() == ["0 0.9 0.95 0.96"]


@pytest.mark.parametrize(
    ("seeds", "remedy"),
    [
        ([0, 1, 2], "seed=range(6)"),
        ([5, 6], "seed=range(5,11)"),
        ([3, 17, 99], "seed=3,4,5,6,17,99"),
        ([0, 1, 3], "seed=range(6)"),
    ],
)
@pytest.mark.parametrize(("worse", "said"), [(0.0, "are equal"), (0.1, "differ by the same")])
def test_seeds_that_there_are_stay_among_those_that_would_do(
    seeds: list[int], remedy: str, worse: float, said: str
) -> None:
    accuracies = {"relu": 0.9, "tanh": 0.9 - worse}
    runs = [
        result_of(act, [8], seed, "digits", folder=f"{act}{seed}", test_accuracy=accuracy)
        for act, accuracy in accuracies.items()
        for seed in seeds
    ]
    (few,) = find(settings_of(runs))
    assert few.remedy == (remedy,)
    assert few.explanation.endswith(f" {said} in every seed.")


LATER = (None, None, None, 0.7, 0.8, 0.7, 0.8, 0.75)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ({"relu": (0.90, 0.91, 0.95), "tanh": (0.90, 0.91)}, "relu and tanh are equal in every seed that both have."),
        ({"relu": (0.90, 0.91, 0.95), "tanh": (0.89, 0.90)}, " differ by the same in every seed that both have."),
        (
            {"relu": (0.9,) * 5} | dict.fromkeys(("tanh", "elu", "gelu", "selu"), LATER),
            "are needed, or 9 that both have.",
        ),
    ],
)
def test_how_many_seeds_would_do_is_said_of_pairs_that_are_compared(accuracies: dict[str, Any], said: str) -> None:
    runs = [
        result_of(act, [8], seed, "digits", folder=f"{act}{seed}", test_accuracy=accuracy)
        for act, found in accuracies.items()
        for seed, accuracy in enumerate(found)
        if accuracy is not None
    ]
    (few,) = find(settings_of(runs))
    assert few.explanation.endswith(said)
