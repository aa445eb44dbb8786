"""How a command ends. A person's mistake: one line that says what was given, what is allowed, what to do; exit code 2.

Hydra's own messages are turned into the same form. A defect keeps its traceback; exit code 1.
"""

import difflib
import errno
import io
import logging
import os
import re
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from actsweep.errors import causes, is_ours, mistake_in
from actsweep.places import REPOSITORY, command

BAD_INPUT, FAILED = 2, 1
HYDRAS_ERRORS = (HydraException, OmegaConfBaseException, YAMLError)
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = NO_ROOM | {errno.EACCES, errno.EPERM, errno.EROFS}
AGAIN_AFTER = 5.0  # seconds
GONE = {
    "hydra/launcher=side_by_side": "hydra/launcher=side_by_side is gone: use hydra/launcher=sweep, the default; "
    "hydra.launcher.processes=N says how many processes, hydra.launcher.max_members=1 makes every run a single one"
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # the last is how clusters announce that time is up
at_early_end: list[Callable[[Exception, str | None], None]] = []  # of a sweep that is under way


class Stopped(SystemExit):
    """A signal has ended the program: exit code 128 + its number, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def stop(message: str, code: int = BAD_INPUT) -> SystemExit:
    """Print one line to stderr and return the exception that ends the program."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    return SystemExit(code)


def end(error: Exception) -> SystemExit:
    """Show an error, and return the exception that ends the program: the person's mistake in one line, or a defect; or
    the signal, of which a library has made an error."""
    if stopped := next((each for each in causes(error, contexts=True) if isinstance(each, Stopped)), None):
        return stopped
    if (message := mistake(error)) is not None:
        return stop(message)
    traceback.print_exception(error)
    return SystemExit(FAILED)


def command_to_resume() -> str:
    """What was typed, with the folder where that would be another one the next time."""
    given = sys.argv[1:]
    if HydraConfig.initialized():
        config = HydraConfig.get()
        many = config.mode == RunMode.MULTIRUN
        key, folder = ("hydra.sweep.dir", config.sweep.dir) if many else ("hydra.run.dir", config.run.dir)
        if not any(word.startswith(f"{key}=") for word in given):
            given = [*given, f"{key}={folder}"]
    return command("train", *given)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM, SIGUSR1 and Ctrl-C end the program at once: what is on disk is whole, and the same command resumes.

    Lightning alone would end with exit code 0 or 1. No checkpoint is made: one in the middle of an epoch could not be
    resumed exactly, and the latest epoch's is there.
    """

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
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
        print(f"stopped by {stopped.name}; to resume: {command_to_resume()}", file=sys.stderr)
        raise stopped from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Those that would end the program come when the context is left; a process that is started there has them wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def typed(words: ListConfig) -> list[str]:
    """Overrides as they were typed. OmegaConf would put values in the place of a ${…} in them: those that the keys have
    now, and not in the job."""
    found: Any = OmegaConf.to_container(words, resolve=False)
    return list(map(str, found))


def _closest(word: str, allowed: Sequence[str]) -> str:
    """Of a key in a section that there is, the section's closest one; of a key without its section, with that."""
    section, dot, last = word.lower().rpartition(".")
    inside = [each for each in allowed if dot and each.startswith(f"{section}.")]
    meant = {each.rpartition(".")[2].lower(): each for each in inside or allowed}
    meant |= {each.lower(): each for each in allowed if not inside}
    close = difflib.get_close_matches(last if inside else word.lower(), meant, n=1) if word not in allowed else []
    return f" (did you mean {meant[close[0]]}?)" if close else ""


def _ungrammatical(error: OverrideParseException) -> str:
    """What Hydra's grammar doesn't allow, such as a bare `~`, and how to write it."""
    override, reason = error.override, str(error).splitlines()[0]
    key, equals, value = override.partition("=")
    if not equals and override[:1] != "~":
        return f"{override}: must be KEY=VALUE, with no space around =, as act=relu"
    if not value or reason.startswith("Error parsing"):  # no value, or a function given wrong arguments
        return str(error)
    if key.startswith("hydra.") and value.startswith("~/"):  # quoted, it would be a folder of that name
        return f"{override}: ~ is the shell's; write {key}=$HOME{value[1:]}"
    if reason.startswith("LexerNoViableAlt"):
        character = override[str(error).splitlines()[1].index("^") - len(reason) + len(override) :][:1]
        reason = f"Hydra reads {character!r} only within quotes"
    return f"{override}: {reason}; if it is one value, write " + shlex.quote(f'{key}="{value}"')


def translate(error: Exception) -> str:
    """Hydra's and OmegaConf's messages, some of them twenty lines long, as one."""
    if isinstance(error, OverrideParseException):
        return _ungrammatical(error)
    text = "\n".join(str(part) for part in (error, error.__cause__) if part)
    if match := re.search(
        r"Could not find '([^']+)'\s+Available options in '([^']+)':\s+([\w\s.]+?)\n(?!\t)", text + "\n"
    ):
        path, group, options = match[1], match[2], match[3].split()
        value = path.removeprefix(f"{group}/")
        if gone := GONE.get(f"{group}={value}"):
            return gone
        return f"{group}={value}: must be one of {', '.join(options)}{_closest(value, options)}"
    if match := re.search(r"Could not load '([^'/]+)/([^']+)'", text):
        group, value = match.groups()
        options = sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))
        return f"{group}: there is no {value}; actsweep's own are {', '.join(options)}{_closest(value, options)}"
    if match := re.search(r"Error resolving interpolation '\$\{(act|data|init|optim)\}'", text):
        return f"{match[1]}: must be one choice; several need -m, as in `{command('train', '-m', f'{match[1]}=A,B')}`"
    if match := re.search(r"Ambiguous value for argument '(\S+)'", text):
        return f"{match[1]}: several values need -m, as in `{command('train', '-m', match[1])}`"
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        from actsweep.config.schema import keys  # here, because pydantic takes its time

        full = re.search(r"full_key: (\S+)", text)
        key = full[1] if full else match[1] or match[2]
        return f"{key}: there is no such key{_closest(key, keys())}; to add one, write +{key}=…"
    if match := re.search(r"Sweeping over Hydra's configuration is not supported : '([^=]+)=(.*)'", text):
        quoted = shlex.quote(f'{match[1]}="{match[2]}"')
        return f"{match[1]}={match[2]}: Hydra sweeps over no key of its own; as one value, quote it: {quoted}"
    return re.sub(r"\s+(object_type|reference_type)=\S+", "", text.split("\nSet the environment variable")[0])


