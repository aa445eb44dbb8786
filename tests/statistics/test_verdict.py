"""What a verdict calls real, and what it calls too few seeds, of runs with and without partners."""

from actsweep.report.tasks import tasks_of
from actsweep.report.verdict import judge, warning
from actsweep.results.reading import Run
from actsweep.statistics.setting import settings_of
from tests.results.made_up_runs import result_of
from tests.statistics.test_setting import verdict


def accuracies(**by_act: dict[int, float]) -> list[Run]:
    found = [(act, seed, value) for act, values in by_act.items() for seed, value in values.items()]
    return [
        result_of(act, [8], seed, "digits", test_accuracy=value, folder=f"{act}{seed}") for act, seed, value in found
    ]


def test_what_a_verdict_calls_real_it_does_not_call_too_few_seeds() -> None:
    four = accuracies(relu={0: 0.9, 1: 0.91, 2: 0.92, 3: 0.93}, tanh={10: 0.8, 11: 0.81, 12: 0.82, 13: 0.83})
    assert "p = 0.029, unpaired" in verdict(four)[1]
    assert verdict(four)[1].endswith("that is a real difference.")
    assert warning(judge(tasks_of(settings_of(four))[0])) is None


def test_one_run_against_thirty_is_no_real_difference() -> None:
    one = accuracies(relu={seed: 0.9 + 0.001 * (seed % 7) for seed in range(30)}, tanh={5: 0.8})
    assert "p = 0.032" in verdict(one)[1]
    assert verdict(one)[1].endswith("n = 1): one run can’t tell the two apart.")
    assert str(warning(judge(tasks_of(settings_of(one))[0]))).startswith("1 seed can't show a difference")


def test_a_setting_of_few_seeds_casts_no_doubt_on_the_others() -> None:
    ten = {seed: 0.9 + 0.001 * seed for seed in range(10)}
    runs = accuracies(relu=ten, tanh={seed: value - 0.1 for seed, value in ten.items()}, elu={0: 0.5, 1: 0.5})
    assert warning(judge(tasks_of(settings_of(runs))[0])) is None
    assert "p = 0.0059, paired by seed, n = 10): that is a real difference." in verdict(runs)[1]
    assert verdict(runs)[3].startswith("Too few seeds for a verdict on elu. 2 seeds can't show a difference")


def test_of_a_setting_that_is_ahead_in_the_seeds_of_both_the_interval_is_of_its_lead() -> None:
    most = {0: 0.7, 1: 0.71, 2: 0.72} | dict.fromkeys((3, 4, 5), 0.95)
    said = verdict(accuracies(relu=most, tanh={0: 0.72, 1: 0.73, 2: 0.75}))[1]
    assert said.startswith("tanh is 2.33 percentage points ahead (95 % interval 0.90 to 3.77,")


def test_a_setting_whose_runs_diverged_is_not_named_the_best_of_equals() -> None:
    runs = accuracies(relu={0: 0.1}, tanh={0: 0.1})
    runs[1] |= {"status": "diverged", "test_accuracy": None}
    counted = judge(tasks_of(settings_of(runs))[0], with_diverged=True)
    assert [each.setting.act for each in counted.found] == ["relu", "tanh"]


def test_networks_that_were_not_trained_are_not_said_to_have_learnt_nothing() -> None:
    runs = accuracies(relu={0: 0.1, 1: 0.1}, tanh={0: 0.1, 1: 0.1})
    for run in runs:
        run |= {"epochs": 0, "best_epoch": 0} if run["act"] == "relu" else {}
    (said,) = [each for each in verdict(runs) if each.startswith("Not every run learnt something")]
    assert "tanh (0 of 2 runs trained" in said
    assert "relu" not in said
