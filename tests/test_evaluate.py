import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from actsweep import evaluate, one_run
from actsweep.config.schema import Settings
from actsweep.errors import UserError
from actsweep.network.build import build_network
from actsweep.results import run_folder
from tests.conftest import SMALL

SettingsFor = Callable[..., Settings]


@pytest.fixture
def run(settings_for: SettingsFor, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    result = one_run.train(settings_for(*SMALL, "act=leakyrelu", "norm=batch"), tmp_path / "run")
    return tmp_path / "run" / run_folder.BEST, result


def evaluated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    evaluate.main()
    return capsys.readouterr().out


def test_a_checkpoint_has_the_accuracy_of_its_run(
    run: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, result = run
    [line] = evaluated(monkeypatch, capsys, "--json", str(checkpoint)).splitlines()
    found = json.loads(line)
    assert found["test_accuracy"] == result["test_accuracy"]
    assert found["hidden_sizes"] == result["hidden_sizes"]
    sizes = torch.bincount(evaluate.open_named("digits").test.labels).tolist()
    weighted = sum(n * accuracy for n, accuracy in zip(sizes, found["class_accuracy"].values(), strict=True))
    assert weighted / sum(sizes) == pytest.approx(found["test_accuracy"])
    assert len(found["grad_norm"]) == 3
    text = evaluated(monkeypatch, capsys, str(checkpoint))
    assert f"test accuracy {result['test_accuracy']:.2%}" in text


def test_a_network_that_diverged_has_no_accuracy(
    settings_for: SettingsFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = one_run.train(settings_for(*SMALL, "optim.lr=1e30", "diagnostics=[]"), tmp_path)
    assert result["status"] == "diverged"
    [line] = evaluated(monkeypatch, capsys, "--json", str(tmp_path / run_folder.LAST)).splitlines()
    found = json.loads(line)
    assert found["test_accuracy"] is None
    assert set(found["class_accuracy"].values()) == {None}
    assert "test accuracy –" in evaluated(monkeypatch, capsys, str(tmp_path / run_folder.LAST))


def test_a_checkpoint_is_measured_on_the_data_of_its_run(
    settings_for: SettingsFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("data=classification", "loss=bce", "data.source.random_state=6", "data.source.class_sep=0.3")
    result = one_run.train(settings_for(*SMALL, *own, "data.steps_per_epoch=9"), tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--json", str(tmp_path / run_folder.BEST)])
    evaluate.main()
    said = capsys.readouterr()
    assert json.loads(said.out)["test_accuracy"] == result["test_accuracy"]
    assert said.err.endswith("on the data of its run, data.source.class_sep=0.3, data.source.random_state=6\n")
    text = evaluated(monkeypatch, capsys, str(tmp_path / run_folder.BEST))
    assert [line.split()[1] for line in text.splitlines()[-3:]] == [
        "16",
        "16",
        "1",
    ]  # units
    usual = json.loads(
        evaluated(monkeypatch, capsys, "--json", "--data=classification", str(tmp_path / run_folder.BEST))
    )
    assert usual["test_accuracy"] != result["test_accuracy"]
    with pytest.raises(UserError, match="--root: data=classification lies in no folder"):
        evaluated(monkeypatch, capsys, "--root", "somewhere", str(tmp_path / run_folder.BEST))


def test_a_run_folder_cant_choose_what_is_imported(run: tuple[Path, dict[str, Any]]) -> None:
    described = run[0].parent.parent / run_folder.RUN
    asked = json.loads(described.read_text())
    for source in ({"_target_": "os.system", "command": "touch exploded"},
                   asked["config"]["data"]["source"] | {"x": [{"_target_": "os.system"}]}):  # fmt: skip
        asked["config"]["data"]["source"] = source
        described.write_text(json.dumps(asked))
        with pytest.raises(UserError, match=r"was trained on data of os\.system: --allow"):
            evaluate.open_trained_on(run[0], "digits")
    asked["config"]["data"] = {"source": {"_target_": "actsweep.data.digits.load"}}
    described.write_text(json.dumps(asked))
    with pytest.raises(UserError, match="its data section can't be used"):
        evaluate.open_trained_on(run[0], "digits")


@pytest.mark.parametrize("part", [("config",), ("config", "names"), ("config", "data"), ("config", "data", "source")])
@pytest.mark.parametrize("damaged", [None, [], "x", {}])
def test_what_isnt_said_of_a_run_is_not_known(
    part: tuple[str, ...], damaged: object, run: tuple[Path, dict[str, Any]]
) -> None:
    described = run[0].parent.parent / run_folder.RUN
    asked = within = json.loads(described.read_text())
    for key in part[:-1]:
        within = within[key]
    within[part[-1]] = damaged
    described.write_text(json.dumps(asked))
    if "data" in part:
        with pytest.raises(UserError, match="its data section can't be used; --data NAME stands in"):
            evaluate.open_trained_on(run[0], "digits")
    else:
        assert evaluate.open_trained_on(run[0], "digits").dataset.classes == tuple("0123456789")


def test_an_untrained_network_is_counted_like_a_run(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(*SMALL, "act=relu", "trainer.max_epochs=1")
    result = one_run.train(settings, tmp_path)
    data = evaluate.open_named("digits")
    found = evaluate.measure(build_network(settings, 64, 10).network, data)
    assert found["dead_outputs"] == result["initial"]["dead_outputs"]
    assert found["grad_norm"] == pytest.approx(result["initial"]["grad_norm"], rel=1e-5)
    network, _, _ = evaluate.load(tmp_path / run_folder.BEST)
    assert evaluate.measure(network, data)["dead_outputs"] == result["dead_outputs"]


class Explosive:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("exploded"), "code from a checkpoint was executed"))


@pytest.mark.parametrize("name", ["bad.ckpt", "bad.tar"])
def test_a_malicious_file_is_refused_unexecuted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    described = {"act_fn": {"name": "ReLU"}, "input_size": 784, "num_classes": 10, "hidden_sizes": [4]}
    Path("bad.config").write_text(json.dumps(described))
    with Path(name).open("wb") as file:
        pickle.dump({"state_dict": Explosive()}, file)
    with pytest.raises(ValueError, match="not a checkpoint that can be read safely"):
        evaluate.load(Path(name))
    torch.save({"state_dict": Explosive()}, name)
    with pytest.raises(ValueError, match="not a checkpoint that can be read safely"):
        evaluate.load(Path(name))
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# Notes\nfoo", "Unsupported operand 35"),
        (b"", "EOFError"),
        (pickle.dumps(Explosive()), "Unsupported operand"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_without_advice_to_read_it_unsafely(
    content: bytes, why: str, tmp_path: Path
) -> None:
    (tmp_path / "some.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=rf"not a checkpoint that can be read safely \({why}[ \d]*\)$"):
        evaluate.load(tmp_path / "some.ckpt")
    torch.save({"state_dict": Explosive()}, tmp_path / "some.ckpt")
    with pytest.raises(UserError, match=r"safely \([^()]*GLOBAL [^()]*\)$"):
        evaluate.load(tmp_path / "some.ckpt")


def test_a_checkpoint_cant_choose_what_is_imported(run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    checkpoint = torch.load(run[0], weights_only=True)
    checkpoint["hyper_parameters"]["network"]["act"] = {"_target_": "os.system", "command": "touch exploded"}
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"names the activation 'os\.system'"):
        evaluate.load(tmp_path / "x.ckpt")
    checkpoint["hyper_parameters"]["data"] = "../../secret"
    checkpoint["hyper_parameters"]["network"]["act"] = {"_target_": "torch.nn.ReLU"}
    torch.save(checkpoint, tmp_path / "y.ckpt")
    with pytest.raises(ValueError, match="must be one of classification, digits"):
        evaluate.open_named(evaluate.load(tmp_path / "y.ckpt")[1])


def test_a_users_own_activation_is_imported_only_if_named(settings_for: SettingsFor, tmp_path: Path) -> None:
    own = "tests.test_evaluate.Own"
    one_run.train(settings_for(*SMALL, f"act={own}", "trainer.max_epochs=1"), tmp_path)
    with pytest.raises(ValueError, match=rf"--allow {own}"):
        evaluate.load(tmp_path / run_folder.BEST)
    network, data, _ = evaluate.load(tmp_path / run_folder.BEST, (own,))
    assert (type(network.taps()[0].activation), data) == (Own, "digits")


class Own(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"PK\x03\x04 truncated", "not a checkpoint"),
        (None, "no such file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        evaluate.load(path)


@pytest.mark.parametrize(
    "described",
    ["{", "[]", "{}", '{"act_fn": {"name": "Cubic"}}', '{"act_fn": {"name": "ReLU"}, "input_size": -1, '
     '"num_classes": 10, "hidden_sizes": []}'],
)  # fmt: skip
def test_what_is_no_tutorial_config_is_refused(tmp_path: Path, described: str) -> None:
    (tmp_path / "x.config").write_text(described)
    with pytest.raises(ValueError, match=r"not a tutorial's \.config"):
        evaluate.load(tmp_path / "x.config")


def test_weights_that_dont_fit_are_refused(tmp_path: Path) -> None:
    described = {"act_fn": {"name": "Tanh"}, "input_size": 784, "num_classes": 10, "hidden_sizes": [4]}
    (tmp_path / "x.config").write_text(json.dumps(described))
    torch.save({"layers.0.weight": torch.zeros(3, 784)}, tmp_path / "x.tar")
    with pytest.raises(ValueError, match="don't fit the network"):
        evaluate.load(tmp_path / "x.tar")


def test_the_wrong_data_set_is_refused(
    run: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"takes 64 inputs, the data set has 784"):
        evaluated(monkeypatch, capsys, "--data", "fashion_mnist", str(run[0]))


def test_a_config_of_giant_layers_takes_no_memory(tmp_path: Path) -> None:
    sizes = {"input_size": 1_000_000, "num_classes": 10, "hidden_sizes": [1_000_000] * 50}  # 200 TB
    (tmp_path / "x.config").write_text(json.dumps({"act_fn": {"name": "Tanh"}} | sizes))
    torch.save({"layers.0.weight": torch.zeros(3, 784)}, tmp_path / "x.tar")
    with pytest.raises(ValueError, match="don't fit the network"):
        evaluate.load(tmp_path / "x.tar")


@pytest.mark.parametrize("name", ["os.system", "torch.nn.ReLU", "tests.test_evaluate.Own", "__import__('os')"])
def test_a_tutorial_config_cant_name_a_class(name: str, tmp_path: Path) -> None:
    described = {"act_fn": {"name": name}, "input_size": 784, "num_classes": 10, "hidden_sizes": [4]}
    (tmp_path / "x.config").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"not a tutorial's \.config"):
        evaluate.load(tmp_path / "x.config")
