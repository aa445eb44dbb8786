"""Runs → settings: what distinguishes runs besides their seed, and the runs of each setting by seed.

Flow: results → **setting** → statistics → report. Table, results.csv, figures and page all have settings from here:
a seed counts once in a setting, however often it was run, and whoever drops a run can say so.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from actsweep.results import run_folder
from actsweep.results.reading import Run, data_of, natural, status, texts

Identity = tuple[str, int | str]  # the setting's label and the seed
ACTS = ("sigmoid", "tanh", "relu", "leakyrelu", "elu", "swish")
TELLS_NOTHING = {"seed", "report", "figures", "diagnostics", "trainer.enable_progress_bar"}  # of settings apart
COMPUTED = ("init.weight.", "init.bias.")  # arguments that may be computed from keys of these parts:
FROM_PARTS = {"names", "act", "init", "data"}
NOTHING = ("", "none")  # values that a label needs not say
ROOT = "data.source.root"
OUTCOME = ("status", "test_accuracy", "test_loss")  # of a run that is repeated elsewhere
TAKEN = {  # by what a label begins with, and by the other columns of results.csv and of `actsweep.load`'s tables
    *("act", "depth", "seed", "status", "epochs", "best_epoch", "val_accuracy", "val_loss", "test_accuracy"),
    *("test_loss", "trained", "grad_norm_first", "grad_norm_last", "dead_fraction", "saturated_fraction"),
    *("dead_outputs", "hidden_sizes", "width", "seconds", "device", "config_hash", "error", "folder", "repeats"),
    *("run", "epoch", "step", "layer", "quantity", "value", "definition", "unit"),
}
NAME = re.compile(r"(.+?-d\d+-s)(\d+)(.*)")  # of a run's folder, around its seed


def act_order(act: str) -> tuple[int, Any]:
    """Sorts the six main activations first, in the order of the tutorials; poly2 before poly10."""
    return (ACTS.index(act) if act in ACTS else len(ACTS), natural(act))


def _configs(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Flat configurations. Where known data lie is no part of them, unless it names what differs in content alone."""
    configs = [texts(run["config"]) for run in runs]
    contents: dict[str, dict[str, str]] = {}  # a source's other arguments → digest → where that content lay first
    known = [(config, digest, config.pop(ROOT, "")) for config in configs if (digest := config.pop("content", ""))]
    for config, digest, root in known:
        contents.setdefault(_source(config), {}).setdefault(digest, root)
    for config, digest, _ in known:
        places = contents[_source(config)]
        if len(places) > 1:
            alone = list(places.values()).count(places[digest]) == 1
            config[ROOT] = places[digest] if alone else f"{places[digest]} {digest[:8]}".strip()
    return configs


def _source(config: Mapping[str, str]) -> str:
    return str([item for item in config.items() if item[0].startswith("data.source.") and item[0] != ROOT])


def varied(configs: Sequence[dict[str, str]]) -> list[str]:
    """The keys that tell runs apart, other than the seed, and those that are the seed in all runs, as a split's may be.

    Without those that others imply: `names.act` and `names.PART` together may imply one of PART, and other keys what an
    initialisation computes from them.
    """
    keys = dict.fromkeys(key for config in configs for key in config if not is_in(TELLS_NOTHING, key))
    seeds = [config.get("seed") for config in configs]
    values = {key: [config.get(key) for config in configs] for key in keys}
    seedless = lambda key: key.partition(".")[0] not in FROM_PARTS  # noqa: E731 — no part of a network's chance
    differing = [key for key, found in values.items() if len(set(found)) > 1 and (found != seeds or seedless(key))]
    named = lambda key: ("names.act", f"names.{key.partition('.')[0]}")  # noqa: E731
    own = [key for key in differing if key == "names.act" or not _follows(key, named(key), configs)]
    given = [key for key in own if not key.startswith(COMPUTED)]
    for key in (key for key in own if key.startswith(COMPUTED)):
        if not _follows(key, [each for each in given if each.partition(".")[0] in FROM_PARTS], configs):
            given.append(key)
    return [key for key in own if key in given]


def is_in(parts: Collection[str], key: str) -> bool:
    """Whether a dotted key, or the section that it is of, is one of `parts`.

    >>> is_in({"names", "optim.lr"}, "names.act"), is_in({"names", "optim.lr"}, "optim.l2")
    (True, False)
    """
    return key in parts or key.partition(".")[0] in parts


def _follows(key: str, others: Sequence[str], configs: Sequence[dict[str, str]]) -> bool:
    """Whether a key's value is a matter of the others' alone, so that naming them names it."""
    seen: dict[tuple[str | None, ...], str | None] = {}
    pairs = ((tuple(map(config.get, others)), config.get(key)) for config in configs)
    return all(seen.setdefault(names, value) == value for names, value in pairs)


