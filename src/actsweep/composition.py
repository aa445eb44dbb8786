"""A configuration that Hydra composed → checked settings; and what conf/ may ask for while it is composed.

The resolvers `${run_name:}`, `${job_folder:}`, `${content:}`, `${tuned_lr:}` and `${atlas_best:}` are registered when
this is imported.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from actsweep.config.command_line import typed
from actsweep.config.schema import IMMATERIAL, Settings
from actsweep.errors import UserError, exits_are_errors
from actsweep.imports import uncollected
from actsweep.places import REPOSITORY
from actsweep.statistics import tuned
from actsweep.training import trainer_arguments

if TYPE_CHECKING:
    from actsweep.data.dataset import Dataset

SHOWN_ANYWAY = {"act", "depth", "seed"}
OPERATIONAL = IMMATERIAL | {"sweeps", "rerun", "plan"}
ESCAPED = r"$\{"
LOCATION, SHOWN = "data.source.root=", 12  # characters of a digest
CALLING = {"optim": "_target_", "data": "source._target_", "init": "weight._target_"}  # what a choice names
LONGEST, BYTES = 120, 240  # of a name: characters; and of those what fits beside a digest into 255


def run_name(act: str, depth: int, seed: object, overrides: list[str], content: str = "") -> str:
    """`<act>-d<depth>-s<seed>`, then all other overrides by the last part of their key, then the content of data.

    >>> run_name("relu", 4, 0, ["act=relu", "seed=0", "optim.lr=0.1", "+sweeps=main"])
    'relu-d4-s0-lr=0.1'
    """
    parts = [f"{act}-d{depth}-s{seed}"]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        is_hydras = key.startswith(("hydra.", "hydra/"))
        if not is_hydras and key not in SHOWN_ANYWAY and key.partition("@")[0] not in OPERATIONAL:
            parts.append(f"{key.rpartition('.')[2]}={value}")
    name = "-".join([*parts, content] if content else parts)
    safe = re.sub(r"[^\w.=+,\[\]-]", "_", name)
    short = safe[:LONGEST].encode()[:BYTES].decode(errors="ignore")
    if short == name:
        return name
    return f"{short}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _with_value(root: DictConfig, place: int, override: str) -> str:
    """An override with the value that a ${…} in it has. One such as ${.lr} means something where its key is, and in the
    jobs of a sweep Hydra escapes all of them."""
    key = override.lstrip("+").partition("=")[0]
    if ESCAPED not in override:
        with suppress(OmegaConfBaseException):
            return str(root.hydra.overrides.task[place])
    return f"{key}={OmegaConf.select(root, key)}"


def _run_name_of(_root_: DictConfig) -> str:
    depth = len(_root_.hidden_sizes) if _root_.depth is None else _root_.depth
    overrides = [_with_value(_root_, place, each) for place, each in enumerate(typed(_root_.hydra.overrides.task))]
    content = _content_named(_root_) if any(each.lstrip("+").startswith(LOCATION) for each in overrides) else ""
    return run_name(_root_.hydra.runtime.choices.act, depth, _root_.seed, overrides, content)


def _dataset(source: Mapping[str, Any]) -> "Dataset":
    with uncollected():
        from actsweep.data import checked  # here, because it imports torch

    return checked.opened(source)


def _content_named(root: DictConfig) -> str:
    """What stands in names for where data lie: what they are, unless the data set's name says it."""
    try:
        dataset = _dataset(_plain(root.data.source))
    except (UserError, OmegaConfBaseException):
        return ""  # reading the settings says what is wrong
    return "" if dataset.published else f"content={dataset.digest[:SHOWN]}"


def _content_of(_root_: DictConfig) -> str:
    return _dataset(_plain(_root_.data.source)).digest[:SHOWN]


def _best_of_atlas(count: int) -> str:
    from actsweep.statistics import atlas  # here, because it imports pandas

    return ",".join(atlas.best(int(count)))


