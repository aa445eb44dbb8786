"""Figures that others published, and that seeding, splitting, scaling and initialising exactly must reproduce: all of
them stand in docs/published.md, as `python -m bench.published` writes it."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from actsweep import evaluate
from bench import published


@cache
def quick() -> list[published.Row]:
    return [row for make in published.QUICK for row in make()]


def test_the_page_says_what_is_computed_and_what_the_benches_stored() -> None:
    stored = [row for make in published.STORED for row in make()]
    assert published.PAGE.read_text() == published.page([*quick(), *stored])


def test_what_is_computed_is_what_was_published() -> None:
    apart = [row.what for row in quick() if not row.agrees.startswith("yes")]
    assert len(quick()) == 26
    assert {row.agrees for row in quick() if row.what in apart} == {published.OTHER_NUMBERS}
    assert len(apart) == 2


def test_a_tutorials_pair_has_exactly_its_models_accuracy(tmp_path: Path) -> None:
    torch.manual_seed(1)
    sizes = [784, 512, 256, 256, 128, 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.1)]
    model = nn.Module()
    model.layers = nn.Sequential(*layers[:-1])
    described = {
        "act_fn": {"name": "LeakyReLU", "alpha": 0.1},
        "input_size": 784,
        "num_classes": 10,
        "hidden_sizes": [512, 256, 256, 128],
    }
    (tmp_path / "m.config").write_text(json.dumps(described))
    torch.save(model.state_dict(), tmp_path / "m.tar", _use_new_zipfile_serialization=False)

    data = evaluate.open_named("fashion_mnist")
    with torch.no_grad():
        images = (data.test.inputs.float() / 255 - 0.5) / 0.5
        expected = (model.layers(images).argmax(1) == data.test.labels).double().mean().item()
    for name in ("m.config", "m.tar"):
        network, dataset, loss = evaluate.load(tmp_path / name)
        found = evaluate.measure(network, data)
        assert (dataset, loss) == ("fashion_mnist", "cross_entropy")
        assert found["test_accuracy"] == expected
    x = images[:100]
    assert torch.equal(F.softmax(network(x), 1), F.softmax(model.layers(x), 1))
