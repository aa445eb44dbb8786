"""One's own data set, looked at once: what is harmless is converted, what would go wrong in every run is refused.

Every data set comes through `checked`, the ones in this folder too.
"""

import math
import operator
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor

from actsweep.data.dataset import Dataset, Examples, Scale, raw_bytes
from actsweep.errors import UserError, exits_are_errors

ROWS, ALONE = 2048, 16  # examples that are scaled at a time; that are scaled one by one too
KEPT = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64}
# Other whole numbers become int64, other reals float32.
WIDER = {torch.bool: torch.uint8, torch.uint16: torch.int32, torch.uint64: torch.float64}


def checked(given: object) -> Dataset:
    """The data set as actsweep.data.dataset describes it. Raises UserError for what can't be that without a guess.

    Converted: NumPy arrays, lists, frames and tensors on any device; inputs (N, …) to (N, D); labels (N, 1), one-hot
    (N, C), whole numbers in any type. The same data set is looked at once, until arrays that it shares with the person
    are changed.
    """
    if not isinstance(given, Dataset):
        raise UserError(f"returns {_kind(given)}: must return an actsweep.data.dataset.Dataset")
    found, sums = _canonical(given)
    if _sums(found) != sums:
        _canonical.cache_clear()
        found, _ = _canonical(given)
    return found


def opened(source: Mapping[str, Any]) -> Dataset:
    """What `data.source` describes, checked. Raises UserError, with whatever its function raised as the cause."""
    where = f"data.source={source['_target_']}"
    cause: Exception | None = None
    try:
        with exits_are_errors():
            found = instantiate({"_convert_": "all"} | dict(source))
    except Exception as error:  # a function of one's own may raise anything
        cause = error
        while isinstance(cause, InstantiationException) and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
    if isinstance(cause, UserError):  # raised here: above, it would become the context of its own cause
        raise cause
    if cause:
        said = " ".join(str(cause).split())
        raise UserError(f"{where}: {type(cause).__name__}: {said}") from cause
    try:
        return checked(found)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


@lru_cache(maxsize=2)
def _canonical(given: Dataset) -> tuple[Dataset, list[int]]:
    """The data set, and what sums are made of it."""
    classes = _names(given.classes)
    pool = _examples(given.pool, "pool", classes)
    test = None if given.test is None else _examples(given.test, "test", classes)
    if test and classes and (absent := set(test.labels.tolist()) - set(pool.labels.tolist())):
        raise UserError(
            f"test labels hold {min(absent)}, {classes[min(absent)]}, of which the pool has no example: "
            "split the data so that it has each class"
        )
    if not callable(given.scale):
        raise UserError(f"scale is {_kind(given.scale)}: must be a function of a tensor, such as Scale or as_given")
    parts = {"pool": pool} | ({"test": test} if test else {})
    inputs = _alike({name: part.inputs for name, part in parts.items()})
    if not all(_scaled(given.scale, each[:1], name).is_floating_point() for name, each in inputs.items()):
        is_exact = all(torch.equal(each.float().double(), each.double()) for each in inputs.values())
        inputs = {name: each.float() if is_exact else each.double() for name, each in inputs.items()}
    for name, each in inputs.items():
        _try_scale(given.scale, each, name)
        parts[name] = Examples(each, parts[name].labels)
    shape = _shape(given.shape, inputs["pool"].shape[1])
    found = replace(given, pool=parts["pool"], test=parts.get("test"), classes=classes, shape=shape)
    return found, _sums(found)


def _sums(dataset: Dataset) -> list[int]:
    """By which a change within it shows; of published content, which is no person's own, none."""
    parts = [] if dataset.expected else [dataset.pool, *([dataset.test] if dataset.test else [])]
    return [zlib.crc32(raw_bytes(each)) for part in parts for each in (part.inputs, part.labels)]


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _names(classes: object) -> tuple[str, ...]:
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray):
        raise UserError(f"classes is {_kind(classes)}: must be a tuple of names, and () for a regression")
    names = tuple(str(each) for each in classes)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"classes: {twice[0]} stands there more than once")
    if len(names) == 1:
        raise UserError(f"classes: there is {names[0]} only, nothing to tell apart; a regression has ()")
    return names


def _shape(shape: Any, size: int) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(each) for each in (shape if np.iterable(shape) else (shape,)))
    except TypeError as error:
        raise UserError(f"shape={shape}: must be a tuple of whole numbers, as (28, 28)") from error
    if math.prod(sizes) != size or min(sizes, default=1) < 1:
        raise UserError(f"shape={sizes}: must be of an input, which has {size} values")
    return sizes


def _tensor(values: Any, what: str) -> Tensor:
    """A dense tensor of numbers on the CPU that shares memory with `values` where it can, and no gradients."""
    try:
        if isinstance(values, list | tuple) and values and all(isinstance(each, Tensor) for each in values):
            values = torch.stack(list(values))
        if not isinstance(values, Tensor):
            if np.ma.is_masked(values):
                raise UserError(f"{what}: some are masked")
            array = np.asarray(values)
            if array.dtype == object and all(isinstance(each, Real | np.bool_) for each in array.flat):
                array = array.astype(np.float64)  # as a frame whose columns are of several types
            if array.dtype.kind not in "biuf":
                raise UserError(f"{what} are of type {array.dtype}: must be numbers")
            native = array.dtype.newbyteorder("=") if array.itemsize <= 8 else np.dtype("float64")
            values = torch.from_numpy(np.require(array, native, ["C", "W"]))
        if values.is_complex() or values.is_quantized or values.layout != torch.strided:
            raise UserError(f"{what} are of type {values.dtype}, {values.layout}: must be dense and real")
        plain = values.detach().as_subclass(Tensor).cpu().contiguous()
    except UserError:
        raise
    except Exception as error:  # containers of any kind may raise anything
        raise UserError(f"{what}: can't be made a tensor ({type(error).__name__}: {error})") from error
    if plain.dtype in KEPT:
        return plain
    return plain.to(torch.float32 if plain.is_floating_point() else WIDER.get(plain.dtype, torch.int64))


