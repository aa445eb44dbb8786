"""What `actsweep.train` and `actsweep.load` do.

Flow: around everything, as the command.
"""

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from actsweep.errors import UserError
from actsweep.results import files, run_folder
from actsweep.results.folders import NAMES, Folders
from actsweep.results.reading import Run, read_runs, status
from actsweep.statistics.setting import labels, settings_of

NUMBERS = ("epochs", "best_epoch", "val_accuracy", "val_loss", "test_accuracy", "test_loss", "seconds")
FOUND = ("status", *NUMBERS, "device")
COMPARED = ("data", "first", "second", "n", "better_by_value", "better_by_low", "better_by_high", "p_holm", "differ")
FOUND_WRONG = (
    *("kind", "severity", "evidence", "explanation", "remedy", "source", "follows", "title"),
    *("where_setting", "where_layer", "where_epoch", "where_step", "where_share"),
)
MEANT = ("definition", "unit")
RESERVED = {"true", "false", "null", "nan", "inf"}


_alone = threading.RLock()  # what a run is composed with, and its random numbers, are a process's


@dataclass(frozen=True)
class Loaded:
    """Tidy tables, and the report's content; `actsweep.load` says what is in them."""

    runs: pd.DataFrame
    epochs: pd.DataFrame
    layers: pd.DataFrame
    folders: tuple[Path, ...] = ()

    @cached_property
    def report(self) -> dict[str, Any]:
        """What report.json holds, computed from the runs that are there now. Raises ValueError where none is."""
        from actsweep.report import writing  # here, because it imports SciPy

        return writing.content_of(self.folders)

    @property
    def settings(self) -> pd.DataFrame:
        return _frame(self.report["settings"])

    @property
    def comparisons(self) -> pd.DataFrame:
        return _frame(self.report["comparisons"], COMPARED)

    @property
    def findings(self) -> pd.DataFrame:
        return _frame(self.report["findings"], FOUND_WRONG)


def _frame(rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """A column for each number in a row; none for what holds them, where a row has none."""
    holds = {key for row in rows for key, value in row.items() if isinstance(value, dict)}
    known = [{key: value for key, value in row.items() if value is not None or key not in holds} for row in rows]
    return pd.json_normalize(known, sep="_") if rows else pd.DataFrame(columns=list(columns))


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _rows(run: Run, name: str, known: Folders) -> pd.DataFrame:
    found = known.read(run, name)  # without a row that was being written when a disk was full
    return pd.DataFrame() if found is None else found.astype({key: str for key in NAMES if key in found})


def _layers(run: Run, known: Folders) -> pd.DataFrame:
    rows, meant = _rows(run, "layers", known), known.quantities(run)
    for key in MEANT:
        rows[key] = [meant.get(name, {}).get(key) for name in rows.get("quantity", ())]
    return rows


def _together(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["run", "act", "seed", *columns])


def path(given: str | Path) -> Path:
    """`~` is the caller's home, as in a shell. Raises UserError for that of a user whom this machine doesn't know."""
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise UserError(f"{given}: there is no such user here") from error


def load(folders: Sequence[Path]) -> Loaded:
    """See `actsweep.load`."""
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise UserError(f"{', '.join(missing)}: there is no such folder")
    runs, known = read_runs(folders), Folders()
    repeated = {run["folder"] for setting in settings_of(runs) for run in setting.repeated}
    rows: list[dict[str, Any]] = []
    tables: tuple[list[pd.DataFrame], ...] = ([], [])
    for run, label in zip(runs, labels(runs), strict=True):
        values = {name: value if name in files.NAMES else _number(value) for name, value in label.items()}
        said = {"run": run["folder"], **values, "seed": run["seed"]}
        end = "repeated" if run["folder"] in repeated else status(run)
        rows.append(said | {key: run.get(key) for key in FOUND} | {"status": end})
        for parts, found in zip(tables, (_rows(run, "epochs", known), _layers(run, known)), strict=True):
            new = {name: value for name, value in said.items() if name not in found}
            parts.append(pd.concat([pd.DataFrame(new, index=found.index), found], axis=1))
    runs_table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["run", "act", "seed", *FOUND])
    epochs_table = _together(tables[0], ("epoch", "step"))
    layers_table = _together(tables[1], (*run_folder.LAYER_COLUMNS, *MEANT))
    numbers = list(NUMBERS)  # also where a run has none
    runs_table[numbers] = runs_table[numbers].apply(pd.to_numeric, errors="coerce")
    return Loaded(runs_table, epochs_table, layers_table, tuple(folder.absolute() for folder in folders))


