"""A data set of one's own that would go wrong in every run is refused in one line, before any work."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actsweep.config.schema import Data
from actsweep.data import checked
from actsweep.data.datamodule import open_data
from actsweep.data.dataset import Dataset, Examples, Scale
from actsweep.errors import UserError
from tests.conftest import SMALL
from tests.data.test_own_data import INPUTS, LABELS, WHOLE, made


def mine(name: str) -> Dataset:
    """What a conf/data/mine.yaml would name."""
    return CASES[name]()


def opened(name: str) -> Dataset:
    source = {"_target_": f"{__name__}.mine", "name": name}
    description = {"source": source, "val_size": 0, "split_seed": 0, "batch_size": "all"}
    return open_data(Data.model_validate(description), 0).dataset


class Learnt(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        return raw * self.weight


def noisy(raw: torch.Tensor) -> torch.Tensor:
    return raw + torch.rand_like(raw)


def raising(raw: torch.Tensor) -> torch.Tensor:
    raise KeyError("mean")


PARTS = Examples(INPUTS, LABELS)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "labels from 1": (
        lambda: made(labels=LABELS + 1),
        "pool labels run from 1 to 3: must run from 0 to 2 for 3 classes: subtract 1",
    ),
    "ignored labels": (
        lambda: made(labels=LABELS.where(LABELS < 2, -100)),
        "pool labels run from -100 to 1: must run from 0 to 2 for 3 classes",
    ),
    "too few names": (
        lambda: made(classes=("a", "b")),
        "pool labels run from 0 to 2: must run from 0 to 1 for 2 classes",
    ),
    "labels of the test": (
        lambda: made(test=Examples(INPUTS, LABELS + 1)),
        "test labels run from 1 to 3: must run from 0 to 2 for 3 classes: subtract 1",
    ),
    "a class that only the test has": (
        lambda: made(labels=LABELS.clamp(max=1), test=PARTS),
        "test labels hold 2, c, of which the pool has no example: split the data so that it has each class",
    ),
    "soft labels": (
        lambda: made(labels=torch.full((6, 3), 1 / 3)),
        "pool labels (6, 3): each row must be one 1 among zeros",
    ),
    "two hot": (lambda: made(labels=torch.ones(6, 3)), "pool labels (6, 3): each row must be one 1 among zeros"),
    "one-hot for more": (
        lambda: made(labels=torch.eye(4)[LABELS]),
        "pool labels (6, 4): must be class numbers (N,) or one-hot (N, 3)",
    ),
    "real labels": (
        lambda: made(labels=LABELS + 0.5),
        "pool labels hold 0.5: must be whole numbers from 0 to 2; a regression has classes=()",
    ),
    "NaN labels": (
        lambda: made(labels=LABELS * torch.nan),
        "pool labels hold nan: must be whole numbers from 0 to 2; a regression has classes=()",
    ),
    "names for labels": (lambda: made(labels=list("abcabc")), "pool labels are of type <U1: must be numbers"),
    "too few labels": (
        lambda: made(labels=LABELS[:5]),
        "pool inputs (6, 4) and labels (5,) don't match: as many labels as inputs are needed",
    ),
    "too many labels": (
        lambda: made(INPUTS[:5]),
        "pool inputs (5, 4) and labels (6,) don't match: as many labels as inputs are needed",
    ),
    "an empty pool": (lambda: made(INPUTS[:0], LABELS[:0]), "pool inputs (0, 4) and labels (0,): there must be some"),
    "an empty test": (
        lambda: made(test=Examples(INPUTS[:0], LABELS[:0])),
        "test inputs (0, 4) and labels (0,): there must be some; test=None tests on the pool",
    ),
    "no values": (lambda: made(INPUTS[:, :0]), "pool inputs (6, 0) and labels (6,): there must be some"),
    "NaN": (
        lambda: made(INPUTS.where(INPUTS != 1, torch.nan)),
        "pool inputs: example 2 is not finite in float32, after scale",
    ),
    "inf in the test": (
        lambda: made(test=Examples(INPUTS / 0, LABELS)),
        "test inputs: example 0 is not finite in float32, after scale",
    ),
    "beyond float32": (
        lambda: made(INPUTS.double() * 1e300),
        "pool inputs: example 0 is not finite in float32, after scale",
    ),
    "complex": (
        lambda: made(INPUTS + 0j),
        "pool inputs are of type torch.complex64, torch.strided: must be dense and real",
    ),
    "sparse": (
        lambda: made(INPUTS.to_sparse()),
        "pool inputs are of type torch.float32, torch.sparse_coo: must be dense and real",
    ),
    "ragged": (lambda: made([[1, 2], [3]]), "pool inputs: can't be made a tensor (ValueError: "),
    "masked": (lambda: made(np.ma.masked_equal(INPUTS.numpy(), 1)), "pool inputs: some are masked"),
    "a shape of another size": (lambda: made(shape=(2, 3)), "shape=(2, 3): must be of an input, which has 4 values"),
    "a negative shape": (lambda: made(shape=(-2, -2)), "shape=(-2, -2): must be of an input, which has 4 values"),
    "a real shape": (lambda: made(shape=(2.0, 2.0)), "shape=(2.0, 2.0): must be a tuple of whole numbers, as (28, 28)"),
    "a word of names": (
        lambda: made(classes="abc"),
        "classes is str: must be a tuple of names, and () for a regression",
    ),
    "a number of names": (lambda: made(classes=3), "classes is int: must be a tuple of names, and () for a regression"),
    "no names": (lambda: made(classes=None), "classes is None: must be a tuple of names, and () for a regression"),
    "the same name": (lambda: made(classes=["a", "b", "a"]), "classes: a stands there more than once"),
    "one name": (lambda: made(classes=["a"]), "classes: there is a only, nothing to tell apart; a regression has ()"),
    "a number as scale": (
        lambda: made(scale=255),
        "scale is int: must be a function of a tensor, such as Scale or as_given",
    ),
    "a scale to another shape": (
        lambda: made(scale=lambda raw: raw[:, :2]),
        "scale returns a tensor (1, 2) for inputs (1, 4): must be a tensor of that shape, without gradients",
    ),
    "a scale to NumPy": (
        lambda: made(scale=lambda raw: raw.numpy()),
        "scale returns ndarray for inputs (1, 4): must be a tensor of that shape, without gradients",
    ),
    "a scale to infinity": (
        lambda: made(scale=Scale(0, 0.5, 0.5)),
        "pool inputs: example 0 is not finite in float32, after scale",
    ),
    "a scale of bytes to infinity": (
        lambda: made(WHOLE.byte(), scale=Scale(255, 0.5, 0)),
        "pool inputs: example 0 is not finite in float32, after scale",
    ),
    "a scale to whole numbers": (
        lambda: made(scale=torch.Tensor.long),
        "scale returns torch.int64: must return floating-point numbers",
    ),
    "a scale that raises": (lambda: made(scale=raising), "scale raises KeyError for the pool: 'mean'"),
    "a scale in place": (
        lambda: made(scale=lambda raw: raw.add_(1)),
        "scale changes the tensor it is given: it must return a new one",
    ),
    "a random scale": (
        lambda: made(scale=noisy),
        "scale: must give an example the same numbers at every call and in every batch",
    ),
    "a scale by batch": (
        lambda: made(scale=lambda raw: raw - raw.mean(0)),
        "scale: must give an example the same numbers at every call and in every batch",
    ),
    "a scale by the largest of a batch, which comes first": (
        lambda: made(INPUTS.flip(0), scale=lambda raw: raw / raw.max()),
        "scale: must give an example the same numbers at every call and in every batch",
    ),
    "a learnt scale": (
        lambda: made(scale=Learnt()),
        "scale returns a tensor (1, 4) for inputs (1, 4): must be a tensor of that shape, without gradients",
    ),
    "a wider test": (
        lambda: made(test=Examples(torch.ones(6, 5), LABELS)),
        "test inputs have 5 values, the pool's 4: must be as many",
    ),
    "a test of another type": (
        lambda: made(WHOLE.byte(), test=PARTS, scale=Scale(255, 0, 1)),
        "pool inputs are torch.uint8, test inputs torch.float32: must be of one type, they share a scale",
    ),
    "a regression of two": (
        lambda: made(labels=INPUTS[:, :2], classes=()),
        "pool labels (6, 2): a regression has one number an example, (N,)",
    ),
    "a regression to infinity": (
        lambda: made(labels=1 / LABELS, classes=()),
        "pool labels: example 0 is not finite in float32",
    ),
    "a pair as pool": (
        lambda: replace(made(), pool=(INPUTS, LABELS)),
        "pool is tuple: must be Examples(inputs, labels)",
    ),
    "a pair as test": (lambda: made(test=(INPUTS, LABELS)), "test is tuple: must be Examples(inputs, labels)"),
    "a pair": (lambda: (INPUTS, LABELS), "returns tuple: must return an actsweep.data.dataset.Dataset"),
    "nothing": (lambda: None, "returns None: must return an actsweep.data.dataset.Dataset"),
    "an error": (lambda: raising(INPUTS), "KeyError: 'mean'"),
    "an error of several lines": (lambda: exec("raise ValueError('one\\n  two')"), "ValueError: one two"),
}
CASES: dict[str, Callable[[], Any]] = {name: make for name, (make, _) in REFUSED.items()} | {
    "others": lambda: made(torch.rand(6, 4))
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_go_wrong_in_every_run_is_refused_in_one_line(case: str) -> None:
    with pytest.raises(UserError) as refused:
        opened(case)
    line = f"data.source={__name__}.mine: {REFUSED[case][1]}"
    assert str(refused.value) == line or (case == "ragged" and str(refused.value).startswith(line))
    assert "\n" not in str(refused.value)


def test_data_that_are_others_at_every_call_are_refused(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = [f"data.source._target_={__name__}.mine", "+data.source.name=others"]
    where = [*source, "data.val_size=0", "data.batch_size=all", f"hydra.sweep.dir={tmp_path}/out"]
    assert command("-m", "seed=0,1", *SMALL, *where) == 2
    line = "gives other data at every call; fix what it draws by a seed of its own"
    assert capsys.readouterr().err == f"error: data.source={__name__}.mine: {line}\n"
    assert list(tmp_path.iterdir()) == []


def test_what_ones_own_function_raised_is_the_cause() -> None:
    with pytest.raises(UserError) as refused:
        opened("an error")
    assert type(refused.value.__cause__) is KeyError
    assert traceback.extract_tb(refused.value.__cause__.__traceback__)[-1].name == "raising"


def refusing() -> None:
    raise UserError("there are none")


def test_a_mistake_that_ones_own_function_names_is_not_the_cause_of_itself() -> None:
    with pytest.raises(UserError, match="there are none") as refused:
        checked.opened({"_target_": f"{__name__}.refusing"})
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("no_such_module.load", """ImportError: Error loading 'no_such_module.load': ModuleNotFoundError("No module"""),
        (f"{__name__}.no_such_function", f"ImportError: Error loading '{__name__}.no_such_function': "),
        (f"{__name__}.REFUSED", "InstantiationException: Expected a callable target, got "),
        ("actsweep.data.digits.load", "TypeError: load() got an unexpected keyword argument 'nosuch'"),
    ],
)
def test_a_function_that_cant_be_called_is_named(target: str, line: str) -> None:
    description = {"source": {"_target_": target, "nosuch": 1}, "val_size": 0, "split_seed": 0, "batch_size": "all"}
    with pytest.raises(UserError) as refused:
        open_data(Data.model_validate(description), 0)
    assert str(refused.value).startswith(f"data.source={target}: {line}")


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("case", ["labels from 1", "an error", "a random scale"])
def test_it_is_refused_before_a_sweep_and_nothing_is_created(
    case: str, many: bool, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"hydra.sweep.dir={tmp_path}/out", f"hydra.run.dir={tmp_path}/out"]
    source = [f"data.source._target_={__name__}.mine", f"+data.source.name='{case}'"]
    assert command(*(["-m", "seed=0,1"] if many else []), *SMALL, *source, *where) == 2
    assert capsys.readouterr().err == f"error: data.source={__name__}.mine: {REFUSED[case][1]}\n"
    assert list(tmp_path.iterdir()) == []
