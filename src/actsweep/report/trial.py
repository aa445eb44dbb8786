"""Do remedies help? `report FOLDER --try` trains one run of each setting that has a finding, with the first remedy.

Flow: findings → **trial** → training, as the commands that a person would type. Trials lie in FOLDER/.tried, where no
report looks for runs; repeated, finished ones are read, interrupted ones resume.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from actsweep.errors import UserError
from actsweep.places import command
from actsweep.results import ownership, run_folder
from actsweep.results.reading import Run
from actsweep.statistics.findings import Finding, find
from actsweep.statistics.inference import trained
from actsweep.statistics.setting import Setting, settings_of

TRIED = ".tried"
TRAIN = (sys.executable, "-c", "from actsweep.main import run; run('train')")
FEWEST_EPOCHS = 10
SIZES = {"depth", "width", "hidden_sizes", "model"}  # say the same, so that one stands for all
NEEDS_MORE = {"too_few_seeds"}  # than one run to be seen
TO_THE_END = {"not_finished", "stopped_on_plateau"}


@dataclass(frozen=True)
class Trial:
    """A run of a setting that is done again with a finding's remedy: the words of its command."""

    finding: Finding
    run: Run
    words: tuple[str, ...]
    place: Path

    def outcome(self) -> str:
        """Whether the symptom went, in a line."""
        result = run_folder.read_result(self.place)
        if result is None or self.failed:
            return f"{self._named} could not be tried: {(result or {}).get('error') or command('train', *self.words)}"
        tried = result | {"folder": str(self.place)}
        went = "is still there" if self._shows(tried) else "is gone"
        return f"{self._named}, seed {self.run['seed']}: {went}; {_measure(self.run)} → {_measure(tried)}"

    @property
    def failed(self) -> bool:
        """Whether its run has no result, or none but that it failed."""
        return (run_folder.read_result(self.place) or {"status": "failed"})["status"] == "failed"

    @property
    def _named(self) -> str:
        return f"{self.finding.where.setting}: {self.finding.title}: with {' '.join(self.finding.remedy)}"

    def _shows(self, run: Run) -> bool:
        if self.finding.kind == "unstable":  # of one run: whether it is among those that don't learn
            return run.get("test_accuracy") is None or not trained(run["test_accuracy"], run["classes"])
        return shows(run, self.finding.kind)


def shows(run: Run, kind: str) -> bool:
    """Whether a run alone has the symptom."""
    return any(each.kind == kind for each in find(settings_of([run])))


def _measure(run: Run) -> str:
    if run["status"] == "diverged":
        return "diverged"
    accuracy = run.get("test_accuracy")
    return f"test loss {run['test_loss']:.4g}" if accuracy is None else f"test accuracy {accuracy:.1%}"


def trials(settings: Sequence[Setting], findings: Sequence[Finding], folder: Path) -> list[Trial]:
    """One for each cause that has a remedy."""
    by_label = {setting.label: setting for setting in settings}
    causes = [each for each in findings if each.remedy and not each.follows and each.kind not in NEEDS_MORE]
    return [_trial(each, by_label[each.where.setting], folder) for each in causes]


def _trial(finding: Finding, setting: Setting, folder: Path) -> Trial:
    runs = (*setting.completed, *setting.diverged)
    run = next((each for each in runs if shows(each, finding.kind)), runs[0])
    place = folder / TRIED / re.sub(r"[^\w.-]", "_", f"{run['name']}-{'-'.join(finding.remedy)}")
    configured = run["config"]["trainer"]["max_epochs"]
    brief = configured if finding.kind in TO_THE_END else min(configured, max(FEWEST_EPOCHS, 2 * run["epochs"]))
    limit = [f"trainer.max_epochs={brief}"] if not any("max_epochs" in each for each in finding.remedy) else []
    words = [*changed(overrides_of(run), [*finding.remedy, *limit]), "hydra.mode=RUN", f"hydra.run.dir={quoted(place)}"]
    return Trial(finding, run, tuple(words), place)


def quoted(path: Path) -> str:
    """As Hydra reads it, whatever the path has in it."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), str(path)) + "'"


def overrides_of(run: Run) -> list[str]:
    """What the run was asked for, as Hydra noted it. Raises UserError where it didn't."""
    path = Path(run["folder"], ".hydra", "overrides.yaml")
    try:
        return [str(each) for each in yaml.safe_load(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:  # it may be empty, or no text
        raise UserError(f"{path}: can't be read, so the run can't be repeated with a remedy: {error}") from error


def changed(overrides: Sequence[str], remedy: Sequence[str]) -> list[str]:
    """Overrides with those of a remedy in place of what they contradict: of a choice, its arguments too.

    >>> changed(["act=relu", "init=gain", "init.gain=4", "seed=1"], ["init=critical"])
    ['act=relu', 'seed=1', 'init=critical']
    >>> changed(["hidden_sizes=[8,8]", "optim.lr=1"], ["optim.lr=0.1"])
    ['hidden_sizes=[8,8]', 'optim.lr=0.1']
    """
    keys = [each.partition("=")[0] for each in remedy]
    keys += SIZES if SIZES & set(keys) else []
    choices = [key for key in keys if "." not in key]
    key_of = lambda each: each.lstrip("+~").partition("=")[0]  # noqa: E731
    kept = (each for each in overrides if key_of(each) not in keys and key_of(each).partition(".")[0] not in choices)
    return [*kept, *remedy]


def _train(words: Sequence[str]) -> None:
    """In a process of its own, which doesn't outlive this one."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    process = subprocess.Popen([*TRAIN, *words])
    try:
        process.wait()
    finally:
        process.terminate()  # where this one was ended meanwhile
        process.wait()
        signal.signal(signal.SIGTERM, before)


def run(trials: Sequence[Trial], folder: Path, train: Callable[[Sequence[str]], None] = _train) -> list[str]:
    """Train them one after another; what came of each."""
    ownership.record(folder, f"{TRIED}/")
    said = []
    for each in trials:
        train(each.words)
        said.append(each.outcome())
        print(said[-1], flush=True)
    return said
