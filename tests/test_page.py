"""The page says what the run folders say, in a real browser, and nothing in them can make it do anything else."""

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from actsweep.report import page
from actsweep.report.page import wording
from actsweep.report.page.layers import mean_over_seeds, measured
from actsweep.report.page.tables import Folders
from actsweep.results.reading import Run, read_runs
from actsweep.statistics import inference
from tests.conftest import BROWSER, PATIENCE
from tests.made_up_runs import result_of, tables_of

WIDTHS = (390, 1280, 1920)
EPOCHS = 4
ACCURACIES = {"tanh": 0.88, "relu": 0.89, "sigmoid": 0.10}
HOSTILE = (
    '<img src=x onerror="window.owned=1"></script><script>window.owned=2</script>\'&amp;%{x} 名前 \u2028 ' + "x" * 250
)
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
    return page.write(read_runs([folder]), folder, sweep)


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**BROWSER)
        yield browser
        browser.close()


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def views(sweep: Path, open_page: Open) -> dict[int, Opened]:
    """The sweep's page by width, as every test leaves it; the widest one is dark."""
    path = sweep / "report.html"
    return {width: open_page(path, width, color_scheme="dark" if width == 1920 else "light") for width in WIDTHS}


@pytest.fixture
def wide(views: dict[int, Opened]) -> Opened:
    return views[1280]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_without_errors_requests_or_sideways_scrolling(
    width: int, sweep: Path, views: dict[int, Opened]
) -> None:
    opened = views[width]
    assert opened.problems == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [(sweep / "report.html").as_uri()]
    assert opened.width() == (width, width)
    undrawn = "figures => figures.filter(f => !f.querySelector('.main-svg')).map(f => f.dataset.figure)"
    assert opened.view.eval_on_selector_all("[data-figure]", undrawn) == []
    overflowing = "plots => plots.filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.className)"
    assert opened.view.eval_on_selector_all(".plot", overflowing) == []
    dark = opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (width == 1920)


def test_nothing_can_be_fetched_and_no_other_script_runs(wide: Opened) -> None:
    fetched = wide.view.evaluate("fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'refused')")
    wide.view.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))"
    )
    assert (fetched, wide.view.evaluate("window.owned")) == ("refused", None)
    assert any("Content Security Policy" in problem for problem in wide.problems)
    wide.problems.clear()


def test_every_select_changes_its_figure(wide: Opened) -> None:
    selects = wide.view.locator("[data-figure] select")
    tried = []
    for position in range(selects.count()):
        select = selects.nth(position)
        name, figure = select.get_attribute("name"), select.evaluate("s => s.closest('figure').dataset.figure")
        assert select.is_visible(), (figure, name)
        before, chosen = wide.drawn(figure), select.input_value()
        other = [v for v in select.locator("option").evaluate_all("o => o.map(e => e.value)") if v != chosen]
        select.select_option(other[-1])
        assert wide.drawn(figure) != before, (figure, name)
        select.select_option(chosen)
        assert wide.drawn(figure) == before, (figure, name)
        tried.append((figure, name))
    assert {"accuracy", "differences", "learning", "map", "histogram", "turnover"} == {figure for figure, _ in tried}
    assert wide.problems == []


def test_a_setting_that_is_unchosen_leaves_all_figures_at_once(wide: Opened) -> None:
    figures = ("accuracy", "learning", "map", "profile", "turnover")
    before = {figure: wide.drawn(figure) for figure in figures}
    chip = wide.view.locator("[data-figure=learning] .chip", has_text="tanh, depth 3")
    wide.redrawn(chip.click)
    assert [figure for figure in figures if wide.drawn(figure) == before[figure]] == []
    assert "tanh, depth 3" not in wide.drawn("accuracy")
    assert wide.text("[data-figure=map] summary") == "Settings shown: 5 of 6"
    wide.redrawn(chip.click)
    assert {figure: wide.drawn(figure) for figure in figures} == before


