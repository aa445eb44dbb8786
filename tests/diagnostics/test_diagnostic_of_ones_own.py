"""One module and one YAML make a diagnostic: tables, TensorBoard and report show it, and nothing else is edited."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from actsweep.report import writing
from tests.conftest import SMALL

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
