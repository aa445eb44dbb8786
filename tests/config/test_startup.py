"""What the person waits for: mistakes and --help are answered before torch or Lightning are imported; `actsweep` and
its callbacks import what they need."""

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as L
import torch
import yaml
from sklearn.datasets import load_digits, load_iris

from actsweep.config.descriptions import find, parameters
from actsweep.data import digits, iris
from actsweep.places import REPOSITORY
from actsweep.training.trainer_arguments import KNOWN
from tests import processes
from tests.conftest import names_in

pytestmark = pytest.mark.cold
LARGE = (
    "torch",
    "pytorch_lightning",
    "torchvision",
    "torchmetrics",
    "matplotlib",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
)
ANSWERS = """
import contextlib, io, json, sys
import pytest
from hydra.core.global_hydra import GlobalHydra
from actsweep.main import run
from tests import quick_hydra

quick_hydra.put(quick_hydra.INSTEAD, pytest.MonkeyPatch())

for given in json.loads(sys.argv[1]):
    sys.argv, code, said = ["train", *given], 0, io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            run("train")
        except SystemExit as end:
            code = end.code
        GlobalHydra.instance().clear()
    loaded = [name for name in json.loads(sys.argv_of_ours) if name in sys.modules]
    print(json.dumps([code, said.getvalue().splitlines()[-1], loaded]))
"""
AT_SIGHT = [
    *(["dpeth=3"], ["depth=2.5"], ["act=rleu"], ["optim.lr=0"], ["seed=0,1"], ["init=matching", "act=step"]),
    *(
        ["figures=[nosuch]"],
        ["depth=2", "width=1000000"],
        ["+trainer.nosuch=1"],
        ["+trainer.max_steps=5"],
        ["content=abc"],
    ),
    *(["trainer.precision=7"], ["diagnostics.gradients.every_n_epochs=0"], ["+sweeps=nosuch"], ["seed="]),
    *(["+diagnostics.gradients.nosuch=1"], ["+diagnostics.units.bins=8"], ["+trainer.strategy=nosuch"]),
    *(
        ["-m", "act=relu,tanh", "depth=1,x"],
        ["-m", "seed=0,1,0"],
        ["-m", "seed=range(0)"],
        ["-m", "+sweeps=main", "x=1"],
    ),
    *(["-m", "seed=0,1", "hydra.launcher.processes=0"], ["-m", "seed=0,1", "hydra.launcher.save_every=-1"]),
]
WITH_TORCH = [
    *(["act=torch.nn.NoSuch"], ["act=torch.nn.Linear"], ["init.weight._target_=torch.nosuch"], ["+optim.nosuch=1"]),
    *(["data.val_size=1437"], ["data.batch_size=5000"], ["loss=mse"], ["+trainer.limit_train_batches=0.001"]),
    *(["data=mnist_folder", "data.source.root=/nowhere"], ["-m", "act=relu,torch.nn.NoSuch"]),
]


def answers(mistakes: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    """Exit code, last line, and which large libraries the process has loaded by then, of each mistake in turn."""
    where = ["data=digits", f"hydra.run.dir={folder}/run", f"hydra.sweep.dir={folder}/sweep"]
    given = [[*each[:1], *where, *each[1:]] if each[0] == "-m" else [*where, *each] for each in mistakes]
    script = ANSWERS.replace("json.loads(sys.argv_of_ours)", repr(LARGE))
    ended = processes.run([sys.executable, "-c", script, json.dumps(given)])
    assert ended.returncode == 0, ended.stderr
    return [tuple(json.loads(line)) for line in ended.stdout.splitlines()]


def test_what_shows_at_sight_is_answered_without_torch(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    foreign = [f"hydra.run.dir={tmp_path}/theirs"], ["-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/theirs"]
    for given, (code, said, loaded) in zip(
        [*AT_SIGHT, *foreign, ["--help"]], answers([*AT_SIGHT, *foreign, ["--help"]], tmp_path), strict=True
    ):
        assert (code or 0, loaded) == (0 if given == ["--help"] else 2, []), (given, said)
        assert said.startswith("error: ") or given == ["--help"], (given, said)


def test_what_must_be_tried_is_answered_without_lightning(tmp_path: Path) -> None:
    for given, (code, said, loaded) in zip(WITH_TORCH, answers(WITH_TORCH, tmp_path), strict=True):
        assert code == 2, (given, said)
        assert said.startswith("error: "), (given, said)
        assert set(loaded) <= {"torch"}, given


def test_the_package_is_light() -> None:  # and its callbacks: tests/test_wheel.py
    listed = f"print(*[name for name in {(*LARGE, 'hydra', 'pydantic', 'rich')!r} if name in sys.modules])"
    script = "\n".join(["import sys", *(f"import {module}; {listed}" for module in ("actsweep", "actsweep.main"))])
    assert processes.run([sys.executable, "-c", script]).stdout == "\n\n"


def test_the_names_of_trainer_arguments_are_lightnings() -> None:
    assert set(inspect.signature(L.Trainer).parameters) == set(KNOWN)


@pytest.mark.parametrize("name", names_in("diagnostics"))
def test_what_a_diagnostic_takes_is_read_from_its_source(name: str) -> None:
    for part in yaml.safe_load((REPOSITORY / "conf" / "diagnostics" / f"{name}.yaml").read_text()).values():
        assert parameters(part["_target_"]) == list(inspect.signature(find(part["_target_"])).parameters)


@pytest.mark.parametrize("path", ["math.pi", "actsweep.nosuch.Class", "actsweep.callbacks.GradientNorm"])
def test_of_anything_else_nothing_is_known_at_sight(path: str) -> None:
    assert parameters(path) is None


def test_the_data_that_scikit_learn_carries_are_those_it_loads() -> None:
    ours, theirs = digits.load(), load_digits()
    assert ours.test is not None
    assert np.array_equal(torch.cat([ours.pool.inputs, ours.test.inputs]).numpy(), theirs.data)
    assert np.array_equal(torch.cat([ours.pool.labels, ours.test.labels]).numpy(), theirs.target)
    flowers, known = iris.load(standardise=False), load_iris()
    assert np.array_equal(flowers.pool.inputs.numpy(), known.data[:100])
    assert np.array_equal(flowers.pool.labels.numpy(), known.target[:100])
    assert flowers.classes == tuple(known.target_names[:2])
