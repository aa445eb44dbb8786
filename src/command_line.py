"""What a person's mistake looks like: one line that says what was given, what is allowed and what to do; exit code 2.

Flow: around **config**. Hydra's own messages are turned into the same form.
"""

import difflib
import logging
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

BAD_INPUT = 2
AGAIN_AFTER = 5.0  # seconds
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # the last is how clusters announce that time is up
at_early_end: list[Callable[[Exception], None]] = []  # of a sweep that is under way


class Stopped(SystemExit):
    """A signal has ended the program: exit code 128 + its number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def stop(message: str, code: int = BAD_INPUT) -> SystemExit:
    """Print one line to stderr and return the exception that ends the program."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    return SystemExit(code)


def command_to_go_on() -> str:
    """What was typed, with the folder where that would be another one the next time."""
    given = sys.argv[1:]
    if HydraConfig.initialized():
        config = HydraConfig.get()
        many = config.mode == RunMode.MULTIRUN
        key, folder = ("hydra.sweep.dir", config.sweep.dir) if many else ("hydra.run.dir", config.run.dir)
        if not any(word.startswith(f"{key}=") for word in given):
            given = [*given, f"{key}={folder}"]
    return shlex.join(["python", "-m", "src.train", *given])


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM, SIGUSR1 and Ctrl-C end the program at once: what is on disk is whole, and the same command goes on.

    Lightning alone would end with exit code 0 or 1. No checkpoint is made: one in the middle of an epoch could not be
    resumed exactly, and the latest epoch's is there.
    """

    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # Python drops what is raised while it happens to collect garbage: then it is raised again.
        signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER, AGAIN_AFTER)
        raise Stopped(received[0])

    before = {each: signal.signal(each, end) for each in (*SIGNALS, signal.SIGALRM)}
    try:
        yield
    except BaseException as error:
        if not received:
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Libraries that tidy up half-made objects may have put an error of their own in the place of Stopped.
        stopped = error if isinstance(error, Stopped) else Stopped(received[0])
        print(f"stopped by {stopped.name}; to go on: {command_to_go_on()}", file=sys.stderr)
        raise stopped from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def quiet_libraries() -> None:
    """Keep what Lightning says about itself, and its advice that doesn't apply here, out of the terminal."""
    for name in ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.signal_connector"):
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)
    for message in (
        r"The '\w+_dataloader' does not have many workers",  # nothing to wait for: batches are cut on the device
        r"The number of training batches .* is smaller than the logging interval",  # logged once per epoch
        r"Checkpoint directory .* exists and is not empty",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The `srun` command is available on your system but is not used",  # on a machine where Slurm is installed
    ):
        warnings.filterwarnings("ignore", message=message)


def _closest(word: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def translate(error: Exception, known_keys: list[str]) -> str:
    """Hydra's and OmegaConf's messages, some of them twenty lines long, as one."""
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    if match := re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+([\w\s.]+?)\n(?!\t)", text + "\n"
    ):
        path, group, options = match[1], match[2], match[3].split()
        value = path.removeprefix(f"{group}/")
        return f"{group}={value}: must be one of {', '.join(options)}{_closest(value, options)}"
    if match := re.search(r"Ambiguous value for argument '(\S+)'", text):
        return f"{match[1]}: several values need -m, as in `python -m src.train -m {match[1]}`"
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        key = match[1] or match[2]
        return f"{key}: there is no such key{_closest(key, known_keys)}; to add one, write +{key}=…"
    if match := re.search(r"Could not override '([^']+)'. No match in the defaults list", text):
        return f"{match[1]}: there is no such key{_closest(match[1], known_keys)}"
    return text.split("\nSet the environment variable")[0]


@contextmanager
def one_line_errors(known_keys: list[str] | None = None) -> Iterator[None]:
    """Turn the errors that a person can cause into one line and exit code 2; let every other error through."""
    # Hydra would print such errors itself, in its own words, and exit; this makes it raise them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    at_early_end.clear()
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise stop(translate(error, known_keys or [])) from error
    except (ValueError, OSError) as error:
        raise stop(str(error)) from error
    except Exception as error:  # a launcher's: the death of a process, a queue that doesn't answer
        if not at_early_end:
            raise
        at_early_end.pop()(error)
