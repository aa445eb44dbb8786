"""README and docs can't rot: what they name exists, their commands compose, their examples run."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from actsweep.config.schema import Settings
from actsweep.places import REPOSITORY
from actsweep.results import run_folder
from actsweep.statistics.findings import KINDS
from tests.conftest import composed

DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [REPOSITORY / "README.md", REPOSITORY / "bench/README.md", REPOSITORY / "conf/hydra/launcher/README.md", *DOCS]
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\((?!https:)([^)\s]+)\)")
PATH = re.compile(r"(src|conf|sweeps|docs|bench|tests)/[\w./-]*")
COMMAND = re.compile(r"python -m src\.\w|actsweep |make |pip install ")
CHOICE = re.compile(r"\+?[a-z][\w./]*=\S")  # `seed=0 act=relu`, but not `act=`
PLACEHOLDER = re.compile(r"\b(N|NAME)\b|…")
KEYED, OTHERS = {"src.train", "src.theory"}, {"report", "evaluate", "fetch", "--version"}
OF_CHOICES = {
    "README",
    "findings",
    "keys",
    "measured",
    "repeating",
    "studies",
    "launchers",
}  # pages whose `a=b` are overrides


def spans(page: Path) -> list[str]:
    """What stands between single backticks, on one line."""
    return [" ".join(each.split()) for each in INLINE.findall(FENCED.sub("", page.read_text()))]


def commands(page: Path) -> list[list[str]]:
    """The words of every command, in blocks and in lines."""
    blocks = [body for language, body in FENCED.findall(page.read_text()) if not language]
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(COMMAND.match(line) or line.startswith(("python -m venv", "tensorboard", "pytest")) for line in lines)
    found = [line for line in [*lines, *spans(page)] if COMMAND.match(line)]
    return [shlex.split(line, comments=True) for line in found]


def overrides() -> Iterator[str]:
    """What follows the commands that take keys, and keys with values by themselves."""
    for page in PAGES:
        for first, *words in commands(page):
            called = words[1] if first == "python" else f"src.{words[0]}" if words[:1] == ["theory"] else "src.train"
            rest = words[2:] if first == "python" else words[called == "src.theory" :]
            if first in {"python", "actsweep"} and called in KEYED and rest and rest[0] not in OTHERS:
                yield shlex.join(word for word in rest if word != "-m" and not word.startswith("--"))
        if page.stem in OF_CHOICES and page.parent.name != "launcher":
            yield from (each for each in spans(page) if CHOICE.match(each) and not PLACEHOLDER.search(each))


def values(override: Override) -> list[str]:
    """One override for each value of an axis."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key, found = override.get_key_element(), override.value()
    each = [str(found.start)] if isinstance(found, IntervalSweep) else override.sweep_string_iterator()
    return [f"{key}={value}" for value in each]


def test_the_readme_is_read_in_a_minute() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_and_file_that_a_page_names_exists(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    for named in filter(PATH.fullmatch, spans(page)):
        assert PLACEHOLDER.search(named) or (REPOSITORY / named).exists(), named


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = set(LINK.findall((REPOSITORY / "README.md").read_text()))
    pages = [path.name for path in (REPOSITORY / "docs").iterdir() if path.suffix != ".png"]
    assert {f"docs/{name}" for name in pages} <= linked
    shown = {name for page in PAGES for name in re.findall(r"([\w-]+\.png)\)", page.read_text())}
    assert {path.name for path in (REPOSITORY / "docs").glob("*.png")} <= shown


@pytest.mark.parametrize("line", dict.fromkeys(overrides()))
def test_every_value_of_a_command_is_a_valid_setting(line: str, settings_for: Callable[..., Settings]) -> None:
    axes = [values(each) for each in OverridesParser.create().parse_overrides(shlex.split(line))]
    for place in range(max(map(len, axes))):
        choice = [axis[place % len(axis)] for axis in axes]
        if "FOLDER" in line:
            composed(tuple(choice))
        elif "my_parts" not in line and "act=bent" not in line:  # these are run below
            settings_for(*choice)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_other_command_names_what_there_is(page: Path) -> None:
    targets = re.findall(r"^([\w ]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    made = {name for line in targets for name in line.split()}
    for first, *words in commands(page):
        if first == "make":
            assert set(words) <= made
        if first == "python":
            path = words[1].replace(".", "/") + ".py"
            assert (REPOSITORY / path).is_file(), words
        if "--forget" in words:
            assert '"--forget"' in (REPOSITORY / "src/actsweep/report/writing.py").read_text()


def test_what_extending_adds_is_trained_measured_and_reported(
    command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = REPOSITORY / "docs/extending.md"
    for _, body in FENCED.findall(page.read_text()):
        first, _, rest = body.partition("\n")
        if first.startswith("# ") and first.endswith((".yaml", ".py")):
            path = tmp_path / first.removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((path.read_text() if path.exists() else "") + rest)
    monkeypatch.syspath_prepend(tmp_path)
    [typed] = [words for words in commands(page) if "--config-dir=mine" in words]
    given = [word.replace("=mine", f"={tmp_path / 'mine'}") for word in typed[1:]]
    try:
        assert command(*given, "trainer=cpu", f"hydra.run.dir={tmp_path / 'run'}") == 0
    finally:
        sys.modules.pop("my_parts", None)
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    mine, norms = (layers[layers["quantity"] == name]["value"].to_numpy() for name in ("largest_row", "grad_norm"))
    assert len(mine) == 4 * 3  # epochs 0 to 3; two hidden layers and the output layer
    assert (mine <= norms + 1e-9).all()
    asked = run_folder.read_run(tmp_path / "run")
    assert [asked["act"], asked["init"], asked["data"]] == ["bent", "small", "rings"]
    assert asked["config"]["names"]["optim"] == "sign"


def test_the_callbacks_page_watches_the_module_that_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, page = FENCED.findall((REPOSITORY / "docs/callbacks.md").read_text()), {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    for _, body in blocks:
        exec(compile(body, "docs/callbacks.md", "exec"), page)
    layers = pd.read_csv(tmp_path / "watched" / "layers.csv")
    assert set(layers["layer"]) == {"net.0", "net.3"}
    assert {"grad_norm", "dead_fraction"} <= set(layers["quantity"])
    assert (tmp_path / "watched" / "histograms.csv").exists()
    assert len(blocks) == 2
    assert {finding.kind for finding in page["diagnosis"].findings} <= set(KINDS)


def test_every_kind_of_finding_has_its_paragraph() -> None:
    text = (REPOSITORY / "docs/findings.md").read_text()
    headings = [line.removeprefix("### ").lower() for line in text.splitlines() if line.startswith("### ")]
    assert sorted(headings) == sorted(title.replace("’", "'") for title in KINDS.values())
