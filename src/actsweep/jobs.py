"""What Hydra calls for each run of a command, and what stands around it.

Flow: config → **job** → one_run. torch and Lightning, which take seconds to import, come after the checks before the
first run (sweep/callback.py): `--help` and most mistakes are answered without them.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from actsweep import composition
from actsweep.config import schema
from actsweep.config.command_line import ended_by_signals, one_line_errors, outlive_readers, quiet_libraries, stop
from actsweep.errors import UserError
from actsweep.imports import uncollected
from actsweep.places import REPOSITORY
from actsweep.results import claims, locks, run_folder


def _trained(settings: schema.Settings, folder: Path) -> dict[str, Any]:
    with uncollected():
        from actsweep import one_run  # here, because it imports Lightning

    return one_run.train(settings, folder)


@hydra.main(version_base="1.3", config_path=str(REPOSITORY / "conf"), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """What Hydra calls for each run. Returns its score, which a sweeper may maximise: the best validation accuracy."""
    quiet_libraries()
    outlive_readers()
    settings, folder = composition.read(cfg), Path(HydraConfig.get().runtime.output_dir)
    with claims.held(folder, settings, HydraConfig.get()):
        done = run_folder.finished(folder, settings)  # a repeated sweep doesn't repeat its runs
        try:
            result = done or _trained(settings, folder)
        except Exception as error:
            run_folder.write_failure(settings, folder, error)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                return None  # the sweep goes on; its end reports the failure
            raise stop(f"{folder.name} failed: {error} (traceback: {folder / run_folder.ERROR})", code=1) from error
        if done and done["status"] == "failed" and HydraConfig.get().mode == RunMode.RUN:
            raise stop(f"{folder.name} failed earlier, which rerun=none lets stand: {done['error']}", code=1)
        return run_folder.score(result)


@contextmanager
def _help_when_shown() -> Iterator[None]:
    """Hydra 1.3 has a help that becomes text when it is shown; Python 3.14 refuses to add what is none (hydra#3121)."""
    add = argparse.ArgumentParser.add_argument

    def add_argument(self: argparse.ArgumentParser, *names: str, **how: Any) -> argparse.Action:
        if isinstance(how.get("help", ""), str):
            return add(self, *names, **how)
        given = how.pop("help")
        action = add(self, *names, **how)
        action.help = given
        return action

    argparse.ArgumentParser.add_argument = add_argument  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.add_argument = add  # type: ignore[method-assign]


def _is_override(word: str) -> bool:
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def main() -> None:
    sys.argv[1:] = sorted(sys.argv[1:], key=_is_override)  # argparse would take those before the first option alone
    with one_line_errors(), ended_by_signals(), locks.released(), _help_when_shown():
        shows = {"-c", "--cfg"} & {word.partition("=")[0] for word in sys.argv[1:]}
        if not shows and (lost := [word for word in sys.argv[1:] if word.startswith(("-p", "--package"))]):
            raise UserError(f"{lost[0]}: -p says which part --cfg shows; a key is written without -, as in plan=true")
        job()
