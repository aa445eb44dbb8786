"""Names of run folders: readable, safe as file names, and different for different overrides.

Flow: **config** → data. Registered as OmegaConf resolvers, which conf/config.yaml uses.
"""

import hashlib
import re

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import REPOSITORY, tuned
from src.data import checked
from src.data.dataset import Dataset
from src.errors import UserError

SHOWN_ANYWAY = {"act", "depth", "seed"}
OPERATIONAL = (
    *("hydra.", "hydra/", "sweeps", "figures", "report", "rerun", "plan"),
    *("data.source.root", "trainer.enable_progress_bar", "trainer.max_epochs"),
)
LOCATION, SHOWN = "data.source.root=", 12  # characters of a digest
LONGEST = 120


def run_name(act: str, depth: int, seed: object, overrides: list[str], content: str = "") -> str:
    """`<act>-d<depth>-s<seed>`, then all other overrides by the last part of their key, then the content of data.

    >>> run_name("relu", 4, 0, ["act=relu", "seed=0", "optim.lr=0.1", "+sweeps=main"])
    'relu-d4-s0-lr=0.1'
    """
    parts = [f"{act}-d{depth}-s{seed}"]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key not in SHOWN_ANYWAY and not key.startswith(OPERATIONAL):
            parts.append(f"{key.rpartition('.')[2]}={value}")
    name = "-".join([*parts, content] if content else parts)
    safe = re.sub(r"[^\w.=+,\[\]-]", "_", name)
    if safe == name and len(name) <= LONGEST:
        return name
    return f"{safe[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _run_name_of(root: DictConfig) -> str:
    depth = len(root.hidden_sizes) if root.depth is None else root.depth
    overrides = list(root.hydra.overrides.task)
    content = _content_named(root) if any(each.lstrip("+").startswith(LOCATION) for each in overrides) else ""
    return run_name(root.hydra.runtime.choices.act, depth, root.seed, overrides, content)


def _dataset(root: DictConfig) -> Dataset:
    source = OmegaConf.to_container(root.data.source, resolve=True)
    assert isinstance(source, dict)
    return checked.opened({str(key): value for key, value in source.items()})


def _content_named(root: DictConfig) -> str:
    """What stands in names for where data lie: what they are, unless the data set's name says it."""
    try:
        dataset = _dataset(root)
    except (UserError, OmegaConfBaseException):
        return ""  # reading the settings says what is wrong
    return "" if dataset.published else f"content={dataset.digest[:SHOWN]}"


def register() -> None:
    """Make `${run_name:}`, `${content:}`, `${tuned_lr:}` and `${repository:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", lambda *, _root_: _run_name_of(_root_), replace=True)
    OmegaConf.register_new_resolver("content", lambda *, _root_: _dataset(_root_).digest[:SHOWN], replace=True)
    tuned_lr = lambda folder, act, init, *, _root_: tuned.learning_rate(folder, act, init, _root_)  # noqa: E731
    OmegaConf.register_new_resolver("tuned_lr", tuned_lr, replace=True)
    OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