def test_the_slider_and_its_buttons_step_through_time(wide: Opened) -> None:
    figure = wide.view.locator("[data-figure=histogram]")
    slider, told = figure.locator("[name=time]"), figure.locator("output")
    slider.fill("0")
    first = wide.drawn("histogram")
    assert told.inner_text() == "epoch 0"
    figure.get_by_label("One step on").click()
    assert told.inner_text() == "epoch 3"
    assert wide.drawn("histogram") != first
    slider.press("ArrowLeft")
    assert (told.inner_text(), wide.drawn("histogram")) == ("epoch 0", first)
    figure.get_by_role("button", name="Play").click()
    figure.locator("output", has_text="epoch 3").wait_for()
    figure.get_by_role("button", name="Play").wait_for()


def test_the_keyboard_reaches_every_control(wide: Opened) -> None:
    wide.view.evaluate("document.activeElement.blur(), getSelection().removeAllRanges(), scrollTo(0, 0)")
    controls = "main a, main button, main select, main input, main summary, #theme"
    shown = wide.view.eval_on_selector_all(
        controls, "all => (window.all = all.filter(e => e.checkVisibility())).length"
    )
    reached = set()
    for _ in range(2 * shown):
        wide.view.keyboard.press("Tab")
        reached.add(wide.view.evaluate("all.indexOf(document.activeElement)"))
    assert shown > 60
    assert set(range(shown)) - reached == set()


def test_headings_sort_a_table_both_ways(wide: Opened) -> None:
    heading = wide.view.locator("#summary th", has_text="mean, %")
    means = "#summary tbody tr"
    key = "rows => rows.map(row => Number(row.cells[3].dataset.sort))"
    heading.locator("button").press("Enter")
    rising = wide.view.eval_on_selector_all(means, key)
    heading.locator("button").press("Enter")
    falling = wide.view.eval_on_selector_all(means, key)
    assert len(rising) == 6
    assert rising == sorted(rising) == falling[::-1]
    assert rising[0] < rising[-1]
    assert heading.get_attribute("aria-sort") == "descending"


def test_the_theme_button_recolours_page_and_figures(views: dict[int, Opened]) -> None:
    opened = views[390]
    light = opened.drawn("accuracy")
    opened.redrawn(opened.view.locator("#theme").click)
    opened.redrawn(opened.view.locator("#theme").click)
    assert opened.text("#theme") == "Theme: dark"
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert "#e7e9ec" in opened.drawn("accuracy")
    assert "#e7e9ec" not in light


def test_on_paper_every_section_is_there_unfolded_light_and_without_controls(views: dict[int, Opened]) -> None:
    opened = views[1920]
    opened.view.locator("details[open] > summary", has_text="links to their folders").click()
    on_screen = opened.view.locator("main section").count()
    opened.view.emulate_media(media="print")
    opened.view.wait_for_selector("details:not([open])", state="detached")
    assert opened.view.locator("main section:visible").count() == on_screen == 10
    assert opened.view.locator(".controls:visible, .side:visible").count() == 0
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert "#e7e9ec" not in opened.drawn("accuracy")
    widths = opened.view.eval_on_selector_all(".main-svg", "all => all.map(e => e.getBoundingClientRect().width)")
    assert 300 < max(widths) <= 680
    opened.view.emulate_media(media="screen")
    opened.view.wait_for_selector("details:not([open])", state="attached")
    assert opened.problems == []