def labels(runs: Sequence[Run]) -> list[dict[str, str]]:
    """What distinguishes each run from the others, seed apart, under short names; always its activation.

    A name is the whole key where the short one would be that of another key, or of a column that tables have anyway.
    Of networks of several depths, each as wide throughout, it is their width that distinguishes them besides.
    """
    shapes = {(run["depth"], tuple(run["hidden_sizes"])) for run in runs}
    depths = {depth for depth, _ in shapes}
    of_width = len(shapes) > len(depths) > 1 and all(len(set(sizes)) < 2 for _, sizes in shapes)
    unsaid = {"names.act", "hidden_sizes"} if len(shapes) == len(depths) or of_width else {"names.act"}
    configs = _configs(runs)
    keys = [key for key in varied(configs) if key not in unsaid]
    short = [key.removeprefix("names.").rpartition(".")[2] for key in keys]
    names = [key if short.count(name) > 1 or name in TAKEN else name for name, key in zip(short, keys, strict=True)]
    absent = ["unset" if any(config.get(key, "").lower() == "none" for config in configs) else "" for key in keys]
    return [
        {"act": run["act"]}
        | ({"depth": str(run["depth"])} if len(depths) > 1 else {})
        | ({"width": str(max(run["hidden_sizes"], default=""))} if of_width else {})
        | {name: config.get(key, unset) for name, key, unset in zip(names, keys, absent, strict=True)}
        for run, config in zip(runs, configs, strict=True)
    ]


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed only: each seed once, in order. `values`: what distinguishes them from others."""

    values: Mapping[str, str]
    completed: tuple[Run, ...] = ()
    diverged: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    repeated: tuple[Run, ...] = ()  # of a seed that is there already: they enter nothing
    missing: tuple[Path, ...] = ()  # folders of runs that are expected and left no result

    @property
    def act(self) -> str:
        return self.values["act"]

    def besides(self, *keys: str) -> str:
        """What else than the activation and these keys distinguishes it, in words."""
        values = [(key, value) for key, value in self.values.items() if key not in {"act", *keys}]
        return ", ".join(f"{key} {value}" for key, value in values if value.lower() not in NOTHING)

    def at_init(self, *keys: str) -> str:
        """Its initialisation, and what else distinguishes it besides the activation and these keys, in words."""
        return ", ".join(filter(None, [self.runs[0]["init"], self.besides("init", *keys)]))

    @cached_property
    def rest(self) -> str:
        return self.besides()

    @property
    def label(self) -> str:
        return f"{self.act}, {self.rest}" if self.rest else self.act

    @property
    def runs(self) -> tuple[Run, ...]:
        """All that ended, one of each seed."""
        return (*self.completed, *self.diverged, *self.failed)

    @property
    def repeats(self) -> list[tuple[Run, Run]]:
        """The runs of a seed that is there already, each with the one that counts."""
        by_seed = {run["seed"]: run for run in self.runs}
        return [(run, by_seed[run["seed"]]) for run in self.repeated]

    @property
    def first(self) -> Run:
        """The completed run with the lowest seed."""
        return self.completed[0]

    @property
    def observed(self) -> tuple[Run, ...]:
        """The runs to look into: the completed ones; where there are none, those that diverged."""
        return self.completed or self.diverged

    @property
    def broken(self) -> str:
        """How many runs enter no mean, and why; nothing if none."""
        counts = {"diverged": len(self.diverged), "failed": len(self.failed), "missing": len(self.missing)}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    @property
    def label_with_broken(self) -> str:
        return f"{self.label} ({self.broken})" if self.broken else self.label

    @property
    def measure(self) -> str:
        """The key of what it is compared by: a regression has no accuracy."""
        return "test_loss" if self.runs[0]["config"].get("loss") == "mse" else "test_accuracy"

    @cached_property
    def task(self) -> tuple[str, str]:
        """What it was trained on, and what it is compared by: only settings of one task are compared."""
        return data_of(self.runs[0]), self.measure

    def outcomes(self, diverged_as: float | None = None) -> dict[int, float]:
        """Seed → measure of the completed runs, and of those that diverged if a number is given that stands for it."""
        found = {run["seed"]: float(run[self.measure]) for run in self.completed if run.get(self.measure) is not None}
        if diverged_as is not None:
            found |= {run["seed"]: diverged_as for run in self.diverged}
        return dict(sorted(found.items()))


def chance(setting: Setting, among: Sequence[Setting]) -> float | None:
    """What stands for a diverged run, which has no measure: accuracy by chance, 1 / classes.

    Of regressions, whose losses have no upper end, the highest loss of any completed run `among` those of its task.
    """
    if setting.measure == "test_accuracy":
        classes = {run["classes"] for run in setting.runs if run.get("classes")}
        return 1 / max(classes) if classes else None
    alike = [each for each in among if each.task == setting.task]
    return max((loss for each in alike for loss in each.outcomes().values()), default=None)


def settings_of(runs: Sequence[Run], missing: Sequence[Path] = ()) -> list[Setting]:
    """All settings, also those of which no run completed, by what varies besides the activation, then by activation."""
    groups: dict[str, tuple[dict[str, str], list[Run]]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        groups.setdefault(Setting(label).label, (label, []))[1].append(run)
    known = _known(runs) if missing else {}
    absent: dict[str, list[Path]] = {}
    for path in missing:
        absent.setdefault(_identity(path, known)[0], []).append(path)
    found = [_setting(values, group, absent.get(label, [])) for label, (values, group) in groups.items()]
    return sorted(found, key=lambda each: (natural(each.rest), act_order(each.act)))


def _setting(values: dict[str, str], runs: Sequence[Run], missing: Sequence[Path]) -> Setting:
    """Of each seed the run that did not fail, as a crash says nothing of the network, and has most diagnostics; of
    several the first in the order of paths."""
    by_seed: dict[int, Run] = {}
    measured = lambda run: len(run["config"].get("diagnostics") or {})  # noqa: E731
    for run in sorted(runs, key=lambda run: (run["seed"], run["status"] == "failed", -measured(run))):
        by_seed.setdefault(run["seed"], run)
    counted = list(by_seed.values())
    ended = {name: tuple(run for run in counted if status(run) == name) for name in ("completed", "diverged", "failed")}
    repeated = tuple(run for run in runs if run is not by_seed[run["seed"]])
    return Setting(values, **ended, repeated=repeated, missing=tuple(missing))


def _known(runs: Sequence[Run]) -> dict[tuple[Path, str], str]:
    """(sweep's folder, a run's name without its seed) → the setting's label."""
    known = {}
    for run, label in zip(runs, labels(runs), strict=True):
        path = Path(run["folder"]).resolve()
        if match := NAME.fullmatch(path.name):
            known[path.parent, match[1] + match[3]] = Setting(label).label
    return known