def words(given: Mapping[str, Any]) -> list[str]:
    """Keyword arguments as they would be typed; a dict with numbers as keys is a value, no section.

    >>> words({"act": "relu", "trainer": {"max_epochs": 2}, "hidden_sizes": [8, 8], "data.source.root": "/my data"})
    ['act=relu', 'trainer.max_epochs=2', 'hidden_sizes=[8,8]', "data.source.root='/my data'"]
    >>> words({"+diagnostics.mine": {"scheduling": {0: 2, 1: 4}}})
    ['+diagnostics.mine.scheduling={0:2,1:4}']
    """
    typed = []
    for key, value in given.items():
        if isinstance(value, Mapping) and value and all(isinstance(each, str) for each in value):
            typed += [f"{key}.{each}" for each in words(value)]
        else:
            typed.append(f"{key}={_word(value)}")
    return typed


def _word(value: Any) -> str:
    """Raises UserError for what can't be typed, such as an object."""
    if hasattr(value, "tolist") and not isinstance(value, np.floating):  # float32's 0.1 is typed 0.1
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str | Path | Number | list | tuple | range | Mapping):
        said = "must be text, a number, None, or a list or dict of them; of a class or function its dotted path"
        raise UserError(f"{value!r}: {said}")
    if isinstance(value, list | tuple | range):
        return f"[{','.join(map(_word, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_word(each)}' for key, each in value.items())}}}"
    text = str(value)
    if not isinstance(value, str | Path) or (re.fullmatch(r"[A-Za-z_][\w.-]*", text) and text.lower() not in RESERVED):
        return text
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def train(folder: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """See `actsweep.train`."""
    with _alone, _as_it_was():
        return _train(folder, overrides)


def _train(folder: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    from hydra.types import RunMode
    from omegaconf import read_write

    from actsweep import composition, one_run
    from actsweep.config.command_line import mistake, typed
    from actsweep.results import claims, ownership
    from actsweep.sweep import check

    try:
        given = words(overrides)
        if folder and (twice := [each for each in given if each.startswith("hydra.run.dir=")]):
            raise UserError(f"folder={folder}, {twice[0]}: give one of the two")
        config = composition.composed(given)
        if config.hydra.mode == RunMode.MULTIRUN:
            asked = [each for each in typed(config.hydra.overrides.task) if each.lstrip("+").startswith("sweeps")]
            raise UserError(f"{' '.join(asked) or 'hydra.mode=MULTIRUN'}: asks for many runs, and train does one")
        check.of_hydra(config.hydra)
        if folder:
            with read_write(config.hydra):
                config.hydra.run.dir = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(folder.absolute()))  # as it is
        runs, place = check.at_sight([config]), Path(config.hydra.run.dir).absolute()
        if runs[0].settings.plan:
            raise UserError("plan=true: says what a command would take, and is the command's alone")
        settings = check.tried(runs)[0].settings
        with check.in_a_folder_of_ours():
            ownership.adopt(place, *claims.hydra_files(config.hydra))
        with claims.held(place, settings, config.hydra):
            return run_folder.finished(place, settings) or one_run.train(settings, place)
    except Exception as error:
        said = mistake(error)
        if said is None or isinstance(error, UserError):
            raise
        raise UserError(said) from error


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave Hydra, which the caller may be using, torch's threads and its random numbers as they were; and Ctrl-C, of
    which Lightning makes an exit, and is deaf to the next. The caller's default type, device or autocast makes no other
    run."""
    import torch
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    hydra, config, threads = GlobalHydra.instance().hydra, HydraConfig.instance().cfg, torch.get_num_threads()
    job, version = JobRuntime.instance().get("name"), VersionBase.instance().version_base
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    handler = signal.getsignal(signal.SIGINT)
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    GlobalHydra.instance().clear()
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    try:
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread() and handler:
            signal.signal(signal.SIGINT, handler)
        GlobalHydra.instance().hydra = hydra
        HydraConfig.instance().cfg = config
        JobRuntime.instance().set("name", job)
        VersionBase.instance().version_base = version
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.benchmark = benchmark
        torch.set_default_dtype(dtype)
        torch.set_default_device(None if device.type == "cpu" else device)
