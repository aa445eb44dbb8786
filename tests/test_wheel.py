"""The wheel: what is in it, and that it works where no checkout is in sight."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from actsweep import __version__
from actsweep.places import REPOSITORY
from tests import processes

pytestmark = pytest.mark.cold
SMALL = ["data=digits", "trainer=cpu", "trainer.enable_progress_bar=false", "depth=1", "width=8", "figures=[]"]
FOREIGN = {
    "src/__init__.py": "raise SystemExit('theirs')",
    "conf/config.yaml": "theirs: 1",
    "sweeps/quick.yaml": "theirs: 1",
    "train.py": "raise SystemExit('theirs')",
    "report.py": "raise SystemExit('theirs')",
    "own.py": "import torch\n\n\ndef wave(x):\n    return torch.sin(x)\n",
}
CALLBACKS = """
import sys
import actsweep
assert not {"torch", "numpy", "pandas", "hydra", "yaml"} & set(sys.modules)
import pytorch_lightning as L
from pytorch_lightning.demos.boring_classes import BoringModel
others = "hydra omegaconf pydantic pandas sklearn plotly matplotlib scipy jinja2 rich lightning joblib".split()
others += [each for each in ("torchvision", "torchmetrics", "sympy") if each not in sys.modules]  # Lightning may ask
sys.modules.update(dict.fromkeys(others))  # from here on nobody can import them
from actsweep.callbacks import ActivationHistogram, DeadUnits, GradientNorm, Tables
assert actsweep.callbacks.GradientNorm is GradientNorm
from pathlib import Path
trainer = L.Trainer(
    accelerator="cpu", max_steps=1, limit_val_batches=0, logger=Tables(Path("mine")), enable_progress_bar=False,
    enable_checkpointing=False, enable_model_summary=False,
    callbacks=[GradientNorm(), ActivationHistogram(), DeadUnits()],
)
trainer.fit(BoringModel())
print(actsweep.__file__)
"""


class Installed(NamedTuple):
    wheel: Path
    bin: Path

    def run(self, folder: Path, *arguments: str) -> str:
        """What a command of the installation prints, in a folder."""
        there = {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "ACTSWEEP_DATA": ""}
        ended = processes.run([str(self.bin / arguments[0]), *arguments[1:]], there, folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return str(ended.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A fresh environment with the wheel in it, and the packages of this one behind it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]

    def must(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    must(*pip, "wheel", *offline, "--no-build-isolation", f"--wheel-dir={folder}", str(REPOSITORY))
    [wheel] = folder.glob("*.whl")
    must(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    must(*pip, "--python", str(folder / "venv" / "bin" / "python"), "install", *offline, str(wheel))
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    # Folders that a .pth file adds have no .pth files read: the checkout that is installed here stays out.
    here = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (packages / "here.pth").write_text("\n".join(here))
    return Installed(wheel, folder / "venv" / "bin")


def test_the_wheel_holds_the_package_with_its_configuration_and_nothing_beside_it(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"actsweep", "hydra_plugins", f"actsweep-{__version__}.dist-info"}
    assert "hydra_plugins/__init__.py" not in names
    for packed, folder in (("actsweep", "src/actsweep"), ("actsweep/conf", "conf"), ("actsweep/sweeps", "sweeps")):
        paths = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"{packed}/{path.relative_to(folder)}" for path in paths} <= names


def test_an_installation_works_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    assert installed.run(tmp_path, "actsweep", "--version") == f"actsweep {__version__}\n"
    assert "actsweep report FOLDER" in installed.run(tmp_path, "actsweep", "--help")
    grid = ["+sweeps=quick", "act=relu,tanh", "seed=0,1", "trainer.max_epochs=2", "hydra/launcher=stacked"]
    installed.run(tmp_path, "actsweep", *grid, *SMALL, "hydra.sweep.dir=sweep", "report=false")
    assert len(list(tmp_path.glob("sweep/*/result.json"))) == 4
    said = installed.run(tmp_path, "actsweep", "report", "sweep")
    assert "report: sweep/report.html" in said
    noted = (tmp_path / "sweep" / "sweep.json").read_text()
    assert '"command": "actsweep +sweeps=quick act=relu,tanh' in noted
    assert "Does everything work here: six activations and three seeds" in noted
    assert {path.name for path in tmp_path.iterdir()} == {"sweep"}


def test_the_callbacks_need_torch_and_lightning_alone(installed: Installed, tmp_path: Path) -> None:
    said = installed.run(tmp_path, "python", "-W", "ignore", "-c", CALLBACKS)
    assert Path(said.splitlines()[-1]).is_relative_to(installed.bin.parent)
    assert {path.name for path in (tmp_path / "mine").glob("*.csv")} >= {"layers.csv", "histograms.csv"}


@pytest.mark.parametrize("plugins", ["hydra_plugins/theirs.py", "hydra_plugins/__init__.py"])
def test_an_installation_works_beside_a_project_with_folders_of_the_same_names(
    installed: Installed, tmp_path: Path, plugins: str
) -> None:
    for name, text in (FOREIGN | {plugins: ""}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = {path.name for path in tmp_path.iterdir()}
    if plugins.endswith("__init__.py"):
        for command in (["actsweep"], ["python", "-m", "actsweep"]):
            said = installed.run(tmp_path, *command, "theory", "act=swish", "init=default", "depth=50")
            assert "gradients vanish" in said
            assert f"usage: {' '.join(command)} theory" in installed.run(tmp_path, *command, "theory", "--help")
    else:
        one = ["act=own.wave", "seed=0", "trainer.max_epochs=1", "hydra.run.dir=run"]
        installed.run(tmp_path, "actsweep", *SMALL, *one)
        assert (tmp_path / "run" / "result.json").is_file()
        before |= {"run"}
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before


def test_the_citation_and_the_constraints_are_those_of_this_version() -> None:
    assert yaml.safe_load(Path("CITATION.cff").read_text())["version"] == __version__
    lines = Path("constraints.txt").read_text().splitlines()
    assert all(line.count("==") == 1 and "@" not in line and "/" not in line for line in lines)
    wanted = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    names = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert {each.partition(">=")[0].lower() for each in wanted} <= names
