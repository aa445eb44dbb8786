"""What the runs of an atlas found, as its table: one row a function × initialisation; and what could not be measured.

Flow: results → **statistics** → report, docs/atlas.csv. Columns: docs/atlas.md.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from actsweep.config.descriptions import SPECIAL, as_call
from actsweep.errors import UserError
from actsweep.places import REPOSITORY, command
from actsweep.results.reading import Run, texts
from actsweep.statistics.findings.seen import geometric
from actsweep.statistics.inference import trained
from actsweep.statistics.setting import ACTS, Setting, act_order, is_in

DOCS = REPOSITORY / "docs"
COMMITTED, EXCLUDED, FASHION = DOCS / "atlas.csv", DOCS / "atlas_excluded.csv", DOCS / "atlas_fashion.csv"
PACKAGES = ("actsweep", "torch", "torch_activation")
NUMBERS = ("low", "high", "slope_low", "slope_high", "centre", "cost", "weight_variance", "bias_variance", "q", "chi")
SCALES = ("depth_scale", "q_scale", "gradient_scale")
COLUMNS = (
    *("act", "package", "learnt", "same_as", "init", "status", "reason", "low", "high", "monotone", "slope_low"),
    *("slope_high", "parity", "jumps", "kinks", "centre", "curve", "cost", "weight_variance", "bias_variance", "q"),
    *("chi", *SCALES, "lr", "rates", "accuracies", "diverged", "trained", "dead", "saturated", "gradient_ratio"),
    *("gradient_ratio_trained", "protocol"),
)
OF_THE_FUNCTION = ("learnt", "low", "high", "monotone", "slope_low", "slope_high", "parity", "jumps", "kinks", "curve")
OF_THE_EXCLUDED = ("act", "package", "kind", "reason")
FREE = {"act", "init", "names", "figures", "report", "threads", "seed", "data.source.root"}  # no part of the protocol
RELATIVE, ABSOLUTE = 1e-6, 1e-8  # by which the values of equal functions may differ: two formulas round differently

Known = TypeVar("Known", pd.DataFrame, "pd.Series[Any]")


@cache
def listed() -> frozenset[str]:
    """The functions that the study names; any other is a person's own."""
    study = OmegaConf.load(REPOSITORY / "sweeps" / "atlas.yaml")
    return frozenset(each.strip() for each in study.hydra.sweeper.params.act.split(","))


def is_of_atlas(run: Run) -> bool:
    return bool(run["config"].get("atlas"))


