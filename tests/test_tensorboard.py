"""TensorBoard, opened in a real browser on the folder of a real sweep."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from src import train
from src.config import Settings
from tests.conftest import BROWSER, SMALL


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@pytest.fixture
def tensorboard(settings_for: Callable[..., Settings], tmp_path: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows two runs."""
    for act in ("relu", "tanh"):
        train.train(settings_for(*SMALL, f"act={act}"), tmp_path / f"{act}-d2-s42")
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                if b"relu-d2-s42" in urllib.request.urlopen(f"{address}/data/runs", timeout=5).read():
                    break
            except OSError:
                pass
            time.sleep(0.5)
        else:
            pytest.fail("TensorBoard did not show the runs within a minute")
        yield address
    finally:
        server.terminate()
        server.wait()


def test_tensorboard_shows_charts_images_text_and_hyperparameters(tensorboard: str) -> None:
    expected = {
        "timeseries": "dead_fraction",
        "custom_scalars": "update_ratio",
        "images": "samples",
        "text": "configuration",
        "hparams": "test_accuracy",
        "histograms": "post_activation",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**BROWSER)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for tab, text in expected.items():
            page.goto(f"{tensorboard}/#{tab}")
            page.reload()
            page.get_by_text(text).first.wait_for(state="attached", timeout=60_000)
            page.get_by_text("relu-d2-s42").first.wait_for(state="attached", timeout=60_000)
        browser.close()
