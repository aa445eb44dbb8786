"""The UvA tutorial's JAX edition: pairs as it writes them are read exactly, anything else refused, nothing executed."""

import json
import pickle
import sys
import types
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actsweep import evaluate
from actsweep.config.command_line import one_line_errors
from actsweep.errors import UserError

SIZES = [784, 24, 16, 12, 8, 10]
Weights = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


class FrozenDict:
    """Pickled as Flax's: by its name, with the plain dict that it holds."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (self.content,)


@pytest.fixture(autouse=True)
def flax(monkeypatch: pytest.MonkeyPatch) -> None:
    """FrozenDict has the name of Flax's."""
    monkeypatch.setattr(FrozenDict, "__module__", "flax.core.frozen_dict")


def pickled(value: Any) -> bytes:
    parts = [types.ModuleType(name) for name in ("flax", "flax.core", "flax.core.frozen_dict")]
    parts[-1].FrozenDict = FrozenDict  # type: ignore[attr-defined]
    sys.modules |= {part.__name__: part for part in parts}
    try:
        content = pickle.dumps(value, protocol=3)
    finally:
        for part in parts:
            del sys.modules[part.__name__]
    return content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")  # as NumPy 1 wrote it


@pytest.fixture
def weights() -> Weights:
    random = np.random.default_rng(0)
    return [
        (random.normal(0, a**-0.5, (a, b)).astype("<f4"), random.normal(0, 0.1, b).astype("<f4"))
        for a, b in pairwise(SIZES)
    ]


def flax_tree(weights: Weights) -> Any:
    return FrozenDict({"params": {f"Dense_{n}": {"kernel": k, "bias": b} for n, (k, b) in enumerate(weights)}})


def write(folder: Path, content: bytes, act: dict[str, Any] | None = None) -> Path:
    described = {"act_fn": act or {"name": "ReLU"}, "hidden_sizes": SIZES[1:-1], "num_classes": SIZES[-1]}
    (folder / "m.config").write_text(json.dumps(described))
    (folder / "m.tar").write_bytes(content)
    return folder / "m.tar"


