"""A checkpoint is data: an activation that it names is torch's, this project's or allowed, however deep inside."""

from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep.config.descriptions import targets
from actsweep.errors import UserError
from actsweep.network import activations, from_file
from actsweep.network.classifier import Classifier
from tests.network.test_descriptions_of_activations import OWN, TANH, own

HIDDEN = [
    {"_target_": "torch.nn.functional.torch.save"},
    {"_target_": "torch.save", "f": "/nowhere"},
    {"_target_": "torch.load"},
    {"_target_": "torch.hub.load"},
    {"_target_": "torch.nn.modules.activation.torch.os.system"},
    {"_target_": "torch.nn.functional.importlib.import_module"},
    {"_target_": "actsweep.network.activations.find"},
    {"_target_": "actsweep.network.activations.torch.save"},
    {"_target_": "torch.nn.Tanh.__init__"},
    {"_target_": "actsweep.config.descriptions.instantiate"},
    {"_target_": "os.system"},
    {"_target_": 5},
]


@pytest.mark.parametrize("foreign", HIDDEN)
def test_a_file_may_name_no_foreign_code_however_deep(foreign: dict[str, Any]) -> None:
    deep = {"_target_": "torch.nn.Sequential", "_recursive_": False, "_args_": [TANH, {"inner": [foreign, TANH]}]}
    for description in (foreign, deep):
        with pytest.raises(UserError, match="the file names the activation"):
            activations.refuse_foreign(description)
    with activations.from_a_file(), pytest.raises(UserError, match="the file names the activation"):
        activations.build(deep)


def test_a_file_may_name_torchs_functions_and_what_is_allowed() -> None:
    for path in (
        "torch.sin",
        "torch.special.erf",
        "torch.nn.functional.hardswish",
        "torch.nn.functional.relu_",
        "torch.Tensor.sigmoid",
        "torch.celu_",
        "actsweep.network.activations.Step",
        "torch.nn.Softmax",
    ):
        activations.refuse_foreign({"_target_": path})
    activations.refuse_foreign(own("Wrapped", inner=own("cubed")), (f"{OWN}.Wrapped", f"{OWN}.cubed"))
    assert list(targets(own("Wrapped", inner=[TANH, own("cubed")]))) == [
        f"{OWN}.Wrapped",
        "torch.nn.Tanh",
        f"{OWN}.cubed",
    ]


def checkpoint(tmp_path: Path, act: dict[str, Any]) -> Path:
    network = {"input_size": 64, "hidden_sizes": [4], "output_size": 10, "act": act, "norm": "none"}
    classifier = Classifier(network, {"_target_": "torch.optim.SGD", "lr": 0.1}, data="digits")
    content = {
        "state_dict": classifier.state_dict(),
        "hyper_parameters": dict(classifier.hparams),
        "epoch": 0,
        "global_step": 1,
        "pytorch-lightning_version": "2.6.0",
    }
    torch.save(content, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


@pytest.mark.parametrize(
    "act",
    [{"_target_": "torch.nn.Sequential", "_args_": [TANH, {"_target_": "torch.nn.PReLU"}]}, {"_target_": "torch.sin"}],
)
def test_a_checkpoint_with_nested_parts_or_a_function_is_rebuilt(tmp_path: Path, act: dict[str, Any]) -> None:
    path = checkpoint(tmp_path, act)
    x = torch.rand(3, 64)
    expected = Classifier.load_from_checkpoint(path, weights_only=True)(x)
    assert torch.equal(from_file.load_checkpoint(path)[0](x), expected)


@pytest.mark.parametrize(
    "act",
    [own("Fixed"), own("Larger"), *(own("FromNumPy", **{each: each == "learnt"}) for each in ("learnt", "persistent"))],
)
def test_an_allowed_activation_has_the_numbers_that_its_state_lacks(tmp_path: Path, act: dict[str, Any]) -> None:
    path, allowed, x = checkpoint(tmp_path, act), (act["_target_"],), torch.rand(3, 64)
    expected = Classifier.load_from_checkpoint(path, weights_only=True, allow=allowed)(x)
    assert expected.dtype == torch.float32
    assert torch.equal(from_file.load_checkpoint(path, allowed)[0](x), expected)


def test_a_checkpoint_with_a_foreign_part_needs_it_to_be_allowed(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, {"_target_": "torch.nn.Sequential", "_args_": [own("Wrapped", inner=TANH)]})
    with pytest.raises(UserError, match=r"'tests\.network\.own_activations\.Wrapped'"):
        Classifier.load_from_checkpoint(path, weights_only=True)
    with pytest.raises(UserError, match=r"'tests\.network\.own_activations\.Wrapped'"):
        from_file.load_checkpoint(path)
    allowed, x = (f"{OWN}.Wrapped",), torch.rand(3, 64)
    network = Classifier.load_from_checkpoint(path, weights_only=True, allow=allowed)
    assert torch.equal(from_file.load_checkpoint(path, allowed)[0](x), network(x))
