"""Hydra's configurations of a sweep's jobs, composed quickly and once: its check and its launcher need the same ones.

Flow: **config** → data. Composing one takes Hydra a quarter of a second, because it reads some thirty files anew. Jobs
that differ in plain values alone, such as seeds, are copies of one that Hydra composed, with other values.
"""

import os
import pickle
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from actsweep.config.command_line import typed

PLAIN = re.compile(r"[a-z_][\w.]*=[\w.+-]+")  # nothing is added or deleted; no list, no interpolation, no quotes


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _chosen_act(overrides: Iterable[str]) -> str | None:
    """The choice of an activation among them."""
    return next((value for each in overrides if (value := each.removeprefix("act=")) != each), None)


@dataclass(frozen=True)
class Model:
    """What Hydra composed for a job with these values: what makes copies of it with and without its own section."""

    values: frozenset[str]
    whole: Callable[[], DictConfig]
    program: Callable[[], DictConfig]
    shared: DictConfig  # takes the values of one job after the other
    shown: set[str]  # those that it has now


def _model(config: DictConfig, values: set[str]) -> Model:
    program = deepcopy(config)
    with open_dict(program):
        del program["hydra"]
    return Model(frozenset(values), _copies(config), _copies(program), config, set(values))


class Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """Writes YAML as OmegaConf's own does, in a tenth of the time."""

    def text(self, text: str) -> yaml.ScalarNode:
        try:
            float(text)
        except ValueError:
            style = "'" if text in {"y", "Y", "n", "N"} else None  # YAML 1.1 itself knows yes and no
        else:
            style = "'"
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", text, style)
        return node


Dumper.add_representer(str, Dumper.text)