def test_estimates_and_comparisons_are_those_of_statistics(sweep: Path, wide: Opened) -> None:
    runs = [run for run in read_runs([sweep]) if run["status"] == "completed"]
    groups: dict[str, dict[int, float]] = {}
    for run in runs:
        groups.setdefault(f"{run['act']}, depth {run['depth']}", {})[run["seed"]] = 100 * run["test_accuracy"]
    rows = wide.view.eval_on_selector_all(
        "#summary tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    cells = {row[0]: row for row in rows}
    for label, values in groups.items():
        mean, share = inference.mean(list(values.values())), inference.proportion(0 if "sigmoid" in label else 3, 3)
        assert cells[label][3].split("\n") == [f"{mean.value:.2f}", f"[{mean.low:.2f}, {mean.high:.2f}]"]
        if label != "relu, depth 3":  # whose diverged run counts as not trained
            assert cells[label][2].split("\n")[1] == f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
    assert cells["relu, depth 3"][1:3] == ["3\n1 diverged, 1 failed, 1 missing", "3/4\n[30, 95] %"]
    tanh, relu = "tanh, depth 3", "relu, depth 3"
    family = inference.compare_all({tanh: groups.pop(tanh), relu: groups.pop(relu)} | groups)
    pair = family[tanh, relu]
    wide.view.locator("[name=reference]").select_option(label=relu)
    row = wide.view.locator("[data-pairs] tr", has_text=tanh).locator("td, th").all_inner_texts()
    assert row[:3] == [tanh, "3", "paired"]
    assert float(row[3].split("\n")[0].replace("−", "-")) == pytest.approx(pair.difference.value, abs=0.005)
    assert float(row[4]) == pytest.approx(pair.p_holm, rel=0.01)
    assert float(row[7].split("\n")[0]) == pytest.approx(100 * pair.improvement.value, rel=0.01)


def test_the_drawn_means_are_the_runs_means(sweep: Path, wide: Opened) -> None:
    runs = [run for run in read_runs([sweep]) if run["status"] == "completed"]
    groups = [
        [100 * r["test_accuracy"] for r in runs if (r["act"], r["depth"]) == (act, d)]
        for act in ACCURACIES
        for d in (2, 3)
    ]
    diamonds = [trace["x"][0] for trace in wide.traces("accuracy") if trace["marker"].get("symbol") == "diamond"]
    assert sorted(diamonds) == pytest.approx(sorted(map(np.mean, groups)), abs=0.005)


def test_the_summary_counts_and_names_the_runs_that_did_not_complete(wide: Opened) -> None:
    tiles = wide.view.locator(".tiles li").all_inner_texts()
    assert [" ".join(tile.split()) for tile in tiles] == [
        "21 runs expected", "18 completed", "1 diverged", "1 failed", "1 missing",
    ]  # fmt: skip
    summary = wide.text("#summary")
    assert "relu-d3-s5" in summary
    assert "Which is <best>?" in wide.text("main")
    assert "Too few seeds for a verdict. 3 seeds can't show a difference" in summary
    assert "sigmoid, depth 2 (0 of 3 runs trained" in summary
    assert "ValueError: <b>bold</b> & 'quoted'" in wide.text("#provenance")


def test_links_lead_to_the_run_folders(sweep: Path, wide: Opened) -> None:
    targets = wide.view.eval_on_selector_all("#provenance a", "links => [...new Set(links.map(a => a.href))]")
    assert sorted(targets) == sorted(f"{Path(run['folder']).as_uri()}/" for run in read_runs([sweep]))


def test_zero_nan_and_infinite_gradients_are_marked_and_counted(wide: Opened) -> None:
    note = wide.text("[data-figure=map] .note")
    assert f"Grey: exactly 0 ({2 * (EPOCHS + 1)} cells)." in note
    assert "Orange: NaN or infinite in at least one seed (2 cells)." in note
    symbols = [trace.get("marker", {}).get("symbol") for trace in wide.traces("profile")]
    assert symbols.count("triangle-down-open") == 4  # two depths, untrained and trained


def test_a_diagnostic_of_ones_own_is_offered_with_its_meaning(wide: Opened) -> None:
    select = wide.view.locator("[data-figure=map] [name=quantity]")
    offered = select.locator("option").all_inner_texts()
    assert sorted(offered) == sorted(name for name, (_, _, kind) in QUANTITIES.items() if kind == "scalar")
    select.select_option(label="curvature_of_mine")
    note = wide.text("[data-figure=map] .note")
    assert note == "curvature_of_mine: what curvature_of_mine is. Unit: nats²; logarithmic scale."
    z = wide.traces("map")[0]["z"]
    assert np.array(z) == pytest.approx(np.log10([[n + e for e in range(EPOCHS + 1)] for n in range(1, 4)]), abs=1e-3)
    select.select_option(label="dead_units")
    assert "at the start and at the end only" in wide.text("[data-figure=map] .plot")
    select.select_option(label="grad_norm")


def test_dying_units_add_up_over_the_layers(wide: Opened) -> None:
    died, revived = wide.traces("turnover")[:2]
    assert died["y"] == [6 * (epoch % 3) for epoch in range(1, EPOCHS + 1)]  # layers 1, 2 and 3
    assert revived["y"] == [-6] * EPOCHS


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path, open_page: Open) -> None:
    for act in ("tanh", HOSTILE):
        for seed in (0, 1):
            run = add_run(tmp_path, act, seed, name=f"{len(act)}-{seed}: {HOSTILE}")
            (run / "quantities.json").write_text(
                json.dumps({"grad_norm": {"unit": HOSTILE, "definition": HOSTILE, "scale": "log"}})
            )
    add_run(tmp_path, "relu", 0, status="failed", error=HOSTILE, test_accuracy=None, name="javascript:alert(1)")
    path = written(tmp_path, question=HOSTILE, command=HOSTILE, missing=[tmp_path / HOSTILE[:100]])
    opened = open_page(path, 390)
    assert opened.problems == []
    assert opened.view.evaluate("window.owned") is None
    assert opened.view.locator("img:not([src^='data:'])").count() == 0
    assert opened.width() == (390, 390)
    assert "<img src=x onerror=" in opened.text("h1 + .question")
    assert "<img src=x" in opened.view.locator("[data-figure=accuracy] .plot").inner_text().replace("\xa0", " ")
    protocols = opened.view.eval_on_selector_all("a", "links => [...new Set(links.map(a => a.protocol))]")
    assert protocols == ["file:"]


