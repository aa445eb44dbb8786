"""The page says what the run folders say, in a real browser, and nothing in them can make it do anything else."""

from pathlib import Path

import numpy as np
import pytest

from actsweep.results.reading import read_runs
from actsweep.statistics import inference
from tests.report.page.conftest import ACCURACIES, EPOCHS, QUANTITIES, WIDTHS, Open, Opened


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


def test_figures_that_are_drawn_again_as_they_were_keep_their_axes(sweep: Path, open_page: Open) -> None:
    opened = open_page(sweep / "report.html")
    axes = """all => all.map(each =>
        Object.entries(each.layout).filter(([key]) => key.includes("axis")).map(([, axis]) => axis.range))"""
    before = opened.view.eval_on_selector_all(".js-plotly-plot", axes)
    opened.redrawn(opened.view.locator("#theme").click)  # from the system's light to light
    assert opened.view.eval_on_selector_all(".js-plotly-plot", axes) == before
    opened.view.context.close()


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
    assert opened.view.locator("main button:visible:not(th button), main input:visible, .side:visible").count() == 0
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


def test_findings_stand_behind_the_verdict_each_with_its_picture_and_an_override_to_copy(wide: Opened) -> None:
    order = ".verdict, #findings, .finding, #summary table"
    places = wide.view.eval_on_selector_all(order, "all => all.map(e => e.className || e.id || e.localName)")
    first = wide.view.locator(".finding").first
    assert places[:3] == ["verdict", "findings", "finding severity-3"]
    assert places[-1] == "sortable"
    assert first.locator("h4").inner_text() == "Vanishing gradient does not learn"
    assert first.locator("code").inner_text() == "init=critical"
    drawn = first.locator("figure polyline").evaluate("line => line.getBoundingClientRect().width")
    assert 150 < drawn < 300
    assert "grad_norm (nats per unit weight) by layer, untrained" in first.locator("figcaption").inner_text()
    assert wide.view.locator(".finding figure svg").count() == wide.view.locator(".finding").count() == 3
    wide.view.evaluate("navigator.clipboard.writeText = text => ((window.copied = text), Promise.resolve())")
    first.get_by_role("button", name="Copy init=critical").click()
    first.get_by_text("Copied").wait_for()
    assert wide.view.evaluate("copied") == "init=critical"


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
