"""What scikit-learn's MLPClassifier needs, as ordinary settings: plain, stacked, and as scikit-learn computes it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from actsweep import evaluate, one_run
from actsweep.config.schema import Settings
from actsweep.data.datamodule import open_data
from actsweep.network.build import build_network
from actsweep.results import run_folder
from actsweep.theory.critical import variances
from actsweep.training.checkpoints import EarlyStopping
from actsweep.training.stack.training import Training
from tests.conftest import SMALL, weights_of
from tests.training.stack.test_members_stop import member_of

Make = Callable[..., Settings]
Capture = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
PAPER = (
    *(*SMALL, "depth=null", "hidden_sizes=[16]", "diagnostics=[]", "trainer.precision=64", "init=xavier"),
    *("init.bias=alike", "data.val_size=0", "data.standardise=true", "monitor=train_loss", "optim.l2=1.0"),
)


def both_engines(settings: Settings, folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path, Path]:
    """The results and the folders of a lone run and of a stack's only member."""
    alone, stacked = folder / "alone", folder / "stacked"
    result = one_run.train(settings, alone)
    Training([(settings, stacked)], CPU).run()
    found = run_folder.finished(stacked, settings)
    assert found is not None
    return result, found, alone, stacked


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("batch", ["50", "all"])
def test_a_penalised_network_on_standardised_inputs_is_the_same_in_both_engines(
    settings_for: Make, tmp_path: Path, optim: str, batch: str
) -> None:
    own = ("act=tanh", f"optim={optim}", f"data.batch_size={batch}", "data.steps_per_epoch=null", "seed=3")
    settings = settings_for(*PAPER, *own, "diagnostics=[steps]", "trainer.gradient_clip_val=0.5")
    alone, stacked, *folders = both_engines(settings, tmp_path)
    assert stacked["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-10)
    weights = [weights_of(folder / "checkpoints" / "last.ckpt") for folder in folders]
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-10, atol=1e-10)
    tables = [pd.read_csv(folder / "steps.csv") for folder in folders]
    pd.testing.assert_frame_equal(*tables, rtol=1e-9)
    assert (tables[0]["penalty"] > 0).all()


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_training_and_its_end_are_scikit_learns(settings_for: Make, tmp_path: Path, act: str) -> None:
    own = ("optim.lr=0.1", "optim.momentum=0.9", "data.batch_size=all", "patience=4", "min_delta=0.002")
    settings = settings_for(*PAPER, f"act={act}", *own, "trainer.max_epochs=400", "test=last", "seed=1")
    result, stacked, folder, _ = both_engines(settings, tmp_path)
    pool = open_data(settings.data, 0).dataset.pool
    inputs, labels = StandardScaler().fit_transform(pool.inputs.double().numpy()), pool.labels.numpy()
    oracle = MLPClassifier(
        (16,), activation=act, solver="sgd", learning_rate_init=0.1, momentum=0.9, nesterovs_momentum=False, alpha=1.0,
        batch_size=len(pool), max_iter=1, warm_start=True, tol=0.002, n_iter_no_change=3, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        oracle.fit(inputs, labels)
        oracle.loss_curve_, oracle.best_loss_, oracle._no_improvement_count = [], np.inf, 0
        start = build_network(settings, 64, 10).double().network.taps()
        oracle.coefs_ = [tap.linear.weight.detach().numpy().T.copy() for tap in start]
        oracle.intercepts_ = [tap.linear.bias.detach().numpy().copy() for tap in start]
        oracle.set_params(max_iter=400).fit(inputs, labels)
    assert 20 < oracle.n_iter_ < 400
    assert result["epochs"] == stacked["epochs"] == oracle.n_iter_
    losses = pd.read_csv(folder / run_folder.EPOCHS)["train_loss"]
    assert losses.to_numpy() == pytest.approx(oracle.loss_curve_, rel=2e-6)  # the table has float32's digits
    weights = weights_of(folder / "checkpoints" / "last.ckpt")
    for name, expected in zip(("0", "2"), oracle.coefs_, strict=True):
        found = weights[f"network.layers.{name}.weight"].T
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def scikit_learn_stops_after(losses: list[float], tol: float, n_iter_no_change: int) -> int | None:
    """As MLPClassifier._update_no_improvement_count counts."""
    best, count = np.inf, 0
    for epoch, loss in enumerate(losses, start=1):
        count = count + 1 if loss > best - tol else 0
        best = min(best, loss)
        if count > n_iter_no_change:
            return epoch
    return None


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_a_run_ends_where_scikit_learn_would_in_both_engines(mode: str, sign: int, tmp_path: Path) -> None:
    generator, ends = np.random.default_rng(0), []
    for _ in range(60):
        steps = generator.normal(0.05, 0.1, 40) * generator.choice([0.0, 1.0], 40, p=[0.2, 0.8])
        losses = np.float32(5 - np.cumsum(steps)).tolist()
        early, member = EarlyStopping("train_loss", mode, 3, 0.08), member_of(tmp_path, "train_loss", mode, 3, 0.08)
        found: list[int | None] = [None, None]
        for epoch, loss in enumerate(losses, start=1):
            score = torch.tensor(sign * loss)
            stops = early._evaluate_stopping_criteria(score)[0], member.end_epoch({"train_loss": sign * loss})[1]
            early._remember({"train_loss": score})
            found = [at or (epoch if ended else None) for at, ended in zip(found, stops, strict=True)]
        ends.append(scikit_learn_stops_after(losses, 0.08, n_iter_no_change=2))
        assert found == [ends[-1]] * 2
    assert len({*ends}) > 10


def test_a_validation_before_the_training_does_not_say_when_to_stop(settings_for: Make, tmp_path: Path) -> None:
    held_out = ("monitor=val_loss", "data.val_size=100", "optim.lr=1e-4", "patience=1", "min_delta=0.5", "test=last")
    epochs = [
        one_run.train(settings_for(*PAPER, *held_out, *more), tmp_path / str(len(more)))["epochs"]
        for more in ((), ("+trainer.num_sanity_val_steps=-1",))
    ]
    assert epochs == [2, 2]


def test_nothing_is_validated_where_nothing_is_held_out_and_training_says_when_to_stop(
    settings_for: Make, tmp_path: Path
) -> None:
    result, stacked, *folders = both_engines(settings_for(*PAPER), tmp_path)
    for found, folder in zip((result, stacked), folders, strict=True):
        table = pd.read_csv(folder / run_folder.EPOCHS)
        assert [name for name in table if name.startswith("val_")] == []
        assert (found["val_accuracy"], found["val_loss"]) == (None, None)
        assert found["best_epoch"] == table["train_loss"].idxmin() + 1


def test_a_lone_run_goes_on_from_a_stacks_last_epoch(settings_for: Make, tmp_path: Path) -> None:
    own = ("patience=3", "min_delta=0.5", "optim.lr=0.05", "test=last")
    short, long = (settings_for(*PAPER, *own, f"trainer.max_epochs={epochs}") for epochs in (4, 9))
    Training([(short, tmp_path / "resumed")], CPU).run()
    resumed, straight = (one_run.train(long, tmp_path / name) for name in ("resumed", "straight"))
    assert 4 < resumed["epochs"] == straight["epochs"] < 9
    weights = [weights_of(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("resumed", "straight")]
    for name, values in weights[1].items():
        torch.testing.assert_close(weights[0][name], values, rtol=1e-10, atol=1e-10)


def test_an_untrained_network_has_no_training_loss_to_follow(settings_for: Make, tmp_path: Path) -> None:
    result = one_run.train(settings_for(*PAPER, "untrained=true"), tmp_path)
    assert (result["status"], result["epochs"]) == ("completed", 0)


@pytest.mark.parametrize("data", ["digits", "iris", "sine"])
@pytest.mark.parametrize("val_size", [0, 20])
def test_inputs_are_standardised_by_the_training_examples(settings_for: Make, data: str, val_size: int) -> None:
    loss = {"iris": "bce", "sine": "mse"}.get(data, "cross_entropy")
    settings = settings_for(
        *SMALL, f"data={data}", f"loss={loss}", f"data.val_size={val_size}", "data.standardise=true"
    )
    found = open_data(settings.data, 0)
    raw = {name: getattr(found, name).inputs.double().numpy() for name in ("train", "test")}
    scaler = StandardScaler().fit(raw["train"])
    assert raw["train"].shape[0] == len(found.dataset.pool) - val_size
    for name, inputs in raw.items():
        ours = found.dataset.scale(getattr(found, name).inputs).numpy()
        assert ours == pytest.approx(scaler.transform(inputs), rel=1e-5, abs=1e-5)
    train = found.dataset.scale(found.train.inputs).double()
    assert train.mean(0).abs().max() < 1e-5
    deviations = train.std(0, correction=0)
    assert ((deviations - 1).abs().minimum(deviations) < 1e-5).all()  # 0 where an input never varies


def test_a_checkpoint_knows_how_its_inputs_were_standardised(
    settings_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    result, _, *folders = both_engines(settings_for(*PAPER, "trainer.precision=32"), tmp_path)
    assert result["test_accuracy"] > 0.5
    for folder in folders:
        for name in ("best.ckpt", "last.ckpt"):
            monkeypatch.setattr("sys.argv", ["evaluate", str(folder / "checkpoints" / name)])
            evaluate.main()
            assert f"test accuracy {result['test_accuracy']:.2%}" in capsys.readouterr().out


@pytest.mark.parametrize(("init", "bound"), [("xavier", (6 / 80) ** 0.5), ("default", 64**-0.5)])
def test_biases_alike_are_drawn_as_weights_are(settings_for: Make, init: str, bound: float) -> None:
    biases = []
    for seed in range(200):
        settings = settings_for(*SMALL, f"init={init}", "init.bias=alike").model_copy(update={"seed": seed})
        first = build_network(settings, 64, 10).network.taps()[0].linear
        biases.append(first.bias.detach())
        assert first.weight.abs().max() <= bound
    drawn = torch.stack(biases)
    assert 0.98 * bound < drawn.abs().max() <= bound
    assert drawn.var() == pytest.approx(bound**2 / 3, rel=0.05)
    weight, bias = settings.init.functions()
    assert variances(weight, bias, 64, 16) == pytest.approx((64 * bound**2 / 3, bound**2 / 3), rel=1e-6)


def test_a_run_of_an_earlier_version_is_the_same_run(settings_for: Make) -> None:
    """Hashes of actsweep before data.standardise, monitor, min_delta and optim.l2 were keys."""
    assert settings_for("data=digits", "act=relu", "seed=0").hash() == "fa93d181ed7c"
    assert settings_for("data=spiral", "act=tanh", "optim=adam", "init=xavier", "seed=1").hash() == "41ae44fca01e"
    others = ("data.standardise=true", "monitor=train_loss", "min_delta=0.1", "optim.l2=1e-4")
    hashes = {settings_for("data=digits", "act=relu", "seed=0", other).hash() for other in others}
    assert len(hashes | {"fa93d181ed7c"}) == 5


@pytest.mark.parametrize("mode", [[], ["-m"]])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("monitor=val_loss data.val_size=0", "data.val_size=0 holds nothing out; give monitor=train_loss"),
        ("monitor=val_accuracy +trainer.limit_val_batches=0", "leaves no validation; give monitor=train_accuracy"),
        ("data=sine loss=mse monitor=train_accuracy", "a regression has no accuracy; give train_loss"),
        ("min_delta=0.1 patience=null", "min_delta=0.1: patience=null never stops early; give patience=N"),
    ],
)
def test_what_is_never_measured_says_not_when_to_stop(
    mode: list[str], given: str, said: str, command: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    folders = [f"hydra.{kind}.dir={tmp_path / 'out'}" for kind in ("run", "sweep")]
    assert command(*mode, *SMALL, *given.split(), *folders) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.endswith(f"{said}\n")
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()