def _job_folder_of(_root_: DictConfig) -> str:
    """Where Hydra will put a job that has not begun: its `hydra.runtime.output_dir` until then."""
    hydra = _root_.hydra
    parts = (hydra.sweep.dir, hydra.sweep.subdir) if hydra.mode == RunMode.MULTIRUN else (hydra.run.dir,)
    return os.path.abspath(os.path.join(*map(str, parts)))  # noqa: PTH100, PTH118  # as Hydra does


def register() -> None:
    """Make the resolvers known to OmegaConf, which passes those with a `_root_` the whole configuration."""
    resolvers: dict[str, Callable[..., str | float]] = {
        "run_name": _run_name_of,
        "job_folder": _job_folder_of,
        "content": _content_of,
        "tuned_lr": lambda folder, act, init, *, _root_: tuned.learning_rate(folder, act, init, _root_),
        "atlas_best": _best_of_atlas,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _sentence(error: ValidationError, choices: Mapping[str, str]) -> str:
    """The first thing that is wrong, as `key=value: what is allowed`. `choices`: the file chosen in each group."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if str(part) not in {"int", "float", "str", "constrained-int"}]
    key = ".".join(part for part in path if not part.startswith(("literal[", "list[", "constrained")))
    if first["type"] == "missing":
        return f"{key}: missing"
    if first["type"] == "extra_forbidden":
        if key in choices:
            return f"{key}={choices[key]}: a file of keys of all sections must begin with the line # @package _global_"
        return f"{key}: there is no such key"
    message = first["msg"].replace("Input should be", "must be", 1)
    given = first["input"]
    with suppress(TypeError, ValueError):  # TypeError: it is no text
        json.loads(given)
        given = repr(given)  # "3", which ${oc.env:…} gives, is text
    return f"{key}={given}: {message}"


def composed(overrides: list[str]) -> DictConfig:
    """The configuration that a command line asks for, which is Hydra's from now on."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def validated(config: DictConfig) -> Settings:
    """The settings of a composed configuration, as far as types and ranges go: nothing that it names is tried.

    Raises UserError with one line for the person who typed it.
    """
    if not OmegaConf.is_interpolation(config, "content"):
        raise UserError(f"content={config.content}: it is found out from the data, and can't be given")
    if "own_values" in config:
        raise UserError(f"own_values={config.own_values}: they are found out from the parts, and can't be given")
    try:
        plain = {str(key): _plain(config[key]) for key in config if key not in {"hydra", "content"}}
        if isinstance(plain.get("names"), dict):
            plain["names"] |= _renamed(config)
        settings = trainer_arguments.resolved(Settings.model_validate(plain))
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}: missing, it has no default") from error
    except InterpolationKeyError as error:
        if "init.by_act." not in str(error):
            chosen = ", ".join(f"{part}={name}" for part, name in config.names.items())
            raise UserError(f"{error.full_key}: {str(error).splitlines()[0]} with {chosen}") from error
        init, act = config.names.init, config.names.act
        raise UserError(f"init={init} has no number for act={act}: give one with +init.by_act.{act}=NUMBER") from error
    except ValidationError as error:
        raise UserError(_sentence(error, config.hydra.runtime.choices if "hydra" in config else {})) from error
    _refuse_contradictions(config)
    _refuse_unmeasured(settings)
    if "hydra" in config:
        _refuse_passed_over(config)
    return settings


def _renamed(config: DictConfig) -> dict[str, str]:
    """Names of parts that call something else than what is called so in conf/: what they call instead."""
    found = {}
    for group, key in CALLING.items():
        target, known = OmegaConf.select(config, f"{group}.{key}"), _targets(group)
        if target and known.get(config.names[group], target) != target:
            found[group] = str(target)
    return found


@cache
def _targets(group: str) -> dict[str, str | None]:
    """What each of conf/'s choices in a group calls."""
    files = {path.stem: OmegaConf.load(path) for path in (REPOSITORY / "conf" / group).glob("*.yaml")}
    return {name: OmegaConf.select(file, CALLING[group]) for name, file in files.items()}


