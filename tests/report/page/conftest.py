"""Pages of made-up runs, opened in a real browser: fixtures of the tests of the page."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

from actsweep.report import page
from actsweep.report.summary import summarise
from actsweep.results.reading import Run, read_runs
from actsweep.statistics.setting import settings_of
from tests.conftest import PATIENCE
from tests.results.made_up_runs import result_of, tables_of

WIDTHS = (390, 1280, 1920)


EPOCHS = 4


ACCURACIES = {"tanh": 0.88, "relu": 0.89, "sigmoid": 0.10}


QUANTITIES = {
    "grad_norm": ("nats per unit weight", "log", "scalar"),
    "dead_fraction": ("1", "linear", "scalar"),
    "dead_units": ("units", "linear", "scalar"),
    "units_died": ("units", "linear", "scalar"),
    "units_revived": ("units", "linear", "scalar"),
    "curvature_of_mine": ("nats²", "log", "scalar"),
    "pre_activation": ("1", "linear", "histogram"),
    "post_activation": ("1", "linear", "histogram"),
    "weight_gradient": ("nats per unit weight", "linear", "histogram"),
}


def layers_of(result: Run) -> pd.DataFrame:
    """layers.csv; with the special gradients of some settings: exact zeros, NaN and infinity."""
    rows = []
    for layer in range(1, result["depth"] + 2):
        for epoch in range(EPOCHS + 1):
            norm = 10.0 ** (layer - result["depth"]) * (1 + result["seed"]) / (1 + epoch)
            if result["act"] == "sigmoid" and layer == 1:
                norm = 0.0
            if result["act"] == "relu" and layer == 2 and epoch == 2 and result["seed"] == 0:
                norm = math.inf if result["depth"] == 3 else math.nan
            values = {"grad_norm": norm, "dead_fraction": 0.1 * layer, "curvature_of_mine": layer + epoch}
            if epoch:
                values |= {"units_died": layer * (epoch % 3), "units_revived": layer}
            if epoch in (0, EPOCHS):
                values["dead_units"] = layer
            rows += [(epoch, epoch * 10, f"layer_{layer:02d}", name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])


def add_run(
    folder: Path, act: str, seed: int, sizes: Sequence[int] = (8, 8, 8), data: str = "digits", **more: Any
) -> Path:
    """A run folder in which every section of the page finds what it needs."""
    result = result_of(act, sizes, seed, data)
    result |= {"test_accuracy": ACCURACIES.get(act, 0.8) + 0.004 * ((seed * 7) % 5) - 0.01 * (len(sizes) == 2)}
    result |= {"seconds": 12.5 + seed, "device": "cpu", "git": "abc", "versions": {"torch": "2"}, "machine": "x86"}
    result |= {"dead_fraction": [0.0, 0.5], "val_accuracy": 0.8 + 0.01 * seed} | more
    run = folder / re.sub(r"[/\0]", "_", result["name"])[:200]
    run.mkdir(parents=True)
    (run / "result.json").write_text(json.dumps(result))
    for name, table in tables_of(result, 2).items():
        if name in ("epochs", "histograms", "curves", "predictions"):
            if name == "histograms":
                table.loc[table["epoch"] == 3, ["low", "high"]] *= 0.5
                table.loc[table["epoch"] == 3, "counts"] = "1 2 3 2 1"
            if name == "epochs" and act == "sigmoid":
                table[["train_accuracy", "val_accuracy"]] = 0.1
            table.to_csv(run / f"{name}.csv", index=False)
    layers_of(result).to_csv(run / "layers.csv", index=False)
    described = {
        name: {"name": name, "unit": unit, "scale": scale, "definition": f"what {name} is", "kind": kind}
        for name, (unit, scale, kind) in QUANTITIES.items()
    }
    (run / "quantities.json").write_text(json.dumps(described))
    return run


def written(folder: Path, **sweep: Any) -> Path:
    return page.write(summarise(settings_of(read_runs([folder]), sweep.get("missing", ())), sweep), folder)


@dataclass
class Opened:
    """A page in a browser, and everything about it that went wrong."""

    view: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def drawn(self, figure: str) -> str:
        """What plotly was given to draw."""
        plots = "plots => JSON.stringify(plots.map(plot => [plot.data, plot.layout]))"
        return self.view.eval_on_selector_all(f"[data-figure={figure}] .plot", plots)

    def traces(self, figure: str) -> list[dict[str, Any]]:
        return json.loads(self.drawn(figure))[0][0]

    def redrawn(self, action: Callable[[], object]) -> None:
        """Wait until all figures were drawn again because of the action."""
        passes = self.view.locator("html").get_attribute("data-drawn")
        action()
        self.view.wait_for_selector(f"html:not([data-drawn='{passes}'])", state="attached")

    def width(self) -> tuple[int, int]:
        return tuple(self.view.evaluate("[document.documentElement.scrollWidth, innerWidth]"))

    def text(self, selector: str) -> str:
        return " ".join(self.view.locator(selector).first.inner_text().split())


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> Open:
    def opened(path: Path, width: int = 1280, **context: Any) -> Opened:
        view = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        view.set_default_timeout(PATIENCE)
        found = Opened(view)
        view.on("console", lambda m: found.problems.append(m.text) if m.type in ("error", "warning", "trace") else None)
        view.on("pageerror", lambda error: found.problems.append(str(error)))
        view.on("dialog", lambda dialog: (found.problems.append(dialog.message), dialog.dismiss()))
        view.on("request", lambda request: found.requests.append(request.url))
        view.goto(path.as_uri())
        view.wait_for_selector("html[data-drawn]", state="attached")
        return found

    return opened


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three activations, two depths, three seeds; one run diverged, one failed, one never ended, one is missing."""
    folder = tmp_path_factory.mktemp("a sweep #1")
    for act in ACCURACIES:
        for seed in range(3):
            for sizes in ((8, 8, 8), (8, 8)):
                add_run(folder, act, seed, sizes)
    broken = {"test_accuracy": None, "val_accuracy": None, "test_loss": None, "best_epoch": None}
    add_run(folder, "relu", 3, status="diverged", **broken)
    add_run(folder, "relu", 4, status="failed", error="ValueError: <b>bold</b> & 'quoted'", **broken)
    (add_run(folder, "relu", 5) / "result.json").write_text('{"status": "comp')
    missing = [folder / "relu-d3-s5"]
    written(folder, question="Which is <best>?", command="python -m src.train -m act=relu", missing=missing)
    return folder


@pytest.fixture(scope="session")
def views(sweep: Path, open_page: Open) -> dict[int, Opened]:
    """The sweep's page by width, as every test leaves it; the widest one is dark."""
    path = sweep / "report.html"
    return {width: open_page(path, width, color_scheme="dark" if width == 1920 else "light") for width in WIDTHS}


@pytest.fixture
def wide(views: dict[int, Opened]) -> Opened:
    return views[1280]