def mistake(error: Exception) -> str | None:
    """What the person can mend, as one line; None where the program is at fault.

    It is a UserError, what Hydra and OmegaConf say of what they were given, and a place where Hydra can't write. Not so
    what an error of our own becomes where Hydra called the code that raised it.
    """
    if isinstance(error, HYDRAS_ERRORS):
        if own := mistake_in(error):
            return str(own)
        return None if any(map(is_ours, causes(error))) else translate(error)
    if own := mistake_in(error):
        return str(own) if own is error else None
    if isinstance(error, UnicodeDecodeError) and not is_ours(error):
        return f"a YAML file that begins with {error.object[:30]!r} is no UTF-8: save it as that"
    if isinstance(error, ValueError | TypeError) and (said := _said_by_hydra(error)):
        return said
    of_system = (each for each in causes(error) if isinstance(each, OSError))
    return next((str(each) for each in of_system if each.errno in NOT_ALLOWED or not is_ours(error)), None)


def _said_by_hydra(error: Exception) -> str | None:
    """Where Hydra itself raised it: over words such as --cfg that don't go together, or a choice that is no name."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_globals.get("__name__") in {"hydra._internal.defaults_list", "hydra.core.default_element"}:
        return f"a choice must be a name, as act=relu, or a list of names, as diagnostics=[units] ({error})"
    return str(error) if frame.f_code.co_name in {"_run_hydra", "_get_rerun_conf"} else None


class _Output(io.FileIO):
    """A standard stream whose loss costs no run. Where nobody reads it any more, as after `| head`, it is given up."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in {errno.EPIPE, errno.EIO}:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())  # for processes that are started from here, too
                os.close(nowhere)
            else:  # a full disk
                self.lost = error
            return len(data)


def outlive_readers() -> None:
    """Have this process end its work, and leave its files, whatever becomes of its terminal or of who reads it, and
    whichever characters that knows."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed when the program was started; libraries write there all the same
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue  # or somebody else's already, as a notebook's
        stream.flush()
        raw = _Output(stream.fileno(), "w", closefd=False)
        buffer = raw if stream.write_through else io.BufferedWriter(raw)  # as `python -u` asks
        form = {part: getattr(stream, part) for part in ("encoding", "errors", "line_buffering", "write_through")}
        if form["errors"] in {"strict", "surrogateescape"}:  # the latter in the locale C
            form["errors"] = "replace"  # a terminal that has no → shows ?
        setattr(sys, name, io.TextIOWrapper(buffer, **form))


def _complain_of_lost_output() -> None:
    print(end="", flush=True)
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if isinstance(raw, _Output) and raw.lost:
        raise stop(f"what was printed could not be written: {raw.lost}", FAILED)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors that a person can cause into one line and exit code 2; let every other error through."""
    # Hydra would print such errors itself, in its own words, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    outlive_readers()
    at_early_end.clear()
    before = HydraConfig.instance().cfg
    try:
        yield
        _complain_of_lost_output()
    except Exception as error:
        message = mistake(error)
        if at_early_end:
            at_early_end.pop()(error, message)
        if message is None:
            raise
        raise stop(message) from error
    finally:
        HydraConfig.instance().cfg = before
