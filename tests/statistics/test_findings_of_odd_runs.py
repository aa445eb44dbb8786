"""Findings of runs that validate seldom, end by the clock, aren't trained or are normalised: nothing false is said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from actsweep.statistics.findings import NOTE, find
from actsweep.statistics.setting import Setting
from tests.statistics.test_findings import EPOCHS, FLAT, LOST, SICK, VANISHING, endings, found, layers_of, run, tables
from tests.statistics.test_findings_in_words import UNTRAINED


def changed_config(**more: object) -> dict[str, object]:
    return run()["config"] | more


def test_what_the_clock_ended_is_not_put_down_to_patience() -> None:
    sick, changed, _ = SICK["stopped_on_plateau"]
    limited = changed_config(trainer={"max_epochs": 50, "max_time": "00:00:10:00"})
    assert [each.kind for each in found(sick, **changed)] == ["stopped_on_plateau"]
    assert found(sick, **changed, config=limited) == ()
    lost = [found(tables(FLAT, **VANISHING), **LOST, **given)[0].explanation for given in ({}, {"config": limited})]
    assert ["early stopping" in said for said in lost] == [True, False]


def test_where_validation_is_rare_the_epoch_of_the_lowest_loss_is_told_and_accuracies_are_compared() -> None:
    seldom = np.arange(1, EPOCHS + 1) % 2 == 0
    val = np.where(seldom, [1, 0.9, 1, 0.3, 1, 0.9, 1, 1.2, 1, 1.5], np.nan)
    sick = tables()
    epochs = sick.epochs.assign(val_loss=val, val_accuracy=np.where(seldom, 0.6, np.nan))
    (only,) = found(replace(sick, epochs=epochs))
    assert (only.kind, only.where.epoch) == ("overfitting", 4)
    assert "0.35 above that on validation examples" in only.explanation
    assert "the validation loss, lowest in epoch 4, has risen" in only.explanation


def test_networks_that_are_not_trained_are_not_unstable() -> None:
    runs = [run(seed, **UNTRAINED | {"test_accuracy": 0.9 if seed % 2 else 0.1, "classes": 2}) for seed in range(6)]
    (setting,) = [Setting({"act": "tanh"}, **endings(runs))]
    assert find([setting], lambda run: replace(tables(), epochs=pd.DataFrame())) == ()


@pytest.mark.parametrize("kind", ["exploding_signal", "exploding_gradient", "vanishing_gradient", "init_misfit"])
def test_of_a_normalised_network_no_optimiser_is_said_to_keep_signal_and_gradient(kind: str) -> None:
    sick, changed, _ = SICK[kind]
    for optim, remedy in (("SGD", ("optim=adam",)), ("Adam", ()), ("RMSprop", ()), ("NAdam", ())):
        config = changed_config(norm="layer", optim={"_target_": f"torch.optim.{optim}", "lr": 0.01})
        first = found(sick, **changed | {"config": config})[0]
        assert (first.kind, first.remedy) == (kind, remedy)
        assert "keeps both" not in first.explanation
        assert ("optim=adam may help" in first.explanation) == bool(remedy)


def test_gradients_of_weights_alone_say_of_layers_of_different_shapes_no_misfit() -> None:
    slow, _, _ = SICK["init_misfit"]
    weights = layers_of([0.05, 0.9, 0.9, 0.2])
    for known, kinds in ((slow.layers, ["init_misfit"]), ({"update_ratio": slow.layers["update_ratio"]}, [])):
        assert [each.kind for each in found(replace(slow, layers={**known, "grad_norm": weights}))] == kinds


def test_a_gradient_that_is_no_number_is_not_said_to_be_a_large_one() -> None:
    sick, changed, _ = SICK["exploding_gradient"]
    first = found(replace(sick, layers={"grad_norm": layers_of([np.inf] * 4)}), **changed)[0]
    assert "Untrained, the gradient in layer 1 is not finite." in first.explanation


def test_units_of_networks_that_are_not_trained_break_nothing_yet() -> None:
    sick, _, layer = SICK["born_dead"]
    first = found(replace(sick, epochs=pd.DataFrame()), **UNTRAINED)[0]
    assert (first.kind, first.where.layer, first.severity) == ("born_dead", layer, NOTE)


def test_where_nothing_is_validated_no_epoch_is_called_the_best() -> None:
    sick, changed, _ = SICK["not_finished"]
    assert [each.kind for each in found(sick, **changed, val_loss=0.5)] == ["not_finished"]
    unknown = replace(sick, epochs=sick.epochs[["train_loss", "train_accuracy"]])
    assert found(unknown, **changed, val_loss=None) == ()
    config = changed["config"] | {"monitor": "train_loss"}
    assert [each.kind for each in found(unknown, **changed | {"config": config}, val_loss=None)] == ["not_finished"]


def test_examples_of_accumulated_batches_count_as_trained_on_and_limits_hold_nothing_out() -> None:
    val = [1, 0.5, 0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7, 0.8]
    sick = replace(tables(), epochs=tables().epochs.assign(val_loss=val, step=np.arange(1, EPOCHS + 1) * 5))
    data = {"source": {}, "val_size": 400, "batch_size": 64}
    for more, remedy in (
        ({}, "data.val_size=144"),
        ({"accumulate_grad_batches": 4}, "optim.weight_decay=0.01"),
        ({"limit_train_batches": 5}, "optim.weight_decay=0.01"),
    ):
        (only,) = found(sick, config=changed_config(data=data, trainer={"max_epochs": 50} | more))
        assert only.remedy == (remedy,)


@pytest.mark.parametrize("kind", ["exploding_signal", "exploding_gradient"])
def test_what_is_not_finite_before_training_is_the_cause_of_what_diverges(kind: str) -> None:
    grown = layers_of([1.0, 1e30, np.inf, np.inf])
    healthy = tables().layers
    sick = tables([np.nan, np.nan], grad_norm=layers_of([np.inf] * 4))
    sick = replace(
        sick, layers=dict(sick.layers) | {"signal": grown if kind == "exploding_signal" else healthy["signal"]}
    )
    first, *others = found(sick, status="diverged", test_accuracy=None, epochs=1, best_epoch=None)
    layer = "layer_03" if kind == "exploding_signal" else "layer_01"
    assert (first.kind, first.where.layer, first.remedy) == (kind, layer, ("init=critical",))
    assert "3 of 3 runs learnt nothing, or diverged." in first.explanation
    assert ("diverged", kind) in [(each.kind, each.follows) for each in others]
    assert found(tables(grad_norm=layers_of([np.inf] * 4))) == ()


def test_numbers_of_runs_that_ended_otherwise_are_in_no_sentence_about_those_that_are_told_of() -> None:
    dying = tables(dead_fraction=layers_of([0, 0, 0], [0, 0.6, 0.3]), units_died=layers_of([0, 0, 0], [0, 2, 0]))
    dying = replace(dying, read=lambda name: None)
    lost = replace(dying, layers=dying.layers | {"units_died": layers_of([0, 0, 0], [0, 40, 0])})
    runs = [run(0), run(1, status="diverged", test_accuracy=None)]
    first = find([Setting({"act": "tanh"}, **endings(runs))], lambda each: lost if each is runs[1] else dying)[0]
    assert (first.kind, first.evidence[0].n, first.evidence[2].value) == ("dying", 1, 2 * EPOCHS)
    plateau, learnt = SICK["stopped_on_plateau"][0], tables()
    runs = [run(seed, epochs=EPOCHS if seed else 50) for seed in range(3)]
    (only,) = find([Setting({"act": "tanh"}, **endings(runs))], lambda each: plateau if each["seed"] else learnt)
    assert "2 of 3 runs after 10 epochs, when the training loss was 0.65 of that of guessing" in only.explanation


def test_a_validation_loss_is_not_called_a_training_loss() -> None:
    penalised = {"config": changed_config(optim={"lr": 0.01, "l2": 0.1}, trainer={"max_epochs": 10}), "best_epoch": 10}
    (first,) = found(SICK["not_finished"][0], **penalised)
    assert "the validation loss still fell" in first.explanation
    assert first.evidence[1].name == "fall of the validation loss in the last fifth"


def test_more_patience_is_advised_to_those_alone_whom_patience_ended() -> None:
    sick = tables(FLAT, **VANISHING | {"signal": layers_of([1, 0.3, 0.1, 0.03])})
    said = [found(sick, **LOST, **given)[0].explanation for given in ({}, {"epochs": 50}, {"status": "diverged"})]
    assert ["more patience may do too" in each for each in said] == [True, False, False]
