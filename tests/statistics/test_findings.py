"""Rules on made-up tables: what a setting's runs recorded is known, so what must be found is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actsweep.results.folders import Measured
from actsweep.results.reading import Run
from actsweep.statistics import findings
from actsweep.statistics.findings import KINDS, Finding, Tables, find
from actsweep.statistics.setting import Setting, settings_of

LAYERS = ("layer_01", "layer_02", "layer_03", "layer_04")
EPOCHS = 10
Numbers = Sequence[float]


def run(seed: int = 0, **changed: Any) -> Run:
    config = {
        "act": {"_target_": "torch.nn.Tanh"}, "names": {"act": "tanh", "init": "gain"}, "patience": 7, "depth": 3,
        "trainer": {"max_epochs": 50}, "optim": {"lr": 0.01}, "data": {"source": {}, "val_size": 200},
        "loss": "cross_entropy",
    }  # fmt: skip
    return {
        "name": f"tanh-d3-s{seed}", "folder": f"tanh-d3-s{seed}", "act": "tanh", "depth": 3, "hidden_sizes": [16] * 3,
        "seed": seed,
        "config": config, "status": "completed", "epochs": EPOCHS, "best_epoch": 7, "classes": 10, "test_accuracy": 0.9,
        "test_loss": 0.3,
    } | changed  # fmt: skip


def layers_of(untrained: Numbers, trained: Numbers | None = None) -> Measured:
    """A value for each layer before training, and after each epoch."""
    rows = np.array([untrained, *[trained or untrained] * EPOCHS], dtype=float)
    epochs = np.arange(EPOCHS + 1)
    return Measured(epochs, epochs, False, LAYERS[: rows.shape[1]], rows)


def tables(train_loss: Numbers | None = None, **quantities: Measured) -> Tables:
    """Of a healthy run, where nothing else is said."""
    loss = list(train_loss or np.geomspace(1.0, 0.01, EPOCHS))
    columns = {"train_loss": loss, "val_loss": np.array(loss) + 0.1, "train_accuracy": 0.95, "val_accuracy": 0.9}
    healthy = {
        "signal": layers_of([0.9, 0.8, 0.8, 0.8]),
        "pre_activation_mean": layers_of([0.0] * 4),
        "pre_activation_std": layers_of([1.0] * 4),
        "grad_norm": layers_of([1.0] * 4),
        "delta_ratio": layers_of([1.0] * 3),
        "delta_ratio_theory": layers_of([0.99] * 3),
        "update_ratio": layers_of([1e-3] * 4),
        "dead_fraction": layers_of([0.0] * 3),
        "saturated_fraction": layers_of([0.1] * 3),
        "theory_deviates": layers_of([0.0] * 4),
    }
    curves = pd.DataFrame({"x": [-5.0, 0.0, 5.0], "slope": [0.001, 1.0, 0.001]})
    epochs = pd.DataFrame(columns, index=pd.RangeIndex(1, len(loss) + 1, name="epoch"))
    return Tables(epochs, healthy | quantities, {"curves": curves}.get)


def found(sick: Tables, seeds: int = 3, **changed: Any) -> tuple[Finding, ...]:
    return find(
        [Setting({"act": "tanh"}, **endings([run(seed, **changed) for seed in range(seeds)]))], lambda run: sick
    )


def endings(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    return {ended: tuple(each for each in runs if each["status"] == ended) for ended in ("completed", "diverged")}


FLAT = [2.3] * EPOCHS
LOST = {"test_accuracy": 0.1}
TENTH = layers_of([0.1] * 3)
VANISHING = {
    "signal": layers_of([0.4, 0.04, 0.004, 0.0004]),
    "delta_ratio": TENTH,
    "delta_ratio_theory": layers_of([0.11] * 3),
}
TO_THE_LAST = {"best_epoch": 10, "config": run()["config"] | {"trainer": {"max_epochs": 10}}}
SICK: dict[str, tuple[Tables, dict[str, Any], str | None]] = {
    "vanishing_signal": (tables(FLAT, **VANISHING), LOST, "layer_04"),
    "vanishing_gradient": (tables(FLAT, grad_norm=layers_of([1e-6, 0.01, 1, 1]), delta_ratio=TENTH), LOST, "layer_01"),
    "exploding_signal": (tables([1e9, *FLAT], signal=layers_of([1, 10, 100, 1000])), LOST, "layer_04"),
    "exploding_gradient": (
        tables([50, *FLAT], grad_norm=layers_of([1e3, 100, 10, 1]), delta_ratio=layers_of([10.0] * 3)), LOST, "layer_01"
    ),
    "step_too_small": (tables(FLAT, update_ratio=layers_of([1e-7] * 4, [1e-6] * 4)), LOST, None),
    "step_too_large": (tables([900, *FLAT], update_ratio=layers_of([0.3] * 4)), LOST, None),
    "born_dead": (tables(FLAT, dead_fraction=layers_of([0.0, 0.4, 1.0])), LOST, "layer_03"),
    "dying": (
        replace(tables(dead_fraction=layers_of([0, 0, 0], [0, 0.6, 0.3])), read=lambda name: None), {}, "layer_02"
    ),
    "saturated": (tables(saturated_fraction=layers_of([0.3, 0.8, 0.9])), {}, "layer_03"),
    "always_linear": (tables(always_linear=layers_of([1.0, 1.0, 0.9])), {}, "layer_01"),
    "collapsed": (tables(FLAT, signal=layers_of([1.0] * 4, [0.1, 1e-4, 0.1, 0.1])), LOST, "layer_02"),
    "layer_stands_still": (tables(update_ratio=layers_of([1e-3] * 4, [1e-3, 1e-3, 0, 1e-3])), {}, "layer_03"),
    "stopped_on_plateau": (tables(np.linspace(2.3, 1.5, EPOCHS).tolist()), {}, None),
    "not_finished": (tables(np.linspace(2.3, 1.0, EPOCHS).tolist()), TO_THE_LAST, None),
    "init_misfit": (
        tables([2.3] * 3 + [0.1] * 7, signal=layers_of([1, 0.6, 0.3, 0.15]), delta_ratio_theory=layers_of([0.5] * 3)),
        {}, "layer_01",
    ),
    "theory_deviates": (tables(theory_deviates=layers_of([0, 0, 1, 1])), {}, "layer_03"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SICK)
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_cause_is_found_first_and_in_its_layer(kind: str, seeds: int) -> None:
    sick, changed, layer = SICK[kind]
    first, *others = found(sick, seeds, **changed)
    assert (first.kind, first.where.layer, first.follows) == (kind, layer, "")
    assert all(each.follows == kind for each in others)
    assert first.evidence[0].n == seeds
    assert first.explanation
    assert first.source


def test_what_vanishes_says_by_how_much_each_layer_shrinks_it_and_what_theory_says() -> None:
    first = found(tables(FLAT, **VANISHING), **LOST)[0]
    total, signal, gradient, lost = first.evidence
    assert (total.value, total.threshold) == (pytest.approx(1e-3), 0.1)
    assert (signal.value, gradient.value, gradient.theory) == (
        pytest.approx(0.1),
        pytest.approx(0.1),
        pytest.approx(0.11),
    )
    assert (lost.value, lost.n, first.severity, first.remedy) == (1.0, 3, 3, ("init=critical",))
    assert "0.1 (theory: 0.11)" in first.explanation


def test_healthy_runs_have_no_finding() -> None:
    assert found(tables()) == ()
    assert found(tables(), 1) == ()


@pytest.mark.parametrize("kind", SICK)
def test_what_was_not_measured_or_is_not_finite_is_no_finding_and_no_error(kind: str) -> None:
    sick, changed, _ = SICK[kind]
    broken = {key: replace(each, values=np.full_like(each.values, math.inf)) for key, each in sick.layers.items()}
    less = [{other: sick.layers[other] for other in sick.layers if other != name} for name in sick.layers]
    for layers in ({}, broken, *less):
        assert {each.kind for each in found(replace(sick, layers=layers), **changed)} <= KINDS.keys()
    assert {each.kind for each in found(replace(sick, epochs=pd.DataFrame()), **changed)} <= KINDS.keys()


def test_runs_that_know_nothing_of_their_configuration_can_be_looked_at() -> None:
    bare = {
        "name": "mine",
        "act": "mine",
        "seed": 0,
        "status": "completed",
        "epochs": 10,
        "best_epoch": 7,
        "config": {},
        "folder": "",
    }
    first = find([Setting({"act": "mine"}, completed=(bare,))], lambda run: tables(FLAT, **VANISHING))[0]
    assert first.kind == "vanishing_signal"


def test_an_initialisation_made_for_others_is_the_cause_of_what_vanishes() -> None:
    config = run()["config"] | {"names": {"act": "tanh", "init": "kaiming"}}
    kinds = [(each.kind, each.follows) for each in found(tables(FLAT, **VANISHING), config=config, **LOST)]
    assert kinds[:2] == [("init_misfit", ""), ("vanishing_signal", "init_misfit")]


def test_of_a_vanished_signal_and_too_small_a_step_the_one_that_is_further_off_is_the_cause() -> None:
    steps = {1e-5: "vanishing_signal", 1e-9: "step_too_small"}
    for ratio, cause in steps.items():
        assert found(tables(FLAT, **VANISHING, update_ratio=layers_of([ratio] * 4)), **LOST)[0].kind == cause


def test_units_silent_for_want_of_a_signal_are_not_the_cause_and_units_flat_before_training_don_t_come_from_it() -> (
    None
):
    silent, linear = layers_of([0.0, 0.4, 1.0]), layers_of([1.0] * 3)
    assert found(tables(FLAT, **VANISHING, dead_fraction=silent), **LOST)[0].kind == "vanishing_signal"
    unknown = {name: each for name, each in VANISHING.items() if name != "delta_ratio_theory"}
    assert found(tables(FLAT, **unknown, dead_fraction=silent), **LOST)[0].kind == "born_dead"
    wild = tables([900, *FLAT], update_ratio=layers_of([0.3] * 4), always_linear=linear)
    assert [each.kind for each in found(wild, **LOST)][:2] == ["always_linear", "step_too_large"]


def test_where_half_of_the_seeds_learn_nothing_no_mean_describes_them() -> None:
    runs = [run(seed, test_accuracy=0.1 if seed % 2 else 0.9) for seed in range(6)]
    first = find([Setting({"act": "tanh"}, completed=tuple(runs))], lambda run: tables())[0]
    assert (first.kind, first.where.share, first.evidence[1].value) == ("unstable", 0.5, pytest.approx(0.8))


def test_of_diverged_runs_epoch_and_step_are_told_and_a_step_size_that_fits() -> None:
    def read(name: str) -> pd.DataFrame | None:
        return (
            pd.DataFrame({"step": range(40, 44), "loss": [2.0, 9.0, math.nan, math.nan]}) if name == "steps" else None
        )

    loss = [2.0, 5.0, math.nan]
    sick = replace(tables(loss, update_ratio=layers_of([0.1, 0.5, 0.1, 0.1])), read=read)
    first, *others = found(sick, status="diverged", test_accuracy=None, epochs=3)
    assert (first.kind, first.where.epoch, first.where.step, first.where.share) == ("diverged", 3, 42, 1.0)
    assert first.remedy == ("optim.lr=0.0001",)  # 0.01 · 0.005 / 0.5
    assert [each.kind for each in others] == ["step_too_large"]


def test_of_runs_that_diverged_in_one_epoch_the_step_that_is_known_counts() -> None:
    runs = tuple(run(seed, status="diverged", test_accuracy=None, epochs=3) for seed in (0, 1))
    steps = [pd.DataFrame({"step": [41, 42], "loss": losses}) for losses in ([2.0, 3.0], [2.0, math.nan])]

    def read(each: Run) -> Tables:
        return replace(tables([2.0, 5.0, math.nan]), read={"steps": steps[each["seed"]]}.get)

    first = find([Setting({"act": "tanh"}, diverged=runs)], read)[0]
    assert (first.kind, first.where.epoch, first.where.step) == ("diverged", 3, 42)


def test_a_defect_of_a_rule_is_told_and_costs_no_other_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(seen: Any) -> list[Finding]:
        raise TypeError("no such thing")

    monkeypatch.setattr(findings, "RULES", (broken, *findings.RULES))
    with pytest.warns(RuntimeWarning, match=r"(?s)^rule broken: TypeError: no such thing.*Traceback"):
        first = found(*SICK["saturated"][:1])[0]
    assert first.kind == "saturated"


def two(n: int) -> list[Setting]:
    runs = [run(seed, test_accuracy=0.9 + 0.001 * seed) for seed in range(n)]
    others = [run(seed, test_accuracy=0.88 + 0.002 * seed % 0.01, act="relu") for seed in range(n)]
    for each in others:
        each["config"] = each["config"] | {"names": {"act": "relu", "init": "gain"}}
    return settings_of([*runs, *others])


def test_too_few_seeds_are_told_with_how_many_would_do() -> None:
    (few,) = find(two(3), lambda run: tables())
    assert (few.kind, few.severity, few.evidence[0].value, few.evidence[0].threshold) == ("too_few_seeds", 1, 3, 6)
    would_do = few.evidence[1]
    assert would_do.low <= would_do.value <= would_do.high
    assert few.remedy == (f"seed=range({max(6, would_do.value):.0f})",)
    assert find(two(6), lambda run: tables()) == ()


def test_where_some_settings_have_enough_seeds_those_that_have_too_few_are_named() -> None:
    three = [each for each in two(10) if each.act == "tanh"] + [each for each in two(10) if each.act == "relu"]
    three.append(Setting({"act": "elu"}, completed=tuple(run(seed, act="elu", test_accuracy=0.5) for seed in (0, 1))))
    (few,) = find(three, lambda run: tables())
    assert (few.kind, few.where.setting, few.evidence[0].value) == ("too_few_seeds", "elu", 2)
    assert few.explanation.startswith("elu: 2 seeds can't show a difference")


def test_a_sweeps_findings_are_sorted_by_gravity() -> None:
    settings = two(3)
    sick: Mapping[str, Tables] = {"tanh": tables(), "relu": tables(saturated_fraction=layers_of([0.9] * 3))}
    assert [each.kind for each in find(settings, lambda run: sick[run["act"]])] == ["saturated", "too_few_seeds"]
