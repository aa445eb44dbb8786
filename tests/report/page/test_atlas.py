"""The atlas' page in a real browser, with 401 functions: found by name and property, sorted, and as the table says."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from actsweep.places import REPOSITORY
from actsweep.report import atlas
from actsweep.report.atlas.answers import correlation, cut, fashion_of, not_centred, theory_of
from actsweep.report.atlas.standing import Standings, accuracies, comparable, standings_of
from actsweep.statistics import inference, ranking
from bench import atlas_plot
from tests.atlas import made_up_atlas
from tests.report.page.conftest import Open, Opened

ROWS = "#functions tbody tr"
WIDTHS = (390, 1280)
OWN = "torch_activation.Made009"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return made_up_atlas.atlas(400)


@pytest.fixture(scope="module")
def written(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("an atlas")
    return atlas.write(table, made_up_atlas.excluded(), folder, [OWN], made_up_atlas.fashion(table))


@pytest.fixture(scope="module")
def views(written: Path, open_page: Open) -> dict[int, Opened]:
    return {width: open_page(written, width, color_scheme="dark" if width == 390 else "light") for width in WIDTHS}


@pytest.fixture
def wide(views: dict[int, Opened]) -> Opened:
    return views[1280]


def found(opened: Opened) -> list[str]:
    return opened.view.eval_on_selector_all(ROWS, "rows => rows.filter(r => !r.hidden).map(r => r.dataset.act)")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_without_errors_requests_or_sideways_scrolling(
    width: int, written: Path, views: dict[int, Opened]
) -> None:
    opened = views[width]
    assert opened.problems == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [written.as_uri()]
    assert opened.width() == (width, width)
    assert written.stat().st_size < 5_000_000
    assert opened.view.locator(f"{ROWS} .curve polyline").count() == 401
    dark = opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (width == 390)
    opened.view.locator("#theme").click()
    assert opened.text("#theme") == "Theme: light"
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_names_and_properties_find_the_functions_that_have_them(table: pd.DataFrame, wide: Opened) -> None:
    first = table[table["init"] == "default"].set_index("act")
    search = wide.view.get_by_label("Find functions by name")
    search.fill("RELU actsweep")
    assert found(wide) == []
    search.fill("reLU")
    assert {*found(wide)} == {"relu", "leakyrelu", "torch.nn.ReLU"}
    assert wide.text("#found") == "3 of 401 functions"
    search.fill("")
    for label, value, expected in (
        ("Parity", "odd", first["parity"] == "odd"),
        ("Monotone", "increasing", first["monotone"] == "increasing"),
        ("Learnt", "learnt", first["learnt"] > 0),
        ("Bounded", "yes", np.isfinite(first["low"]) & np.isfinite(first["high"])),
        ("Smooth", "kinks", first["kinks"].notna()),
        ("Equal to another", "yes", first["same_as"].notna()),
        ("Edge of chaos", "no", first.index == "torch_activation.Made007"),
    ):
        select = wide.view.locator("#functions").get_by_label(label)
        select.select_option(value)
        assert {*found(wide)} == {*first.index[expected]}, label
        select.select_option("")
    wide.view.get_by_label("Parity").select_option("odd")
    wide.view.get_by_label("Monotone").select_option("increasing")
    both = {*first.index[(first["parity"] == "odd") & (first["monotone"] == "increasing")]}
    assert {*found(wide)} == both
    faint = wide.view.eval_on_selector_all("circle.faint", "dots => dots.map(dot => dot.dataset.act)")
    assert {*faint} == {*first.index} - both - {"torch.nn.ReLU"}
    wide.view.get_by_role("button", name="Show all").click()
    assert wide.text("#found") == "401 of 401 functions"


def test_headings_sort_with_the_keyboard_and_names_do_not(wide: Opened) -> None:
    heading = wide.view.locator("#functions thead th", has_text=re.compile("^rank"))
    place = heading.evaluate("th => th.cellIndex")
    ranks = f"rows => rows.map(row => Number(row.cells[{place}].dataset.sort))"
    heading.locator("button").press("Enter")
    rising = wide.view.eval_on_selector_all(ROWS, ranks)
    assert rising == sorted(rising)
    heading.locator("button").press("Enter")
    falling = wide.view.eval_on_selector_all(ROWS, ranks)
    assert falling == rising[::-1]
    wide.view.locator(f"{ROWS}:not([hidden]) th").first.click()
    assert wide.view.eval_on_selector_all(ROWS, ranks) == falling


def test_a_point_leads_to_its_row(wide: Opened) -> None:
    wide.view.locator(f"circle[data-act='{OWN}']").first.dispatch_event("click")
    assert found(wide) == [OWN]
    wide.view.get_by_role("button", name="Show all").click()
    assert wide.problems == []


def test_one_who_comes_back_finds_the_functions_that_the_fields_say(wide: Opened) -> None:
    wide.view.get_by_label("Find functions by name").fill("Made00")
    wide.view.goto("about:blank")
    wide.view.go_back()
    wide.view.wait_for_selector("html[data-drawn]", state="attached")
    assert wide.view.get_by_label("Find functions by name").input_value() == "Made00"
    assert len(found(wide)) == 4
    wide.view.get_by_role("button", name="Show all").click()


def test_on_paper_no_column_is_cut(written: Path, open_page: Open) -> None:
    opened = open_page(written, 1016)  # A4 between margins, as wide as it is high upright
    opened.view.emulate_media(media="print")
    rights = opened.view.eval_on_selector_all("table", "all => all.map(e => e.getBoundingClientRect().right)")
    assert max(rights) <= 1016
    assert "size: landscape" in written.read_text()
    opened.view.context.close()


def test_a_row_says_what_the_table_says(table: pd.DataFrame, wide: Opened) -> None:
    line = table[(table["act"] == "tanh") & (table["init"] == "default")].iloc[0]
    relu = table[(table["act"] == "relu") & (table["init"] == "default")].iloc[0]
    tanh, other = accuracies(pd.Series([line["accuracies"], relu["accuracies"]]))
    mean, pair = inference.mean([*tanh.values()]), inference.compare(tanh, other)
    cells = wide.view.locator(f"{ROWS}[data-act=tanh] td").all_inner_texts()
    assert cells[1].split("\n") == [f"{mean.value:.2f}", f"[{mean.low:.2f}, {mean.high:.2f}]"]
    assert float(cells[2].split("\n")[0].replace("−", "-")) == pytest.approx(pair.difference.value, abs=0.005)
    assert cells[9].startswith(f"{line['depth_scale']:.3g}")
    assert wide.view.locator(f"{ROWS}.own").get_attribute("data-act") == OWN


def test_the_exponents_of_a_logarithmic_axis_are_small(wide: Opened) -> None:
    sizes = wide.view.eval_on_selector_all(".scatter tspan", "all => all.map(each => getComputedStyle(each).fontSize)")
    assert {*sizes} == {"9px"}


def test_ones_own_function_has_its_place_also_where_it_equals_another(table: pd.DataFrame, tmp_path: Path) -> None:
    few = table[table["act"].isin(["tanh", "relu", "torch.nn.ReLU"])]
    html = atlas.write(few, made_up_atlas.excluded(), tmp_path, ["torch.nn.ReLU"]).read_text()
    assert re.search(
        r"torch\.nn\.ReLU stands 2 \[.+\] of 2 at torch’s initialisation, as relu, which it equals: 9", html
    )


def test_what_can_not_be_run_is_named_with_its_reason(wide: Opened) -> None:
    said = wide.text("#excluded")
    assert "1 random, 1 changes the shape" in said
    assert "turns 64 numbers into <32>" in said
    assert wide.view.locator("#excluded tbody tr").count() == 2
    edgeless = wide.view.locator("[aria-label='Functions without an edge of chaos'] tbody tr").all_text_contents()
    assert [" ".join(row.split()) for row in edgeless] == ["Made007torch_activation no gradient passes"]


def test_the_summary_counts_what_differs_from_relu_and_where_ones_own_stands(table: pd.DataFrame, wide: Opened) -> None:
    standings = Standings.of(table, "default")
    groups = dict(standings.values)
    compared = ranking.against(groups.pop("relu"), groups)
    rates = dict(zip(compared, ranking.discovery_rates([pair.p_value for pair in compared.values()]), strict=True))
    found_ones = [act for act in rates if rates[act] <= 0.05 and act != "torch.nn.ReLU"]
    better = sum(compared[act].difference.value > 0 for act in found_ones)
    said = wide.text("#summary")
    assert f"{better} are better, {len(found_ones) - better} worse, {399 - len(found_ones)} can’t be told apart" in said
    assert "Equal to another function, under another name: 1; measured, 0 of them differ from it." in said
    rank = standings.ranks[OWN]
    assert f"{OWN} stands {rank.value:.0f} [{rank.low:.0f}, {rank.high:.0f}] of 400" in said


def test_relu_under_another_name_has_its_rank_and_does_not_differ(table: pd.DataFrame) -> None:
    standings = Standings.of(table, "critical")
    assert standings.compared["torch.nn.ReLU"].p_value == 1
    assert "torch.nn.ReLU" not in standings.ranks
    assert standings.verdict("torch.nn.ReLU") == "can’t be told apart"
    assert "torch_activation.Made007" not in standings.values  # no edge


def test_accuracies_that_were_rounded_tie_where_counts_of_images_do() -> None:
    first, other = accuracies(pd.Series(["0.911111 0.905556", "0.908333 0.902778"]))
    differences = [first[seed] - other[seed] for seed in first]
    assert differences == pytest.approx([100 / 360] * 2, abs=1e-12)


def test_theory_is_held_against_who_trained_and_who_parts_is_named(table: pd.DataFrame) -> None:
    rows = table[(table["init"] == "default") & table["same_as"].isna()]
    assert correlation(table).value == ranking.spearman([*rows["depth_scale"]], [*rows["trained"]]).value
    changed = table.copy()
    changed.loc[changed["act"] == "tanh", ["trained", "diverged", "slope_high"]] = [0.0, "0 1", np.inf]
    said = theory_of(changed)
    assert said is not None
    assert [row["act"] for row in said["rows"]] == ["tanh"]
    assert said["rows"][0]["reasons"] == ["its slope is unbounded", "seeds diverged"]
    assert "is true of 399 of 400; 1 part" in said["sentences"][1]
    assert (cut([1.0, 2.0, 3.0], [False, True, True]), cut([1.0], [True])) == (2.0, None)


def test_the_readme_says_what_the_committed_table_says() -> None:
    said = atlas_plot.sentences(pd.read_csv(REPOSITORY / "docs/atlas.csv"))
    assert said in " ".join((REPOSITORY / "README.md").read_text().split())


def test_docs_say_what_the_committed_table_of_fashion_mnist_says() -> None:
    digits = {found.init: found for found in standings_of(comparable(pd.read_csv(REPOSITORY / "docs/atlas.csv")))}
    said = fashion_of(pd.read_csv(REPOSITORY / "docs/atlas_fashion.csv"), digits)["sentences"]
    assert " ".join(said) in " ".join((REPOSITORY / "docs/atlas.md").read_text().split())


def test_what_is_said_of_the_bests_interval_was_simulated() -> None:
    simulated = json.loads((REPOSITORY / "bench/results/ranking.json").read_text())["ranks_and_best"]
    share, low, high = (100 * each for each in simulated["interval_on_fresh_seeds_holds_it"])
    said = f"{share:.0f} % [{low:.0f}, {high:.0f}]"
    package = REPOSITORY / "src/actsweep"
    for path in (
        package / "report/atlas/atlas.html.j2",
        package / "statistics/ranking.py",
        REPOSITORY / "bench/README.md",
    ):
        assert said in path.read_text()


def test_what_is_not_centred_is_found_from_the_curve(table: pd.DataFrame) -> None:
    rows = table[table["init"] == "default"].set_index("act")
    assert [bool(not_centred(rows.loc[act])) for act in ("sigmoid", "tanh", "relu", "swish")] == [True, *[False] * 3]


def test_an_atlas_of_few_functions_without_relu_or_edges_has_a_page(table: pd.DataFrame, tmp_path: Path) -> None:
    """Nor do a study that is half done, or a single seed, keep it from being written."""
    few = table[(table["act"].isin(["tanh", "elu"])) & (table["init"] == "default")]
    html = atlas.write(few, made_up_atlas.excluded()[:0], tmp_path).read_text()
    assert "2 different functions at torch’s initialisation." in html
    assert "Nothing: all functions ran." in html
    assert 'id="fashion"' not in html
    text = few.astype(object).where(few.notna(), "").astype(str)  # as the study hands it on
    assert atlas.write(text, made_up_atlas.excluded()[:0], tmp_path).read_text() == html
    half_done = table[table["act"].isin(["tanh", "elu"]) & ((table["init"] == "critical") | (table["act"] == "elu"))]
    html = atlas.write(half_done, made_up_atlas.excluded(), tmp_path).read_text()
    assert 'data-act="tanh"' in html
    assert "1 different function at torch’s initialisation." in html
    single = table.assign(accuracies=table["accuracies"].str.split().str[0])[table["act"].isin(["relu", "tanh"])]
    html = atlas.write(single, made_up_atlas.excluded(), tmp_path).read_text()
    assert "2 different functions at the edge of chaos." in html


def test_functions_may_have_names_that_stand_for_nothing_or_for_numbers(table: pd.DataFrame, tmp_path: Path) -> None:
    two = table[table["act"].isin(["tanh", "elu"]) & (table["init"] == "default")].assign(act=["None", "1e5"])
    html = atlas.write(two, made_up_atlas.excluded()[:0], tmp_path).read_text()
    assert set(re.findall(r'<tr data-act="(.*?)"', html)) == {"None", "1e5"}


def test_whether_those_that_led_on_digits_lead_on_fashion_mnist_is_said() -> None:
    """Two are better than ReLU, one is worse, one is ReLU with other noise; on digits the order was the other way."""
    rng = np.random.default_rng(0)
    means = {"good": 0.9, "fine": 0.89, "relu": 0.88, "same": 0.88, "tanh": 0.87, "poor": 0.86}
    values = {act: mean + rng.normal(scale=1e-3, size=10) for act, mean in means.items()}
    table = pd.DataFrame({"act": [*values], "accuracies": list(map(made_up_atlas.joined, values.values()))})
    digits = Standings("default", {act: {0: 100.0 - 100 * mean} for act, mean in means.items()}, {})
    found = fashion_of(table.iloc[::-1], {"default": digits})
    beside_relu, best, order = found["sentences"]
    assert beside_relu.startswith("4 functions that led on digits. Beside ReLU’s 88.")
    assert "2 are better, 1 worse, 1 can’t be told apart" in beside_relu
    assert best.startswith("The best of them here is good, 90.")
    assert "; of the six, relu, 88." in best
    assert re.search(r"FashionMNIST: −(0\.9\d|1\.00) \[.*n = 6 functions\.$", order)
    cells = {row["act"]: [cell["text"] for cell in row["cells"]] for row in found["rows"]}
    assert [*cells] == sorted(values, key=lambda act: -values[act].mean())
    assert cells["relu"][1] == "–"
    assert cells["relu"][2] == cells["same"][2]
    assert len({letters for _, _, letters in cells.values()}) == 5


def test_one_that_did_not_train_does_not_stretch_the_axis_of_the_others() -> None:
    values = {act: [mean - 0.001, mean + 0.001] for act, mean in {"relu": 0.88, "tanh": 0.87, "elu": 0.86}.items()}
    rows = {}
    for lost in ({}, {"lost": [0.1, 0.1]}):
        known = values | lost
        table = pd.DataFrame({"act": [*known], "accuracies": list(map(made_up_atlas.joined, known.values()))})
        rows[len(known)] = {row["act"]: row["picture"] for row in fashion_of(table, {})["rows"]}
    assert rows[4].pop("lost") == ""
    assert rows[4] == rows[3]
    ends = [float(end) for path in rows[3].values() for end in re.findall(r"M([\d.]+) 10H([\d.]+)", path)[0]]
    assert min(ends) == 4  # the circles' radius