ACTIVATIONS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "sigmoid": ({"name": "Sigmoid"}, lambda x: 1 / (1 + np.exp(-x))),
    "leakyrelu": ({"name": "LeakyReLU", "alpha": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
    "elu": ({"name": "ELU"}, lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)),
    "swish": ({"name": "Swish"}, lambda x: x / (1 + np.exp(-x))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_pair_has_exactly_its_models_outputs_and_accuracy(name: str, weights: Weights, tmp_path: Path) -> None:
    act, function = ACTIVATIONS[name]
    network, dataset, loss = evaluate.load(write(tmp_path, pickled(flax_tree(weights)), act))
    data = evaluate.open_named("fashion_mnist")
    x = (data.test.inputs.numpy().reshape(-1, 784).astype(np.float64) / 255 - 0.5) / 0.5
    for place, (kernel, bias) in enumerate(weights):
        x = (function(x) if place else x) @ kernel + bias
    found = evaluate.measure(network, data)
    assert (dataset, loss) == ("fashion_mnist", "cross_entropy")
    assert found["test_accuracy"] == (x.argmax(1) == data.test.labels.numpy()).mean()
    assert found["hidden_sizes"] == SIZES[1:-1]
    assert len(found["class_accuracy"]) == 10
    inputs = data.dataset.scale(data.test.inputs[:100])
    assert network(inputs).detach().numpy() == pytest.approx(x[:100], abs=1e-5)


def test_arrays_whose_columns_are_stored_first_are_read_as_they_are(weights: Weights, tmp_path: Path) -> None:
    rows = evaluate.load(write(tmp_path, pickled(flax_tree(weights))))[0]
    columns = [(np.asfortranarray(kernel), bias) for kernel, bias in weights]
    found = evaluate.load(write(tmp_path, pickled(flax_tree(columns))))[0]
    assert all((a == b).all() for a, b in zip(rows.parameters(), found.parameters(), strict=True))


class Harmful:
    """Leaves a file behind when its pickle is loaded by one that calls what it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def refused(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that evaluate ends with."""
    monkeypatch.setattr(sys, "argv", ["evaluate", str(path)])
    with pytest.raises(SystemExit) as end, one_line_errors():
        evaluate.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_pickle_that_names_anything_else_is_refused_and_calls_nothing(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = flax_tree(weights)
    tree.content["params"]["Dense_0"]["more"] = Harmful(tmp_path / "harmed")
    assert "it names" in refused(write(tmp_path, pickled(tree)), monkeypatch, capsys)
    assert not (tmp_path / "harmed").exists()


GLOBALS = [b"cbuiltins\neval\n", b"cnumpy\nfromfile\n", b"cnumpy.core.multiarray\narray\n", b"cos\nsystem\n",
           b"cflax.core.frozen_dict\nfreeze\n", b"cnumpy\ndtype.type\n", b"cnumpy\n_core.multiarray\n"]  # fmt: skip


@pytest.mark.parametrize("named", GLOBALS, ids=str)
def test_only_four_names_are_known(
    named: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, b"\x80\x03" + named + b"X\x01\x00\x00\x001\x85R.")
    assert "it names" in refused(path, monkeypatch, capsys)


def test_a_truncated_pickle_is_refused_wherever_it_ends(weights: Weights, tmp_path: Path) -> None:
    whole = pickled(flax_tree(weights))
    for end in [0, 1, 2, *range(3, len(whole), len(whole) // 97)]:
        with pytest.raises(UserError, match="not weights of the tutorial's JAX edition"):
            evaluate.load(write(tmp_path, whole[:end]))


DTYPE = (
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNN"
    + 2 * b"J\xff\xff\xff\xff"
    + b"K\x00tb"
)
RECONSTRUCTED = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


@pytest.mark.parametrize(
    "content",
    [
        RECONSTRUCTED + b"(K\x01J\x00\xca\x9a\x3bK\x01\x86" + DTYPE + b"\x89C\x04\0\0\0\0tb.",  # 10⁹ × 1 in four bytes
        RECONSTRUCTED + b"(K\x01K\x0aK\x0a\x86" + DTYPE + b"\x89C\x04\0\0\0\0tb.",  # 10 × 10 in four bytes
        b"N\x72\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"B\xff\xff\xff\x7f.",  # so many bytes
        b"\x8e" + b"\xff" * 7 + b"\x7f.",  # and more than there are anywhere
        b"}X\x06\x00\x00\x00params}s.",  # no layers
        b"}.", b"].", b"N.", b"K\x01.",
    ],
)  # fmt: skip
def test_a_pickle_that_claims_more_than_it_holds_takes_no_memory(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not weights of the tutorial's JAX edition"):
        evaluate.load(write(tmp_path, b"\x80\x03" + content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["Dense_1"].update(kernel=tree["Dense_1"]["kernel"].T.copy()), "don't fit the network"),
        (lambda tree: tree["Dense_1"].update(kernel=tree["Dense_1"]["kernel"].astype("<f8")), "float32"),
        (lambda tree: tree["Dense_1"].update(kernel=tree["Dense_1"]["kernel"].astype(">f4")), "float32"),
        (lambda tree: tree["Dense_1"].update(bias=tree["Dense_1"]["kernel"]), "where 1 dimensions"),
        (lambda tree: tree["Dense_1"].pop("bias"), "bias"),
        (lambda tree: tree.pop("Dense_1"), "no Dense_1"),
        (lambda tree: tree.pop("Dense_4"), "don't fit the network"),
        (lambda tree: tree.update(Conv_0=tree["Dense_0"]), "JAX edition"),
        (lambda tree: tree.update(Dense_01=tree["Dense_1"]), "no Dense_2"),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused(
    change: Callable[[dict[str, Any]], Any], message: str, weights: Weights, tmp_path: Path
) -> None:
    tree = flax_tree(weights)
    change(tree.content["params"])
    with pytest.raises(UserError, match=message):
        evaluate.load(write(tmp_path, pickled(tree)))
