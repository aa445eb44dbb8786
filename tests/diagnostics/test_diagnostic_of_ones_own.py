"""One module and one YAML make a diagnostic: tables, TensorBoard and report show it, and nothing else is edited."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from actsweep.callbacks import Diagnostic, Layer
from actsweep.errors import UserError
from actsweep.report import writing
from tests.conftest import SMALL
from tests.diagnostics.test_odd_trainings import DATA, Small
from tests.diagnostics.test_zoo import fit

MODULE = '''
from torch import Tensor

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity
from actsweep.diagnostics.observation import Layer


class RowNorm(Diagnostic):
    """Largest norm of a unit's incoming gradient, times a factor."""

    quantities = (Quantity("row_norm_of_mine", "nats per weight", "log", "largest norm of a row of ∂L/∂W"),)

    def __init__(self, factor: float, every_n_epochs: int = 1) -> None:
        super().__init__(every_n_epochs)
        self.factor = factor

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        return {"row_norm_of_mine": self.factor * layer.gradient.norm(dim=2).amax(dim=1)}
'''
YAML = "mine:\n  _target_: diagnostic_of_mine.RowNorm\n  factor: 3.0\n"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder outside the project with the module and the YAML."""
    folder = tmp_path / "added"
    (folder / "diagnostics").mkdir(parents=True)
    (folder / "diagnostic_of_mine.py").write_text(MODULE)
    (folder / "diagnostics" / "mine.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("diagnostic_of_mine", None)


def test_a_new_diagnostic_reaches_tables_tensorboard_and_report(
    command: Callable[..., int], added: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    chosen = [f"hydra.searchpath=[file://{added}]", "diagnostics=[gradients,mine]", f"hydra.sweep.dir={sweep}"]
    assert command("-m", *SMALL[:-2], "figures=[]", *chosen, "seed=0,1") == 0
    runs = writing.read_runs([sweep])
    assert len(runs) == 2

    folder = Path(runs[0]["folder"])
    layers = pd.read_csv(folder / "layers.csv").set_index(["quantity", "epoch", "layer"])["value"]
    mine, norms = layers["row_norm_of_mine"], layers["grad_norm"]
    assert mine.index.tolist() == norms.index.tolist()
    assert len(mine) == 3 * 3  # epochs 0, 1 and 2; two hidden layers and the output layer
    assert ((norms / 16**0.5 <= mine / 3 + 1e-9) & (mine / 3 <= norms + 1e-9)).all()  # a row of 16 or of 10
    assert json.loads((folder / "quantities.json").read_text())["row_norm_of_mine"]["unit"] == "nats per weight"

    events = EventAccumulator(str(folder)).Reload()
    logged = [event.value for event in events.Scalars("row_norm_of_mine/layer_02")]
    assert logged == pytest.approx(mine.xs("layer_02", level="layer").tolist())
    layout = layout_pb2.Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert "row_norm_of_mine" in {category.title for category in layout.category}

    page = (sweep / "report.html").read_text()
    start = '<script type="application/json" id="data">'
    data = json.loads(page[page.index(start) + len(start) :].partition("</script>")[0])
    shown = {quantity["name"]: quantity for quantity in data["layers"]["quantities"]}["row_norm_of_mine"]
    assert (shown["unit"], shown["scale"]) == ("nats per weight", "log")
    assert shown["definition"] == "largest norm of a row of ∂L/∂W"
    other = pd.read_csv(Path(runs[1]["folder"]) / "layers.csv").set_index(["quantity", "epoch", "layer"])["value"]
    means = (mine * other["row_norm_of_mine"]) ** 0.5
    z = shown["settings"]["0"]["map"]["z"]
    assert z[0] == pytest.approx(means.xs("layer_01", level="layer").tolist(), rel=1e-3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mine": 1.0}, "float as mine"),
        ({"mine": torch.tensor(1.0)}, r"torch.float32 of shape \(\) as mine"),
        ({"mine": torch.ones(2)}, r"torch.float32 of shape \(2,\) as mine"),
        ({"mine": torch.ones(1) * 1j}, r"torch.complex64 of shape \(1,\) as mine"),
        (None, "NoneType as what is measured"),
    ],
)
def test_what_is_no_number_for_each_network_is_refused_in_one_line(given: Any, told: str) -> None:
    class Mine(Diagnostic):
        quantities = ()

        def measure(self, layer: Layer) -> Any:
            return given

    with pytest.raises(
        UserError, match=rf"^Mine.measure gives {told} of net.0: must give, by name, real tensors of sh"
    ):
        fit(Small(), DATA, [Mine()])


def test_a_diagnostic_with_one_number_for_all_networks_of_a_stack_has_them_train_one_by_one(
    command: Callable[..., int], added: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module, sweep = added / "diagnostic_of_mine.py", tmp_path / "sweep"
    module.write_text(MODULE.replace("layer.gradient.norm(dim=2).amax(dim=1)", "layer.gradient.norm()[None]"))
    chosen = [f"hydra.searchpath=[file://{added}]", "diagnostics=[mine,gradients]", f"hydra.sweep.dir={sweep}"]
    assert command("-m", *SMALL[:-2], "figures=[]", *chosen, "seed=0,1") == 0
    said = "they run one by one: UserError: RowNorm.measure gives torch.float32 of shape (1,) as row_norm_of_mine"
    assert said in capfd.readouterr().err
    for run in writing.read_runs([sweep]):
        table = pd.read_csv(Path(run["folder"]) / "layers.csv").pivot_table("value", ["epoch", "layer"], "quantity")
        assert table["row_norm_of_mine"].to_numpy() == pytest.approx(3 * table["grad_norm"].to_numpy(), rel=1e-5)
