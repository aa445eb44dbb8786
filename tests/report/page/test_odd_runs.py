"""The page of runs that are damaged, missing, many or named to do harm: it says so, and draws the rest."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.report.page.conftest import Open, add_run, written

HOSTILE = (
    '<img src=x onerror="window.owned=1"></script><script>window.owned=2</script>\'&amp;%{x} 名前 \u2028 ' + "x" * 250
)


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


def test_numbers_beside_the_rows_of_a_figure_end_within_it(tmp_path: Path, open_page: Open) -> None:
    different_sweeps(tmp_path)
    for path in (tmp_path / "b").glob("*/result.json"):
        result = json.loads(path.read_text())
        result["test_loss"] += -0.2271183 - result["seed"] / 10**5  # losses need more digits than accuracies
        path.write_text(json.dumps(result))
    ends = """plots => plots.map(plot => plot.getBoundingClientRect().right -
        Math.max(...[...plot.querySelectorAll(".annotation-text")].map(each => each.getBoundingClientRect().right)))"""
    opened = open_page(written(tmp_path))
    assert min(opened.view.eval_on_selector_all("[data-figure=accuracy] .plot", ends)) > 0


def test_of_many_settings_the_best_are_shown_first(tmp_path: Path, open_page: Open) -> None:
    for number in range(14):
        add_run(tmp_path, f"act{number:02d}", 0, test_accuracy=0.5 + 0.01 * number)
    opened = open_page(written(tmp_path), 390)
    chosen = opened.view.locator("[data-figure=accuracy] .chip:has(:checked)").all_text_contents()
    assert chosen == [f"act{number:02d}" for number in range(2, 14)]
    assert opened.view.locator("[data-figure=differences] .main-svg").count() > 0
    assert opened.problems == []


def test_histograms_of_which_no_value_is_finite_are_not_said_to_be_0(tmp_path: Path, open_page: Open) -> None:
    path = add_run(tmp_path, "tanh", 0) / "histograms.csv"
    table = pd.read_csv(path)
    table.loc[table["layer"] == "layer_01", ["low", "high", "counts"]] = [0.0, 0.0, "0 0 0 0 0"]
    table.to_csv(path, index=False)
    drawn = open_page(written(tmp_path)).drawn("histogram").replace("<br>", " ")
    assert "layer 1: values are not finite" in drawn
    assert "all 0" not in drawn


def test_panels_of_long_names_say_first_what_tells_them_apart(tmp_path: Path, open_page: Open) -> None:
    for act, rate, depth in ((act, rate, depth) for act in ("tanh", "relu") for rate in (1, 2) for depth in (2, 3)):
        run = add_run(tmp_path / str(rate), act, 0, (8,) * depth)
        result = json.loads((run / "result.json").read_text())
        result["config"]["optim"]["a_long_name_of_an_optimisers_argument" * 3] = rate
        (run / "result.json").write_text(json.dumps(result))
    opened = open_page(written(tmp_path))
    assert '"text":"runs that trained (%):' in opened.drawn("depth")
    for when in ("untrained", "trained"):
        assert f'"text":"{when}: depth 2,' in opened.drawn("profile")


OUTSIDE = """plots => plots.flatMap(plot => [...plot.querySelectorAll("text")].filter(text => {
  const [inner, outer] = [text.getBoundingClientRect(), plot.getBoundingClientRect()];
  return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
}).map(text => text.textContent))"""
OVERLAPPING = """plots => plots.flatMap(plot => {
  const boxes = [...plot.querySelectorAll(".xtick text, .xtitle")].map(text => text.getBoundingClientRect());
  const across = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const along = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => across(a, b) > 2 && along(a, b) > 2));
}).length"""


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_are_cut_by_no_edge_and_keep_their_ends(tmp_path: Path, open_page: Open, width: int) -> None:
    for number in range(6):
        add_run(tmp_path, f"torch_activation.ALongNameOfAnActivation{number:02d}", 0)
    opened = open_page(written(tmp_path), width)
    assert opened.view.eval_on_selector_all(".plot", OUTSIDE) == []
    for figure in ("accuracy", "map", "functions"):
        texts = opened.view.locator(f"[data-figure={figure}] .plot").all_inner_texts()
        assert all(f"ation{number:02d}" in " ".join(texts) for number in range(6)), figure


def test_huge_losses_stand_side_by_side_on_a_narrow_page(tmp_path: Path, open_page: Open) -> None:
    for act, loss in (("tanh", 3e12), ("relu", 1e-7)):
        for seed in range(4):
            run = add_run(tmp_path, act, seed, test_accuracy=None, val_accuracy=None, test_loss=loss * (1 + seed))
            result = json.loads((run / "result.json").read_text())
            result["config"]["loss"] = "mse"
            (run / "result.json").write_text(json.dumps(result))
            (run / "predictions.csv").unlink()
    opened = open_page(written(tmp_path), 390)
    assert opened.view.eval_on_selector_all("[data-figure=differences] .plot", OVERLAPPING) == 0