def _identity(path: Path, known: Mapping[tuple[Path, str], str]) -> Identity:
    """Which run would be in this folder: the setting of its neighbours whose names differ in the seed alone; without
    any, only what the whole sweep and the name say: then two are the same if one sweep is a copy."""
    match = NAME.fullmatch(path.name)
    label = known.get((path.parent.resolve(), match[1] + match[3])) if match else None
    if match and label is not None:
        return label, int(match[2])
    return json.dumps(run_folder.read_sweep(path.parent), sort_keys=True), path.name


def missing_of(runs: Sequence[Run], sweeps: Mapping[Path, dict[str, Any]]) -> list[Path]:
    """Folders of the runs that sweeps expect and that have a result nowhere, each once: not begun, or interrupted."""
    there = {Path(run["folder"]).resolve() for run in runs}
    expected = [folder / name for folder, sweep in sweeps.items() for name in sweep.get("expected") or []]
    known = _known(runs)
    absent: dict[Identity, Path] = {}
    found: set[Identity] = {(Setting(label).label, run["seed"]) for run, label in zip(runs, labels(runs), strict=True)}
    for path in expected:
        identity = _identity(path, known)
        if path.resolve() not in there and identity not in found:
            absent.setdefault(identity, path)
    return list(absent.values())


def repetitions(settings: Iterable[Setting]) -> str:
    """What is to be said of runs of a seed that is there already; nothing without any."""
    pairs = [pair for setting in settings for pair in setting.repeats]
    other = [run["folder"] for run, first in pairs if any(run.get(key) != first.get(key) for key in OUTCOME)]
    agree = f"with another result in {', '.join(other)}" if other else "with the same results"
    return f"{len(pairs)} more repeat a seed of a setting, which counts once, {agree}" if pairs else ""


def left_out(settings: Iterable[Setting], used: int | None = None) -> str:
    """Which runs of these settings a figure doesn't show, as the last sentence of its caption; nothing if it has all.

    `used`: the completed runs that have what the figure needs, where not all do.
    """
    settings = list(settings)
    counts = {what: sum(len(getattr(each, what)) for each in settings) for what in ("diverged", "failed")}
    counts["repeated a seed"] = sum(len(each.repeated) for each in settings)
    if used is not None:
        counts["completed without these numbers"] = sum(len(each.completed) for each in settings) - used
    named = [f"{count} {what}" for what, count in counts.items() if count]
    return f" Left out: {', '.join(named)}." if named else ""