def _examples(part: object, name: str, classes: tuple[str, ...]) -> Examples:
    if not isinstance(part, Examples):
        raise UserError(f"{name} is {_kind(part)}: must be Examples(inputs, labels)")
    inputs, labels = _tensor(part.inputs, f"{name} inputs"), _tensor(part.labels, f"{name} labels")
    sizes = f"{name} inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}"
    if inputs.ndim == 0 or labels.ndim == 0 or len(inputs) != len(labels):
        raise UserError(f"{sizes} don't match: as many labels as inputs are needed")
    if not inputs.numel() or not labels.numel():
        raise UserError(f"{sizes}: there must be some" + "; test=None tests on the pool" * (name == "test"))
    if labels.numel() == len(labels):
        labels = labels.flatten()
    labels = _class_numbers(labels, len(classes), name) if classes else _reals(labels, name)
    return Examples(inputs.reshape(len(inputs), -1), labels)


def _class_numbers(labels: Tensor, count: int, name: str) -> Tensor:
    """int64 (N,), each at least 0 and less than `count`."""
    if labels.shape[1:] == (count,):
        if not torch.equal(labels, labels.eq(1).to(labels.dtype)) or not labels.sum(1).eq(1).all():
            raise UserError(f"{name} labels {tuple(labels.shape)}: each row must be one 1 among zeros")
        labels = labels.argmax(1)
    if labels.ndim != 1:
        raise UserError(f"{name} labels {tuple(labels.shape)}: must be class numbers (N,) or one-hot (N, {count})")
    numbers = labels.long()
    if (wrong := numbers != labels).any():
        allowed = f"must be whole numbers from 0 to {count - 1}; a regression has classes=()"
        raise UserError(f"{name} labels hold {labels[wrong][0].item():g}: {allowed}")
    low, high = (int(end) for end in numbers.aminmax())
    if low < 0 or high >= count:
        subtract = ": subtract 1" if (low, high) == (1, count) else ""
        allowed = f"must run from 0 to {count - 1} for {count} classes{subtract}"
        raise UserError(f"{name} labels run from {low} to {high}: {allowed}")
    return numbers


def _reals(labels: Tensor, name: str) -> Tensor:
    """Floating-point (N,)."""
    if labels.ndim != 1:
        raise UserError(f"{name} labels {tuple(labels.shape)}: a regression has one number an example, (N,)")
    if not labels.float().isfinite().all():
        raise UserError(f"{name} labels: example {_first(~labels.float().isfinite())} is not finite in float32")
    return labels if labels.is_floating_point() else labels.double()


def _first(where: Tensor) -> int:
    return int(where.nonzero()[0])


def _alike(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pool and test inputs of one width and type."""
    pool, test = inputs["pool"], inputs.get("test", inputs["pool"])
    if pool.shape[1] != test.shape[1]:
        raise UserError(f"test inputs have {test.shape[1]} values, the pool's {pool.shape[1]}: must be as many")
    if pool.is_floating_point() != test.is_floating_point():
        types = f"pool inputs are {pool.dtype}, test inputs {test.dtype}"
        raise UserError(f"{types}: must be of one type, they share a scale")
    wider = torch.promote_types(pool.dtype, test.dtype)
    return {name: each.to(wider) for name, each in inputs.items()}


def _scaled(scale: Any, raw: Tensor, name: str) -> Tensor:
    before = raw.clone()
    try:
        with exits_are_errors():
            found = scale(raw := before.clone())
    except Exception as error:  # a function of one's own
        raise UserError(f"scale raises {type(error).__name__} for the {name}: {error}") from error
    if not isinstance(found, Tensor) or found.shape != raw.shape or found.requires_grad or found.device != raw.device:
        what = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else _kind(found)
        returned = f"scale returns {what} for inputs {tuple(raw.shape)}"
        raise UserError(f"{returned}: must be a tensor of that shape, without gradients")
    if not torch.allclose(raw, before, rtol=0, atol=0, equal_nan=True):
        raise UserError("scale changes the tensor it is given: it must return a new one")
    return found


def _try_scale(scale: Any, inputs: Tensor, name: str) -> None:
    """Raise UserError unless scaled inputs are finite numbers that depend on each example alone."""
    # Scale makes finite numbers of all bytes or of none.
    for start in range(0, 1 if type(scale) is Scale and inputs.dtype == torch.uint8 else len(inputs), ROWS):
        raw = inputs[start : start + ROWS]
        scaled = _scaled(scale, raw, name)
        if not scaled.is_floating_point():
            raise UserError(f"scale returns {scaled.dtype}: must return floating-point numbers")
        if not (finite := scaled.float().isfinite().all(1)).all():
            raise UserError(f"{name} inputs: example {start + _first(~finite)} is not finite in float32, after scale")
        alone = [_scaled(scale, each, name) for each in raw[:ALONE].split(1)] if start == 0 else []
        if alone and not torch.allclose(scaled[:ALONE], torch.cat(alone), rtol=1e-4, atol=1e-5):
            raise UserError("scale: must give an example the same numbers at every call and in every batch")