def _refuse_contradictions(config: DictConfig) -> None:
    """Raise UserError where the depth that is set, or isn't, makes another size that was asked for mean nothing, and
    where a function would have another's name."""
    words = typed(config.hydra.overrides.task) if "hydra" in config else []
    asked = {each.lstrip("+").partition("=")[0]: each for each in words}
    if config.depth is None and "width" in asked and "depth" not in asked:
        raise UserError(f"{asked['width']}: needs depth=N, the number of such layers; hidden_sizes=[…] names each")
    if (target := asked.get("act._target_")) and "names.act" not in asked:
        raise UserError(f"{target}: would be called {config.names.act}; give act={target.partition('=')[2]}")
    if config.depth is not None and (sizes := asked.get("hidden_sizes") or asked.get("model")):
        raise UserError(f"{sizes}: depth={config.depth} layers of {config.width} units stand in its place; give one")


def _refuse_passed_over(config: DictConfig) -> None:
    """Raise UserError where a choice has two names, relu and relu.yaml, or a file of the person's own that of one of
    ours, which Hydra takes in its place."""
    sources: Any = OmegaConf.to_container(config.hydra.runtime.config_sources)
    own = [each["path"] for each in sources if each["schema"] == "file" and each["provider"] != "main"]
    chosen = [*config.hydra.runtime.choices.items(), *(("diagnostics", name) for name in config.diagnostics)]
    listed = [("diagnostics", each[12:]) for each in typed(config.hydra.overrides.task) if each[:12] == "diagnostics="]
    for group, name in (*chosen, *listed):
        if (bare := re.sub(r"\.yaml\b", "", str(name))) != str(name):
            raise UserError(f"{group}={name}: choices have no ending; did you mean {group}={bare}?")
    for folder, (group, name) in product(own, chosen):
        file = Path(group, f"{name}.yaml")
        if Path(folder, file).is_file() and (REPOSITORY / ("" if group == "sweeps" else "conf") / file).is_file():
            raise UserError(f"{Path(folder, file)}: {group}={name} is actsweep's own; give yours another name")


def _refuse_unmeasured(settings: Settings) -> None:
    """Raise UserError where what shall say when to stop is never measured."""
    monitor = settings.monitor or ""
    if settings.loss == "mse" and monitor.endswith("accuracy"):
        raise UserError(f"monitor={monitor}: a regression has no accuracy; give {monitor.replace('accuracy', 'loss')}")
    unvalidated = {
        "data.val_size=0 holds nothing out": settings.data.val_size,
        "trainer.limit_val_batches=0 leaves no validation": settings.trainer.plain().get("limit_val_batches"),
    }
    for reason, size in unvalidated.items() if monitor.startswith("val_") else ():
        if size == 0:
            raise UserError(f"monitor={monitor}: {reason}; give monitor={monitor.replace('val', 'train')}")
    if settings.min_delta and settings.patience is None:
        raise UserError(f"min_delta={settings.min_delta}: patience=null never stops early; give patience=N")


def tried(settings: Settings) -> Settings:
    """The same, if its activation and its initialisation work. Raises UserError."""
    with uncollected():
        from actsweep.network import trying  # here, because it imports torch

    if settings.atlas:
        from actsweep.atlas import fitness

        fitness.refuse(settings.names.act, settings.act.plain())
        return settings
    try:
        trying.check(settings.act.plain(), settings.layer_sizes, settings.trainer.precision)
    except UserError as error:
        raise UserError(f"act={settings.names.act}: {error}") from error
    try:
        with exits_are_errors():
            settings.init.functions()
    except Exception as error:  # of whatever the initialisation names
        raise UserError(f"init={settings.names.init}, act={settings.names.act}: {error}") from error
    return settings.model_copy(update={"own_values": trying.own_values(settings)})


def with_content(settings: Settings) -> Settings:
    """A run's settings, which know the content of its data. Raises UserError where they can't be opened."""
    return settings.model_copy(update={"content": _dataset(settings.data.source.plain()).digest[:SHOWN]})


def read(config: DictConfig) -> Settings:
    """The checked settings of a composed configuration. Raises UserError with one line."""
    return with_content(tried(validated(config)))


register()