class Composing:
    """A ConfigLoader, in place of the one it is given, that has Hydra compose one of the jobs that differ in values."""

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self.models: dict[tuple[str, ...], Model] = {}  # by overrides, values left out where they are plain
        self.are_values: dict[str, bool] = {}  # by key
        self.acts: dict[str, Any] = {}  # by choice: the section `act` that it brings, None where it may bring more
        self.known: dict[tuple[str, ...], Any] = {}  # by overrides: what a sweep's check has found out about a job

    def __reduce__(self) -> tuple[Any, ...]:
        return Composing, (self.loader,)  # other processes compose their own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def _model(self, master_config: DictConfig, overrides: Sequence[str]) -> tuple[Model, set[str]]:
        """The model of a job, and which of its overrides are values in it."""
        values = self._plain_values(master_config, overrides)
        alike = tuple(_key(each) if each in values else each for each in overrides)
        if alike not in self.models:
            config = self.loader.load_sweep_config(master_config, list(overrides))
            if (act := _chosen_act(values)) and OmegaConf.to_container(config.act) != self.acts[act]:
                self.acts[act] = None  # something else is said of it
                return self._model(master_config, overrides)
            self.models[alike] = _model(config, values)
        return self.models[alike], values

    def _plain_values(self, master_config: DictConfig, overrides: Sequence[str]) -> set[str]:
        """Those overrides that set one value, of the program's own configuration, and change nothing else in it."""
        times = Counter(map(_key, overrides))
        for key in times.keys() - self.are_values.keys():
            self.are_values[key] = _is_value(master_config, key)
        plain = {each for each in overrides if self.are_values[_key(each)] and PLAIN.fullmatch(each)}
        if (act := _chosen_act(overrides)) and not any(key.startswith(("act.", "act@", "names")) for key in times):
            if act not in self.acts:
                self.acts[act] = self._brought_by(act)
            plain |= set() if self.acts[act] is None else {f"act={act}"}
        return {each for each in plain if times[_key(each)] == 1}

    def _brought_by(self, act: str) -> Any:
        """The section `act` that a choice brings, if that is all: a class's path, or a file that is no more."""
        if not re.fullmatch(r"[\w.-]+", act):
            return None
        path = f"act/{act}"
        source = next((each for each in self.loader.get_sources() if each.available() and each.is_config(path)), None)
        if source is None:
            return None
        found = source.load_config(path)
        content = OmegaConf.to_container(found.config)
        is_all = isinstance(content, dict) and "defaults" not in content and not found.header.get("package")
        return content if is_all else None

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        model, values = self._model(master_config, sweep_overrides)
        return self.with_values(model.whole(), sweep_overrides, values - model.values)

    def _with_plain_values(self, config: DictConfig, values: Iterable[str]) -> DictConfig:
        for each in values:
            if act := _chosen_act([each]):
                OmegaConf.update(config, "act", self.acts[act], merge=False)
                OmegaConf.update(config, "names.act", act)
            else:
                OmegaConf.update(config, _key(each), _parsed(each).value(), merge=True)
        return config

    def with_values(self, config: DictConfig, overrides: Sequence[str], values: Iterable[str]) -> DictConfig:
        """Another job's configuration with this one's values, and what Hydra notes of its overrides."""
        own = [each for each in overrides if not _key(each).startswith(("hydra.", "hydra/"))]
        form = config.hydra.job.config.override_dirname
        named = sorted(each for each in own if _parsed(each).key_or_group not in form.exclude_keys)
        with read_write(config.hydra):
            config.hydra.overrides.task = own
            config.hydra.job.override_dirname = form.item_sep.join(named).replace("=", form.kv_sep)
            if act := _chosen_act(values):
                config.hydra.runtime.choices.update(dict.fromkeys(("act", "names/act"), act))
        return self._with_plain_values(config, values)

    def each(self, master_config: DictConfig, grid: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
        """The configurations of a grid's jobs, each until the next one is asked for: one object takes all their
        values."""
        for number, overrides in enumerate(grid):
            model, values = self._model(master_config, overrides)
            config = self.with_values(model.shared, overrides, values - model.shown)
            model.shown.clear()
            model.shown.update(values)
            with read_write(config.hydra):
                config.hydra.job.id = config.hydra.job.num = number
            use(config)
            yield config

    def run(
        self, context: HydraContext, master_config: DictConfig, number: int, overrides: Sequence[str],
        task: TaskFunction,
    ) -> JobReturn:  # fmt: skip
        """What `hydra.core.utils.run_job` does, which copies the configuration four times and writes its text anew:
        the folder, `.hydra`, logging, environment and callbacks of a job, and its return."""
        config = self.load_sweep_config(master_config, overrides)
        before, folder, hydra = HydraConfig.instance().cfg, Path.cwd(), config.hydra
        use(config)
        try:
            hydra.job.id = hydra.job.num = number
            output = Path(os.path.abspath(Path(str(hydra.sweep.dir), str(hydra.sweep.subdir))))  # noqa: PTH100
            hydra.runtime.output_dir = str(output)
            OmegaConf.set_readonly(hydra, True)
            output.mkdir(parents=True, exist_ok=True)
            if hydra.job.chdir:
                os.chdir(output)
            model, values = self._model(master_config, overrides)
            program = self._with_plain_values(model.program(), values - model.values)
            configure_log(hydra.job_logging, hydra.verbose)
            if hydra.output_subdir is not None:
                _write(output / hydra.output_subdir, config)
            name = JobRuntime.instance().get("name")
            returned = JobReturn(typed(hydra.overrides.task), program, config, str(Path.cwd()), name)
            with env_override(hydra.job.env_set):
                context.callbacks.on_job_start(config=config, task_function=task)
                try:
                    returned.return_value, returned.status = task(program), JobStatus.COMPLETED
                except Exception as error:  # whoever asks for the return value gets it
                    returned.return_value, returned.status = error, JobStatus.FAILED
            context.callbacks.on_job_end(config=config, job_return=returned)
            return returned
        finally:
            HydraConfig.instance().cfg = before
            os.chdir(folder)


def variables(hydra: DictConfig) -> dict[str, str]:
    """What Hydra puts into a job's environment."""
    return {str(name): str(value) for name, value in hydra.job.env_set.items()}


def logging_of(hydra: DictConfig) -> tuple[Any, Any]:
    """What Hydra is told of a job's logging: its section, as plain data, and what is verbose."""
    verbose = hydra.verbose if isinstance(hydra.verbose, bool | str) else OmegaConf.create(list(hydra.verbose))
    return OmegaConf.to_container(hydra.job_logging, resolve=True), verbose


def use(config: DictConfig) -> None:
    """Have Hydra's resolvers and `HydraConfig.get()` answer from this one; `set_config` would copy it."""
    HydraConfig.instance().cfg = config  # type: ignore[assignment]


def foresee(config: DictConfig) -> None:
    """Use the configuration of a job that has not begun: its folder is the one that it will have."""
    if OmegaConf.is_missing(config.hydra.runtime, "output_dir"):
        with read_write(config.hydra):
            config.hydra.runtime.output_dir = "${job_folder:}"
    use(config)


def _write(folder: Path, config: DictConfig) -> None:
    """What Hydra leaves in a job's .hydra."""
    program: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    hydra = program.pop("hydra")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "config": program,
        "hydra": {"hydra": hydra},
        "overrides": hydra["overrides"]["task"],
    }.items():
        with (folder / f"{name}.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(content, file, Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


@lru_cache(maxsize=1)
def composing(loader: ConfigLoader) -> Composing:
    """The one that a command's check and its launcher share."""
    return Composing(loader)


def _is_value(config: DictConfig, key: str) -> bool:
    """Whether the program has something at this key that isn't a choice, nor a section with keys of its own."""
    *path, last = key.split(".")
    if path[:1] == ["hydra"] or key in config.hydra.runtime.choices:
        return False
    section = OmegaConf.select(config, ".".join(path)) if path else config
    if not isinstance(section, DictConfig) or last not in section:
        return False
    return OmegaConf.is_interpolation(section, last) or not OmegaConf.is_config(section[last])


def _copies(config: DictConfig) -> Callable[[], DictConfig]:
    """What makes copies of it as it is now: from bytes, which takes less time and memory than deepcopy."""
    try:
        packed = zlib.compress(pickle.dumps(config), level=1)
    except pickle.PicklingError:  # in a launcher's process Hydra has imported anew the plugins whose classes are in it
        return partial(deepcopy, deepcopy(config))
    return lambda: pickle.loads(zlib.decompress(packed))  # our own, from this process's memory