def sections_without_data(tmp_path: Path) -> Path:
    for run in (add_run(tmp_path, "tanh", seed) for seed in (0, 1)):
        for path in [*run.glob("*.csv"), run / "quantities.json"]:
            path.unlink()
    return tmp_path


def one_run(tmp_path: Path) -> Path:
    add_run(tmp_path, "tanh", 0)
    return tmp_path


def no_completed_run(tmp_path: Path) -> Path:
    broken = {"test_accuracy": None, "val_accuracy": None, "test_loss": None, "best_epoch": None}
    add_run(tmp_path, "tanh", 0, status="diverged", **broken)
    add_run(tmp_path, "relu", 0, status="failed", error="x", **broken)
    return tmp_path


def damaged_tables(tmp_path: Path) -> Path:
    for seed in (0, 1):
        run = add_run(tmp_path, "tanh", seed)
        for name in ("layers", "histograms", "epochs", "predictions", "curves"):
            content = (run / f"{name}.csv").read_bytes()
            (run / f"{name}.csv").write_bytes(content[: len(content) // 2] if seed else b"\xff\x00" + content[:20])
        (run / "quantities.json").write_text('{"grad_norm": {"un')
    return tmp_path


def different_sweeps(tmp_path: Path) -> Path:
    """Two data sets, one of them a regression of one layer; and one run twice."""
    for seed in (0, 1):
        add_run(tmp_path / "a", "tanh", seed, (8, 8, 8))
        add_run(tmp_path / "a again", "tanh", seed, (8, 8, 8))
        run = add_run(
            tmp_path / "b", "relu", seed + 5, (4,), data="spiral", test_accuracy=None, classes=0, test_loss=0.25 + seed
        )
        result = json.loads((run / "result.json").read_text())
        result["config"]["loss"] = "mse"
        (run / "result.json").write_text(json.dumps(result))
    return tmp_path


SAID = {
    one_run: ["the highest mean test accuracy: 88.00 %, one run, so no interval, n = 1.", "nothing to compare"],
    no_completed_run: ["No run completed, so there is nothing to compare.", "no completed run has a test accuracy"],
    sections_without_data: ["switch on diagnostics=[gradients]", "diagnostics=[histograms]", "diagnostics=[curve]"],
    damaged_tables: ["could not be read whole", "layers.csv is cut off in its last line", "quantities.json can’t"],
    different_sweeps: ["A regression has no accuracy", "lower is better", "2 repeated a seed", "0.75 label²"],
}  # fmt: skip


@pytest.mark.parametrize("build", SAID, ids=lambda build: build.__name__)
def test_what_is_missing_is_said_and_the_rest_is_drawn(
    build: Callable[[Path], Path], tmp_path: Path, open_page: Open
) -> None:
    opened = open_page(written(build(tmp_path)), 390)
    text = " ".join((opened.view.locator("main").text_content() or "").split())
    assert [sentence for sentence in SAID[build] if sentence not in text] == []
    assert opened.problems == []
    assert opened.width() == (390, 390)


def test_of_many_settings_the_best_are_shown_first(tmp_path: Path, open_page: Open) -> None:
    for number in range(14):
        add_run(tmp_path, f"act{number:02d}", 0, test_accuracy=0.5 + 0.01 * number)
    opened = open_page(written(tmp_path), 390)
    chosen = opened.view.locator("[data-figure=accuracy] .chip:has(:checked)").all_text_contents()
    assert chosen == [f"act{number:02d}" for number in range(2, 14)]
    assert opened.view.locator("[data-figure=differences] .main-svg").count() > 0
    assert opened.problems == []


def test_rows_before_a_tables_torn_end_are_kept(tmp_path: Path) -> None:
    run = {"name": "torn", "folder": str(tmp_path)}
    (tmp_path / "layers.csv").write_text(
        "epoch,step,layer,quantity,value\n0,0,layer_01,grad_norm,nan\n1,5,layer_01,grad_norm,0.0"
    )
    folders = Folders()
    table = folders.read(run, "layers", ("epoch", "step", "layer", "quantity", "value"))
    assert table is not None
    assert table["epoch"].tolist() == [0]
    assert folders.damaged == [("torn", "layers.csv is cut off in its last line, which is left out")]


def test_means_are_geometric_where_asked_and_keep_zeros_and_infinities() -> None:
    stack = np.array([[1.0, 0.0, np.inf, np.nan, 3.0], [100.0, 4.0, 1.0, np.nan, np.nan]])
    assert mean_over_seeds(stack, logarithmic=True) == pytest.approx([10, 0, math.inf, math.nan, 3], nan_ok=True)
    assert mean_over_seeds(stack, logarithmic=False) == pytest.approx([50.5, 2, math.inf, math.nan, 3], nan_ok=True)


def test_embedded_data_can_not_end_the_element_it_stands_in() -> None:
    data = {"a": "</script><!--&\u2028\u2029"}
    text = str(wording.embedded(data))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data


def test_the_same_runs_give_the_same_page_and_nothing_else_is_left(sweep: Path, tmp_path: Path) -> None:
    runs = read_runs([sweep])
    first = page.write(runs, tmp_path, {}).read_bytes()
    assert page.write(runs, tmp_path, {}).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [".actsweep", "report.html"]
    with pytest.raises(ValueError, match="at least one run"):
        page.write([], tmp_path, {})


def imported(module: str, known: set[str]) -> set[str]:
    """The module and all of actsweep that it imports, directly or not."""
    path = Path("src", *module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in known or not module.startswith("actsweep.") or not source.is_file():
        return known
    known.add(module)
    for node in ast.walk(ast.parse(source.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for name in [base.rstrip("."), *(base + name for name in names)] if names else []:
            imported(name, known)
    return known


def test_the_page_needs_none_of_the_code_that_trains() -> None:
    modules = imported("actsweep.report.page", set())
    assert {
        "actsweep.report.page.layers",
        "actsweep.statistics.setting",
        "actsweep.statistics.inference",
        "actsweep.report.dataset",
    } <= modules
    assert [name for name in modules if re.match(r"actsweep\.(train|training|network|diagnostics)\b", name)] == []


def test_several_measurements_in_an_epoch_are_told_apart_by_their_step() -> None:
    rows = [(1, 10, "layer_01", "a", 1.0), (1, 20, "layer_01", "a", 2.0), (1, 20, "layer_01", "b", 3.0)]
    table = pd.DataFrame(rows, columns=["epoch", "step", "layer", "quantity", "value"])
    found = measured(table.astype({"layer": "category", "quantity": "category"}))
    assert (found["a"].by_step, found["a"].times.tolist(), found["a"].values.tolist()) == (
        True,
        [10, 20],
        [[1.0], [2.0]],
    )
    assert (found["b"].by_step, found["b"].times.tolist()) == (False, [1])


def add_theory(run: Path, factor: float, deviates: Sequence[str] = ()) -> None:
    """Predictions of 0.5 per layer for both factors, measurements `factor` times that, and where they part."""
    table = pd.read_csv(run / "layers.csv")
    rows: list[tuple[int, int, str, str, float]] = []
    for layer in sorted(table["layer"].unique()):
        names = ("pre_activation_rms",) if layer == max(table["layer"]) else ("pre_activation_rms", "delta_ratio")
        rows += [(0, 0, layer, f"{name}_theory", 0.5) for name in names]
        rows += [(0, 0, layer, name, 0.5 * factor) for name in names]
        rows.append((0, 0, layer, "theory_deviates", float(layer in deviates)))
    pd.concat([table, pd.DataFrame(rows, columns=table.columns)]).to_csv(run / "layers.csv", index=False)


def test_theory_stands_beside_measurement_and_where_they_part_is_said(tmp_path: Path, open_page: Open) -> None:
    for seed in (0, 1):
        add_theory(add_run(tmp_path, "tanh", seed), 1.02)
        add_theory(add_run(tmp_path, "relu", seed), 1.5, ["layer_02"] if seed else [])
    opened = open_page(written(tmp_path))
    assert opened.problems == []
    said = opened.text("#theory .verdict")
    assert said.startswith(
        "Theory and measurement deviate by more than 4 standard deviations of networks this wide in 1 of "
    )
    assert "in 1 of 16 layers of all untrained networks: relu (layer 2; 2 runs)" in said
    assert "half are within 26 % of theory, all within 50 %" in said
    lines = opened.view.locator("#theory tbody tr").all_inner_texts()
    assert [line.split() for line in lines] == [["tanh", "2", *"2222", "0/8"], ["relu", "2", *["50"] * 4, "1/8"]]
    traces = opened.traces("theory")
    assert [trace["mode"] for trace in traces] == ["lines", "markers"] * 4
    assert traces[0]["y"] == [0.5] * 4
    assert traces[1]["y"] == [0.51] * 4
    assert traces[1]["text"][0] == "tanh, layer 1: measured 0.51 (0.51 to 0.51, n = 2), theory 0.5, error 2 %"


def test_agreement_with_theory_is_said_too_and_without_predictions_nothing(tmp_path: Path, wide: Opened) -> None:
    add_theory(add_run(tmp_path, "tanh", 0), 1.02)
    runs = read_runs([tmp_path])
    html = page.write(runs, tmp_path, {}).read_text()
    assert "No layer of the 1 untrained network deviates from mean-field theory by more than 4" in html
    assert wide.view.locator("#theory, [data-figure=theory]").count() == 0