def tables(runs: Sequence[Run]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table, text as it stands in a CSV file, and the functions that have no rows there, with why."""
    ordered = sorted(_told_apart(runs), key=lambda run: (_place(run["act"]), run["init"] != "default", run["init"]))
    described = {run["act"]: run["atlas"] for run in reversed(ordered) if _is_measured(run)}
    first = equals({act: _told_by(found) for act, found in reversed(described.items())})
    rows = [_row(run, described[act]) | {"same_as": first[act]} for run in ordered if (act := run["act"]) in described]
    excluded = {run["act"]: _excluded(run) for run in reversed(ordered) if run["act"] not in described}
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(reversed(excluded.values()), columns=OF_THE_EXCLUDED)


def _told_apart(runs: Sequence[Run]) -> Iterator[Run]:
    """Each function once at an initialisation and by a protocol, as of several runs the first that did not fail; those
    that differ in their arguments alone with these in their names."""
    calls: dict[str, dict[str, None]] = {}
    for run in runs:
        calls.setdefault(run["act"], {})[_call(run)] = None
    seen: set[tuple[str, ...]] = set()
    for run in sorted(runs, key=lambda run: bool(run["status"] == "failed")):
        act = run["act"] if len(calls[run["act"]]) == 1 else run["act"] + _call(run)
        if (key := (act, run["init"], protocol(run))) not in seen:
            seen.add(key)
            yield run | {"act": act}


def _call(run: Run) -> str:
    """(NAME=VALUE, …): the function's arguments; nothing without any."""
    given = (run["config"].get("act") or {}).items()
    said = ", ".join(f"{key}={as_call(value)}" for key, value in given if key not in SPECIAL)
    return said and f"({said})"


def package_of(act: str) -> str:
    path = act.partition("(")[0]
    return path.partition(".")[0] if "." in path else PACKAGES[0]


def _place(act: str) -> tuple[int, int, str]:
    package = package_of(act)
    known = PACKAGES.index(package) if package in PACKAGES else len(PACKAGES)
    return known, act_order(act)[0], act.lower()


def equals(values: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Name → the first name that has the same values, empty for itself.

    >>> equals({"a": [0.0, 1.0], "b": [0.0, 2.0], "c": [0.0, 1.0 + 1e-9]})
    {'a': '', 'b': '', 'c': 'a'}
    """
    arrays = {name: np.asarray(each, dtype=np.float64) for name, each in values.items()}
    found: dict[str, str] = {}
    for name, mine in arrays.items():
        earlier = (other for other, first in found.items() if not first and arrays[other].shape == mine.shape)
        alike = (other for other in earlier if np.allclose(arrays[other], mine, RELATIVE, ABSOLUTE, equal_nan=True))
        found[name] = next(alike, "")
    return found


def _told_by(found: Mapping[str, Any]) -> list[float]:
    """What functions are told apart by: their values, the ends of their slopes, where they jump and have kinks."""
    ends = [found.get(name, math.nan) for name in ("slope_low", "slope_high")]
    return [*found["values"], *ends, math.inf, *found.get("jumps", ()), math.inf, *found.get("kinks", ())]


def _row(run: Run, described: Mapping[str, Any]) -> dict[str, str]:
    """`described`: what a run of this function found; of one that failed, its row has no more than that."""
    failed = not _is_measured(run)
    found = {name: described.get(name) for name in OF_THE_FUNCTION} if failed else run["atlas"]
    reason = _excluded(run)["reason"] if failed else found.get("no_edge")
    status = "failed" if failed else "no edge" if reason else "measured"
    row = {"act": run["act"], "package": package_of(run["act"]), "init": run["init"], "learnt": str(found["learnt"])}
    row |= {"status": status, "reason": reason or "", "protocol": protocol(run)}
    row |= {name: _number(found.get(name)) for name in (*NUMBERS, *SCALES, "lr", "dead", "saturated")}
    row |= {name: found.get(name) or "" for name in ("monotone", "parity")}
    row |= {name: _numbers(found.get(name) or ()) for name in ("jumps", "kinks", "rates", "accuracies", "diverged")}
    row["curve"] = _numbers(np.round(found.get("curve") or (), 9) + 0.0, digits=4)
    for name, column in (("untrained", "gradient_ratio"), ("trained", "gradient_ratio_trained")):
        row[column] = _number(geometric((found.get("gradient_ratios") or {}).get(name, ())).value)
    if accuracies := found.get("accuracies"):
        classes = run["classes"]
        row["trained"] = _number(sum(trained(each, classes) for each in accuracies) / len(accuracies))
    return row


def _is_measured(run: Run) -> bool:
    return run["status"] == "completed" and run["atlas"]["unfit"] is None


def _excluded(run: Run) -> dict[str, str]:
    unfit = (run.get("atlas") or {}).get("unfit") or ("raises", f"init={run['init']}: {run.get('error')}")
    return {"act": run["act"], "package": package_of(run["act"]), "kind": unfit[0], "reason": unfit[1]}


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _numbers(values: Iterable[float], digits: int = 6) -> str:
    return " ".join(f"{value:.{digits}g}" for value in values)


def protocol(run: Run) -> str:
    """Eight hexadecimal digits of all that was the same for every function."""
    config = {key: value for key, value in texts(run["config"]).items() if not is_in(FREE, key)}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def filled(of: Known, empty: str = "") -> Known:
    """A table or a column with that text where nothing is known. pandas' `fillna` would guess new types, before 3.0."""
    return of.astype(object).map(lambda value: empty if pd.isna(value) else value)


def among_all(table: pd.DataFrame, excluded: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """A person's functions among those of the committed tables: rows of `table` first, then those of functions that it
    lacks, measured by the same protocol; what could not be; and the names of the person's functions.

    Those that learn equal none of the committed: what they do as they learn is in no table."""
    own = [act for act in dict.fromkeys(table["act"]) if act not in listed()]
    if not (own and COMMITTED.is_file()):
        return table, excluded, own
    known, unfit = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (COMMITTED, EXCLUDED))
    known = known[known["protocol"].isin(table["protocol"]) & ~known["act"].isin(table["act"])]
    first = {tuple(row[1:]): row[0] for row in known[["act", *OF_THE_FUNCTION]].iloc[::-1].itertuples(index=False)}
    mine = filled(table[["act", "same_as", *OF_THE_FUNCTION]]).itertuples(index=False)
    equal = dict(zip(known["act"], known["same_as"], strict=True))
    for act, same_as, learnt, *text in mine:
        equal[act] = same_as or (first.get((learnt, *text), "") if act in own and learnt == "0" else "")
    everything = pd.concat([table, known], ignore_index=True)
    everything["same_as"] = [_first(act, equal) for act in everything["act"]]
    return everything, pd.concat([excluded, unfit]).drop_duplicates("act"), own


def _first(act: str, equal: Mapping[str, str]) -> str:
    """The last of the functions that each equal the next, from this one on; empty for itself."""
    chain = [act]
    while (after := equal.get(chain[-1], "")) and after not in chain:
        chain.append(after)
    ring = chain[chain.index(after) :] if after else []
    found = min(ring) if ring else chain[-1]
    return "" if found == act else found


def _means(table: pd.DataFrame) -> "pd.Series[float]":
    """The mean accuracy of each row that has some."""
    texts_of = table["accuracies"][table["accuracies"].fillna("") != ""]
    return texts_of.map(lambda text: float(np.mean([float(each) for each in text.split(" ")])))


def best(count: int) -> list[str]:
    """The functions of the committed table with the highest mean accuracies, each at its better initialisation; equal
    ones once, without the six of the main studies. Raises UserError without a table."""
    if not COMMITTED.is_file():
        raise UserError(f"{COMMITTED} is not there: run `{command('train', '+sweeps=atlas')}`, and copy its atlas.csv")
    table = pd.read_csv(COMMITTED, dtype=str, keep_default_na=False)
    table = table[(table["same_as"] == "") & ~table["act"].isin(ACTS)]
    means = _means(table).groupby(table["act"]).max()
    return [str(act) for act in means.sort_index().sort_values(ascending=False, kind="stable").index[:count]]


def places(table: pd.DataFrame, own: Sequence[str]) -> list[str]:
    """Where each of these functions stands among the different ones of its protocol, at each initialisation, in words:
    as on the page, what equals another one has that one's place, and equal means share the middle one."""
    measured = table.assign(mean=_means(table).round(5)).dropna(subset="mean")  # sums of six digits break ties
    lines = []
    for act in own:
        for (init, _), rows in measured.groupby(["init", "protocol"]):
            first = rows["same_as"].where(rows["same_as"].isin(rows["act"]), rows["act"])
            different = rows[first == rows["act"]].set_index("act")["mean"]
            for name, mean in zip(first[rows["act"] == act], rows.loc[rows["act"] == act, "mean"], strict=True):
                rank = (different > different[name]).sum() + ((different == different[name]).sum() + 1) / 2
                place = f"place {rank:g} of {len(different)}{as_(act, name)}"
                lines.append(f"{act}, init={init}: mean test accuracy {mean:.2%}, {place}")
    return lines


def as_(act: str, first: str) -> str:
    """Whose place it has, in words, where that is another's."""
    return f", as {first}, which it equals" if first != act else ""


def on_fashion(settings: Sequence[Setting]) -> pd.DataFrame | None:
    """Of `+sweeps=atlas_fashion`: a row a function, as docs/atlas_fashion.csv has it, by the seeds that all have; a
    diverged run as chance. None where no function is there, or one in several ways: the order were not of functions."""
    own = [each for each in settings if any(run["data"] == "fashion_mnist" for run in each.runs)]
    ended = {each.act: {run["seed"]: run for run in (*each.completed, *each.diverged)} for each in own}
    seeds = sorted(set[int]().union(*ended.values()).intersection(*ended.values()))
    if len(ended) < len(own) or not seeds:
        return None
    by_act = {act: [ended[act][seed] for seed in seeds] for act in sorted(ended, key=_place)}
    return pd.DataFrame(
        {
            "act": act,
            "accuracies": _numbers(
                1 / run["classes"] if run["test_accuracy"] is None else run["test_accuracy"] for run in runs
            ),
            "diverged": _numbers(run["seed"] for run in runs if run["status"] == "diverged"),
            "epochs": _numbers(run["epochs"] for run in runs),
        }
        for act, runs in by_act.items()
    )
