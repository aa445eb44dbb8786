"""How settings are named: by what tells their runs apart, without collisions, and in the order of numbers."""

import copy
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from actsweep.report import figures
from actsweep.report.frames import functions
from actsweep.report.writing import table_of
from actsweep.statistics.setting import TAKEN, settings_of
from tests.results.made_up_runs import result_of, sweep


def labels_of(*configured: dict[str, Any], act: str = "relu") -> list[str]:
    """The settings of runs with these keys."""
    runs = [result_of(each.get("names.act", act), [8] * each.pop("depth", 1), 0, "digits") for each in configured]
    for run, each in zip(runs, configured, strict=True):
        run["folder"], run["config"] = str(each), copy.deepcopy(run["config"])
        for key, value in each.items():
            *parts, last = key.split(".")
            reduce(lambda part, name: part.setdefault(name, {}), parts, run["config"])[last] = value
    return [each.label for each in settings_of(runs)]


@pytest.mark.parametrize(("part", "key"), [("optim", "lr"), ("act", "alpha"), ("data", "batch_size"), ("init", "gain")])
def test_an_argument_is_part_of_a_setting_unless_the_choice_implies_it(part: str, key: str) -> None:
    cells = list(product("ab", (1, 2)))
    crossed = labels_of(*({f"names.{part}": name, f"{part}.{key}": value} for name, value in cells))
    said = "{}, " if part == "act" else f"relu, {part} {{}}, "
    assert sorted(crossed) == sorted(f"{said.format(name)}{key} {value}" for name, value in cells)
    implied = labels_of(*({f"names.{part}": name, f"{part}.{key}": name} for name in "ab"))
    assert implied == [said.format(name).removesuffix(", ") for name in "ab"]


def test_what_an_initialisation_computes_from_other_keys_is_not_said() -> None:
    cells = [{"init.weight_variance": value, "init.weight": {"variance": 2 * value}} for value in (1, 3)]
    assert labels_of(*cells) == ["relu, weight_variance 1", "relu, weight_variance 3"]
    both = labels_of(
        *({"names.init": "variance"} | each for each in cells), {"names.init": "kaiming", "init.weight_variance": None}
    )
    assert both == ["relu, init kaiming", *(f"relu, init variance, weight_variance {value}" for value in (1, 3))]


def test_a_label_has_the_whole_key_where_the_short_one_is_a_column(tmp_path: Path) -> None:
    cells = [{"depth": depth, "data.source": {"depth": own}} for depth in (2, 3) for own in (5, 7)]
    assert labels_of(*cells) == [f"relu, depth {depth}, data.source.depth {own}" for depth in (2, 3) for own in (5, 7)]
    runs = sweep(tmp_path, acts=["relu"], data="spiral")
    for run in runs:
        run["config"]["data"]["source"]["seed"] = 7 + run["seed"]
    table = table_of(runs, settings_of(runs))
    assert table[["seed", "data.source.seed"]].values.tolist() == [[0, "7"], [1, "8"]]
    assert set(table) - {"data.source.seed"} <= TAKEN


def test_a_key_that_is_the_seed_in_all_runs_distinguishes_no_settings(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu", "tanh"], seeds=[3, 4, 5])
    for run in runs:
        run["config"]["data"]["split_seed"] = run["seed"]
    assert [(each.label, len(each.runs)) for each in settings_of(runs)] == [("tanh", 3), ("relu", 3)]
    runs[0]["config"]["data"]["split_seed"] = 42
    assert [len(each.runs) for each in settings_of(runs)] == [1] * 6


def test_a_key_of_training_that_happens_to_be_the_seed_in_all_runs_distinguishes_them(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"], seeds=[1, 2])
    for run in runs:
        run["config"]["patience"] = run["seed"]
    assert [each.label for each in settings_of(runs)] == ["relu, patience 1", "relu, patience 2"]


def test_how_much_is_measured_distinguishes_no_settings_and_of_a_seed_the_run_with_most_counts(tmp_path: Path) -> None:
    runs = [*sweep(tmp_path / "a", acts=["relu"]), *sweep(tmp_path / "b", acts=["relu"], seeds=[1, 2])]
    for run in runs[2:]:
        run["config"]["diagnostics"] = {"gradients": {"_target_": "actsweep.diagnostics.gradients.GradientNorm"}}
    (found,) = settings_of(runs)
    assert (found.label, found.completed, found.repeated) == ("relu", (runs[0], runs[2], runs[3]), (runs[1],))


def test_a_key_that_a_run_lacks_is_not_said_of_it_unless_another_has_none() -> None:
    assert labels_of({}, {"optim.nesterov": True}) == ["relu", "relu, nesterov True"]
    assert labels_of({}, {"act.approximate": "none"}) == ["relu", "relu, approximate unset"]


def test_a_name_with_dollars_is_drawn_as_it_stands(tmp_path: Path) -> None:
    names = ["overview", "accuracy_by_setting", "gradient_by_layer"]
    drawn = figures.draw(names, sweep(tmp_path, acts=["cost $a_$", "tanh"]), tmp_path)
    assert [path.stem for path in drawn[::3]] == names


def test_numbers_in_names_are_in_order() -> None:
    assert labels_of({"names.act": "poly10"}, {"names.act": "poly2"}) == ["poly2", "poly10"]
    runs = [result_of("clippedrelu", [8], 0, "digits", folder=str(most)) for most in (10.0, 2.0)]
    for run in runs:
        run["config"]["act"]["max_val"] = float(run["folder"])
    assert list(functions(settings_of(runs))) == ["clippedrelu, max_val 2.0", "clippedrelu, max_val 10.0"]


def test_epochs_are_whole_numbers_in_results_csv_also_where_a_run_has_none(tmp_path: Path) -> None:
    runs = sweep(tmp_path, acts=["relu"])
    runs[0] |= {"status": "diverged", "best_epoch": None, "test_accuracy": None}
    columns = table_of(runs, settings_of(runs))[["epochs", "best_epoch"]].to_csv(index=False).split()
    assert columns == ["epochs,best_epoch", f"{runs[0]['epochs']},", f"{runs[1]['epochs']},{runs[1]['best_epoch']}"]
