"""A data set of one's own: what is harmless is converted; what it is, its digest says."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from actsweep.data import classification, digits, fashion_mnist, iris, line, spiral
from actsweep.data.batches import Sampling, SplitData
from actsweep.data.checked import checked
from actsweep.data.dataset import Dataset, Examples, Scale, as_given
from actsweep.network.losses import outputs_for

INPUTS = torch.arange(24, dtype=torch.float32).view(6, 4) / 8
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
CLASSES = ("a", "b", "c")
WHOLE = INPUTS * 8


def made(inputs: Any = INPUTS, labels: Any = LABELS, test: Any = None, **other: Any) -> Dataset:
    fields: dict[str, Any] = {"classes": CLASSES, "shape": (4,), "scale": as_given} | other
    return Dataset(Examples(inputs, labels), test, **fields)


def read_only(values: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    array = values.numpy().copy()
    array.flags.writeable = False
    return array


INPUTS_ALIKE: dict[str, Any] = {
    "images": INPUTS.view(6, 2, 2),
    "images with a channel": INPUTS.view(6, 1, 2, 2),
    "float64": INPUTS.double(),
    "float16": INPUTS.half(),
    "bfloat16": INPUTS.bfloat16(),
    "gradients": INPUTS.clone().requires_grad_(),
    "a parameter": torch.nn.Parameter(INPUTS.clone()),
    "not contiguous": INPUTS.T.contiguous().T,
    "NumPy": INPUTS.numpy(),
    "NumPy backwards": INPUTS.numpy()[::-1][::-1],
    "NumPy big-endian": INPUTS.numpy().astype(">f4"),
    "NumPy float16": INPUTS.numpy().astype("f2"),
    "NumPy long double": INPUTS.numpy().astype(np.longdouble),
    "NumPy read-only": read_only(INPUTS),
    "lists": INPUTS.tolist(),
    "tensors": list(INPUTS),
    "arrays": list(INPUTS.numpy()),
    "a frame": pd.DataFrame(INPUTS.numpy()),
    "a frame of several types": pd.DataFrame(INPUTS.numpy()).astype({0: "Float64", 1: "float16"}),
}
WHOLE_ALIKE: dict[str, Any] = {
    str(kind): WHOLE.to(kind)
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32)
} | {"NumPy uint64": WHOLE.numpy().astype("u8"), "lists of whole numbers": WHOLE.int().tolist()}
LABELS_ALIKE: dict[str, Any] = {
    "int32": LABELS.int(),
    "uint8": LABELS.byte(),
    "whole floats": LABELS.float(),
    "a column": LABELS[:, None],
    "one-hot": torch.eye(3)[LABELS],
    "one-hot bool": torch.eye(3)[LABELS].bool(),
    "one-hot int8": torch.eye(3)[LABELS].char(),
    "NumPy": LABELS.numpy(),
    "NumPy uint16": LABELS.numpy().astype("u2"),
    "a list": LABELS.tolist(),
    "a series": pd.Series(LABELS.numpy()),
    "a list of tensors": list(LABELS),
}


@pytest.mark.parametrize(("case", "factor"), [*((n, 1) for n in INPUTS_ALIKE), *((n, 8) for n in WHOLE_ALIKE)])
def test_inputs_of_any_container_shape_and_type_become_rows_of_reals(case: str, factor: int) -> None:
    data = checked(made((INPUTS_ALIKE | WHOLE_ALIKE)[case]))
    is_double = case in {"float64", "lists", "NumPy long double", "a frame of several types", "NumPy uint64"}
    assert data.pool.inputs.dtype == (torch.float64 if is_double else torch.float32)
    assert torch.equal(data.pool.inputs, (INPUTS * factor).to(data.pool.inputs.dtype))
    assert data.pool.inputs.is_contiguous()
    assert type(data.pool.inputs) is torch.Tensor
    assert not data.pool.inputs.requires_grad
    assert (data.shape, data.input_size) == ((4,), 4)


@pytest.mark.parametrize("case", LABELS_ALIKE)
def test_labels_of_any_container_and_type_become_class_numbers(case: str) -> None:
    data = checked(made(labels=LABELS_ALIKE[case]))
    assert data.pool.labels.dtype == torch.int64
    assert data.pool.labels.tolist() == LABELS.tolist()
    assert data.digest == checked(made()).digest


@pytest.mark.parametrize("labels", [LABELS, LABELS.float(), LABELS[:, None].half(), LABELS.numpy(), LABELS.tolist()])
def test_a_regressions_labels_become_reals(labels: Any) -> None:
    data = checked(made(labels=labels, classes=()))
    assert data.pool.labels.is_floating_point()
    assert data.pool.labels.tolist() == LABELS.tolist()
    assert outputs_for("mse", data) == 1


def test_names_and_shapes_become_tuples_and_bytes_stay_bytes() -> None:
    images = WHOLE.byte().view(6, 2, 2)
    data = checked(made(images, shape=[2, 2], classes=np.array([1, 2, 3]), scale=Scale(24, 0, 1)))
    assert (data.shape, data.classes, data.pool.inputs.dtype) == ((2, 2), ("1", "2", "3"), torch.uint8)
    assert torch.equal(data.pool.inputs, images.view(6, 4))
    assert checked(made(INPUTS[:, 0], shape=1)).pool.inputs.shape == (6, 1)
    assert checked(made(INPUTS > 1)).pool.inputs.tolist() == (INPUTS > 1).float().tolist()


def test_pool_and_test_get_the_wider_of_two_types() -> None:
    data = checked(made(test=Examples(INPUTS[:2].double(), LABELS[:2])))
    assert data.test is not None
    assert data.pool.inputs.dtype == data.test.inputs.dtype == torch.float64


def test_whole_numbers_of_more_digits_than_float32_has_keep_them() -> None:
    seconds = torch.arange(1_700_000_000, 1_700_000_006)[:, None]
    pool = Examples(seconds.int(), LABELS)
    data = checked(made(seconds.int(), shape=1, test=Examples(torch.ones(3, 1, dtype=torch.int32), LABELS[:3])))
    assert data.pool.inputs.tolist() == seconds.tolist()
    assert data.test is not None
    assert data.test.inputs.dtype == data.pool.inputs.dtype == torch.float64
    batches = SplitData(checked(replace(data, pool=pool, test=None)), Sampling("all", False, None, 0), 0, 42, True)
    inputs, _ = next(iter(batches.train_dataloader()))
    assert inputs.flatten().tolist() == pytest.approx(
        [each * (12 / 35) ** 0.5 for each in torch.arange(-2.5, 3).tolist()]
    )


def test_bytes_with_a_scale_that_stays_among_bytes_become_reals_first() -> None:
    data = checked(made(torch.full((6, 4), 200, dtype=torch.uint8), scale=lambda raw: raw * 2))
    assert data.scale(data.pool.inputs).unique().tolist() == [400]  # not 144


def test_scaling_leaves_the_raw_numbers_alone() -> None:
    raw = torch.tensor([[0.0, 255.0]])
    assert Scale(255, 0.5, 0.5)(raw).tolist() == [[-1, 1]]
    assert raw.tolist() == [[0, 255]]


def standardised(scale: Any, inputs: torch.Tensor = INPUTS) -> torch.Tensor:
    data = SplitData(checked(made(inputs, scale=scale)), Sampling("all", False, None, 0), 0, 0, standardise=True)
    return data.dataset.scale(data.train.inputs)


def test_an_input_that_ones_own_scale_makes_constant_is_standardised_to_0() -> None:
    found = standardised(lambda raw: (raw > 0.3).float())
    assert found[:, 3].tolist() == [0] * 6  # 1 in all examples
    assert found[:, :3].mean(0).abs().max() < 1e-6
    assert found[:, :3].std(0, correction=0).tolist() == pytest.approx([1] * 3)


def test_an_input_that_ones_own_scale_makes_vary_is_standardised() -> None:
    mixed = standardised(lambda raw: raw @ torch.ones(4, 4), INPUTS * torch.tensor([0, 1, 1, 1]))
    assert mixed.std(0, correction=0).tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("spread", [1e-300, 1e-160, 1e-30, 1e30])
def test_inputs_of_any_spread_are_standardised_to_finite_numbers(spread: float) -> None:
    for kind in (torch.float64, torch.float32):
        found = standardised(as_given, (INPUTS.double() * spread).to(kind))
        assert found.isfinite().all()
    assert standardised(as_given, torch.full((6, 4), 0.1 * spread, dtype=torch.float64)).abs().max() < 1e-15 * spread


@dataclass
class Shifted:
    """A scale that can't be hashed, as ordinary dataclasses can't."""

    shift: float

    def __call__(self, raw: torch.Tensor) -> torch.Tensor:
        return raw + self.shift


def test_a_scale_that_cant_be_hashed_is_standardised_as_any() -> None:
    assert torch.equal(standardised(Shifted(0.0)), standardised(as_given))


def test_the_same_data_set_is_looked_at_once() -> None:
    given = made()
    assert checked(given) is checked(given)
    assert checked(made()) is not checked(given)


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8"])
def test_a_data_set_whose_arrays_are_changed_in_place_is_another_one(kind: str) -> None:
    inputs = WHOLE.numpy().astype(kind)
    given = made(inputs, test=Examples(inputs, LABELS), scale=Scale(1, 0, 1))
    first = SplitData(data := checked(given), Sampling(2, False, None, 0), 2, 42)
    was = data.digest
    inputs //= 2
    second = SplitData(data := checked(given), Sampling(2, False, None, 0), 2, 42)
    assert data.digest != was
    assert torch.equal(second.train.inputs, first.train.inputs // 2)


def test_nothing_of_a_data_set_that_was_fit_changes() -> None:
    loaded = [digits.load(), fashion_mnist.load("data"), spiral.load(), iris.load(), line.constant(), line.sine()]
    for given in [*loaded, classification.load(n_features=3, n_redundant=0)]:
        data = checked(given)
        assert data.pool.inputs.data_ptr() == given.pool.inputs.data_ptr()
        assert data.pool.labels.data_ptr() == given.pool.labels.data_ptr()
        assert (data.classes, data.shape, data.scale) == (given.classes, given.shape, given.scale)
        assert data.published == (given is loaded[1])


DIGEST = checked(made(scale=Scale(8, 0, 1))).digest


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": INPUTS.flip(0)}, {"inputs": INPUTS.double()}, {"labels": LABELS.flip(0)},
        {"test": Examples(INPUTS, LABELS)}, {"classes": ("a", "b", "d")}, {"shape": (2, 2)}, {"scale": Scale(8, 0, 2)},
        {"scale": as_given},
        {"inputs": INPUTS.view(12, 2), "labels": LABELS.repeat(2), "shape": (2,)},
    ],
)  # fmt: skip
def test_the_digest_changes_with_anything_that_a_run_may_see(other: dict[str, Any]) -> None:
    assert checked(made(**({"scale": Scale(8, 0, 1)} | other))).digest != DIGEST


def test_the_digest_is_of_the_content_alone() -> None:
    for same in (INPUTS.numpy(), INPUTS.view(6, 2, 2), INPUTS.T.contiguous().T):
        assert checked(made(same, scale=Scale(8.0, 0.0, 1.0))).digest == DIGEST
    assert checked(made(scale=lambda raw: raw + 1)).digest == checked(made(scale=lambda raw: 1 + raw)).digest
    assert checked(made(scale=lambda raw: raw + 1)).digest != checked(made(scale=lambda raw: raw + 2)).digest
    each_its_own = [Scale(8, torch.arange(4.0), torch.full((4,), std)) for std in (1.0, 2.0)]
    assert len({checked(made(scale=each)).digest for each in each_its_own}) == 2
    assert len({checked(made(scale=each)).digest for each in (torch.Tensor.bfloat16, torch.Tensor.half)}) == 2
    assert checked(digits.load()).digest == "a08fd0957c0ada130237b4a45195df25184bfa2c33d23266290922b53c211e7a"


def test_a_part_of_published_data_is_not_the_published_data() -> None:
    whole = fashion_mnist.load("data")
    assert whole.published
    assert checked(whole).published
    assert not replace(whole, pool=whole.pool[:1000]).published
    assert not digits.load().published
