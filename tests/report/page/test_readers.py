"""The page as people meet it: who comes back, prints, has no mouse, no colours or no JavaScript."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.report.page.conftest import ACCURACIES, Open, Opened, add_run, written

CONTRASTS = """all => all.map(text => {
  const linear = v => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const parts = (e, what) => getComputedStyle(e)[what].match(/[\\d.]+/g).map(Number);
  const page = parts(document.body, "backgroundColor"), [r, g, b, a = 1] = parts(text.parentElement, "backgroundColor");
  const under = [r, g, b].map((v, i) => a * v + (1 - a) * page[i]);
  const [low, high] = [light(parts(text, "color")), light(under)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
})"""


def title(opened: Opened) -> str:
    return json.loads(opened.drawn("differences"))[0][1]["xaxis"]["title"]["text"]


def test_one_who_comes_back_finds_what_the_controls_say(sweep: Path, open_page: Open) -> None:
    opened = open_page(sweep / "report.html")
    view = opened.view
    opened.redrawn(lambda: view.locator("[data-figure=accuracy] .chip", has_text="tanh").first.click())
    view.locator("[name=reference]").select_option(label="sigmoid, depth 2")
    view.locator("[data-figure=map] [name=quantity]").select_option(label="dead_fraction")
    view.locator("[name=time]").fill("1")
    said = [opened.text(f"[data-figure={name}] .note") for name in ("map", "histogram")]
    assert title(opened) == "better than sigmoid, depth 2 by (percentage points)"
    view.locator("#provenance table a").first.click()
    view.wait_for_url(lambda url: "report.html" not in url)
    view.go_back()
    view.wait_for_selector("html[data-drawn]", state="attached")
    assert view.locator("[name=reference]").evaluate("e => e.selectedOptions[0].text") == "sigmoid, depth 2"
    assert title(opened) == "better than sigmoid, depth 2 by (percentage points)"
    assert [opened.text(f"[data-figure={name}] .note") for name in ("map", "histogram")] == said
    assert opened.text("[data-figure=accuracy] summary") == "Settings shown: 5 of 6"
    view.context.close()


def test_where_a_page_may_not_copy_what_is_to_be_copied_is_selected(sweep: Path, open_page: Open) -> None:
    view = open_page(sweep / "report.html").view
    view.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    button = view.locator("[data-copy]").first
    button.click()
    button.get_by_text("Selected").wait_for()
    assert view.evaluate("getSelection().toString()") == button.get_attribute("data-copy")
    view.context.close()


def test_paper_says_what_was_chosen(sweep: Path, open_page: Open) -> None:
    opened = open_page(sweep / "report.html")
    opened.view.emulate_media(media="print")
    opened.view.wait_for_selector("details:not([open])", state="detached")
    assert opened.text("[data-figure=differences] .controls label").startswith("Compared with")
    assert opened.view.locator("[name=reference], [data-figure=turnover] [name=layer]").evaluate_all(
        "all => all.map(e => getComputedStyle(e).borderStyle)"
    ) == ["none", "none"]
    opened.view.context.close()


def test_lines_differ_by_their_marks_too_as_the_legends_say(wide: Opened) -> None:
    marks = "all => [...new Set(all.map(e => e.dataset.symbol + e.querySelector('path').getAttribute('d')))].length"
    assert wide.view.locator("[data-figure=profile] .legend svg").evaluate_all(marks) == len(ACCURACIES)
    assert wide.view.locator("[data-figure=learning] .chip svg").evaluate_all(marks) == len(ACCURACIES)
    thick = [trace for trace in wide.traces("learning") if trace.get("line", {}).get("width") == 2.2]
    assert len({trace["marker"]["symbol"] for trace in thick}) == len(ACCURACIES)
    assert {trace["mode"] for trace in thick} == {"lines+markers"}


@pytest.mark.parametrize("width", [1280, 1920])  # light and dark
def test_shares_in_the_confusion_matrix_can_be_read(views: dict[int, Opened], width: int) -> None:
    contrasts = views[width].view.locator(".confusion .below").evaluate_all(CONTRASTS)
    assert len(contrasts) > 3
    assert min(contrasts) >= 4.5


def test_pictures_have_a_name_and_hide_nothing_that_has_the_focus(wide: Opened) -> None:
    pictures = wide.view.locator("main [role=img]")
    assert pictures.count() > 2
    assert all(pictures.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))"))
    assert wide.view.locator("[role=img] :is(a, button, [tabindex])").count() == 0
    wide.view.locator("[data-figure=map] .modebar-btn").first.focus()
    assert wide.view.locator("[data-figure=map] .modebar").first.evaluate("e => getComputedStyle(e).opacity") == "1"


def test_without_javascript_the_page_says_why_its_figures_are_empty(sweep: Path, browser: Browser) -> None:
    view = browser.new_context(java_script_enabled=False).new_page()
    view.goto((sweep / "report.html").as_uri())
    said = view.locator("noscript p")  # no text to Playwright's get_by_text
    assert said.inner_text().startswith("JavaScript is off here: figures stay empty")
    assert (said.bounding_box() or {})["height"] > 20
    view.context.close()


def test_long_names_in_lists_keep_their_ends(tmp_path: Path, open_page: Open) -> None:
    for number in range(3):
        for seed in (0, 1):
            add_run(tmp_path, f"{'a_long_package.' * 8}Act{number}", seed)
    names = open_page(written(tmp_path)).view.locator("[name=reference] option").all_text_contents()
    assert [len(name) <= 90 for name in names] == [True] * 3
    assert {name[-4:] for name in names} == {"Act0", "Act1", "Act2"}
