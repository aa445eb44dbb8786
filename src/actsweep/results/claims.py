"""Whether a run or a sweep may have a folder: nothing there is somebody else's, and no run has other settings.

Flow: around **training**, before anything is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf, read_write

from actsweep.errors import UserError
from actsweep.results import locks, ownership, rank, run_folder

if TYPE_CHECKING:
    from actsweep.config.schema import Settings

ANY_JOB = 123456789  # stands for the number of a job that has none yet


def refuse(folder: Path, settings: "Settings", besides: Iterable[str] = ()) -> None:
    """Raise UserError unless a run with these settings may write into the folder: nothing but ours (and `besides`) is
    there, and no run with other settings, unless `rerun` has that one replaced."""
    rank.expect(settings.trainer.devices)  # before anything is written, or left to the first of several processes
    ownership.refuse_foreign(folder, besides)
    if run_folder.SWEEP in ownership.recorded(folder):
        raise UserError(f"{folder} is the folder of a sweep: a run needs one of its own")
    if settings.rerun == "all":
        return
    failed = settings.rerun == "failed" and (run_folder.read_result(folder) or {}).get("status") == "failed"
    there = run_folder.read_run(folder) or run_folder.read_result(folder) or {}
    resumes = failed or not there or there.get("config_hash") == settings.hash()
    differing = _too_few_epochs(folder, settings) if resumes else settings.differences(there.get("config", {}))
    if not (differing or failed):
        changed = _changed(there.get(run_folder.VALUES), settings)
        differing = [f"{part}={getattr(settings.names, part)} gives other numbers now than then" for part in changed]
    if differing:
        named, others = differing[: ownership.MOST_NAMED], differing[ownership.MOST_NAMED :]
        more = f" and {len(others)} more" if others else ""
        raise UserError(
            f"{folder} holds a run with other settings: {', '.join(named)}{more}; choose another "
            "folder, or have rerun=all do it again and move what is there aside"
        )


def _changed(noted: Any, settings: "Settings") -> list[str]:
    """Which parts of the person's own, each known by its values, have become others."""
    then = noted if isinstance(noted, dict) else {}
    return [part for part, now in settings.own_values.items() if _are_others(then.get(part), now)]


def _are_others(then: Any, now: Sequence[float]) -> bool:
    with suppress(TypeError, ValueError):  # of what can't be compared nothing is said
        return len(then) == len(now) and not np.allclose(now, then, rtol=1e-3, atol=1e-5, equal_nan=True)
    return False


def _too_few_epochs(folder: Path, settings: "Settings") -> list[str]:
    """A run can resume to more epochs, but not back."""
    result, asked = run_folder.read_result(folder) or {}, settings.trainer.max_epochs
    done = result["epochs"] if "epochs" in result else _epochs_at_hand(folder, settings)
    return [f"trainer.max_epochs={asked}, and it has trained {done} epochs"] if done > asked else []


def _epochs_at_hand(folder: Path, settings: "Settings") -> int:
    """After how many epochs a run that has no result would resume."""
    for path in (folder / run_folder.LAST, folder / run_folder.BEST):
        if not path.exists() or settings.untrained:
            continue
        import torch  # here, because most folders that are asked about hold no such run

        with suppress(Exception):  # of many kinds: whoever resumes it sets a damaged one aside
            found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            if found["run"]["config_hash"] == settings.hash():
                return int(found["epoch"]) + 1
    return 0


def refuse_sweep(folder: Path) -> None:
    """Raise UserError unless a sweep may write into the folder."""
    ownership.refuse_foreign(folder)
    if run_folder.RUN in ownership.recorded(folder):
        raise UserError(f"{folder} is the folder of a run: a sweep needs one of its own")


def hydra_files(hydra: Any) -> list[str]:
    """What Hydra itself, and its callbacks, write into a run's folder, by the section `hydra` of its configuration."""
    if hydra.output_subdir is None:
        return logs(hydra, "runtime.output_dir")
    subfolder = Path(hydra.output_subdir)
    others = [] if subfolder == Path() else ["*"]  # where everything lies, everything is not Hydra's
    names = ["config.yaml", "hydra.yaml", "overrides.yaml", *others]
    return [*logs(hydra, "runtime.output_dir"), *((subfolder / name).as_posix() for name in names)]


def logs(hydra: Any, place: str) -> list[str]:
    """The files of a job's logging that lie in the folder at this key, and what becomes of them when they are full."""
    stand_ins = (hydra.runtime, "output_dir", "/folder"), (hydra.job, "num", ANY_JOB), (hydra.job, "id", str(ANY_JOB))
    missing = [each for each in stand_ins if OmegaConf.is_missing(*each[:2])]
    with read_write(hydra):
        for section, key, value in missing:
            section[key] = value
        try:
            folder = str(OmegaConf.select(hydra, place))
            handlers = ((hydra.job_logging or {}).get("handlers") or {}).values()
            files = [str(each.get("filename")).replace(str(ANY_JOB), "*") for each in handlers if each]
        finally:
            for section, key, _ in missing:
                section[key] = "???"
    inside = [each.removeprefix(f"{folder}/") for each in files if each.startswith(f"{folder}/")]
    return [name for each in inside for name in (each, f"{each}.*")]


@contextmanager
def held(folder: Path, settings: "Settings", hydra: Any) -> Iterator[None]:
    """Have a run's folder for oneself, Hydra's files in it included. Raises UserError where it can't be had."""
    refuse(folder, settings, hydra_files(hydra))
    ownership.adopt(folder, *hydra_files(hydra))
    with locks.held(folder):
        yield
