"""TensorBoard, opened in a real browser on the folder of a real sweep."""

import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from actsweep import one_run
from actsweep.config.schema import Settings
from tests import processes
from tests.conftest import PATIENCE, SMALL

ADDRESS = re.compile(r"TensorBoard \S+ at (http://\S+)/")


@pytest.fixture
def tensorboard(settings_for: Callable[..., Settings], tmp_path: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows two runs, at a port of its own choice."""
    for act in ("relu", "tanh"):
        one_run.train(settings_for(*SMALL, f"act={act}"), tmp_path / f"{act}-d2-s42")
    said = tmp_path / "said"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", "0"]
    with said.open("w") as file, processes.running(command, stdout=file, stderr=file) as server:
        processes.until(lambda: ADDRESS.search(said.read_text()), server)
        address = str(ADDRESS.findall(said.read_text())[0])
        processes.until(lambda: b"relu-d2-s42" in urllib.request.urlopen(f"{address}/data/runs").read(), server)
        yield address


def test_tensorboard_shows_charts_images_text_and_hyperparameters(tensorboard: str, browser: Browser) -> None:
    expected = {
        "timeseries": "dead_fraction",
        "custom_scalars": "update_ratio",
        "images": "samples",
        "text": "configuration",
        "hparams": "test_accuracy",
        "histograms": "post_activation",
    }
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    for tab, text in expected.items():
        page.goto(f"{tensorboard}/#{tab}", timeout=PATIENCE)
        page.reload(timeout=PATIENCE)
        page.get_by_text(text).first.wait_for(state="attached", timeout=PATIENCE)
        page.get_by_text("relu-d2-s42").first.wait_for(state="attached", timeout=PATIENCE)
    page.close()
