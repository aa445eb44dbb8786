"""Names of run folders: readable, safe as file names, and different for different overrides.

Flow: **config** → data. Registered as OmegaConf resolvers, which conf/config.yaml uses.
"""

import hashlib
import re

from omegaconf import DictConfig, OmegaConf

from src import REPOSITORY, tuned

SHOWN_ANYWAY = {"act", "depth", "seed"}
OPERATIONAL = (
    *("hydra.", "hydra/", "sweeps", "figures", "report", "rerun", "plan"),
    *("data.source.root", "trainer.enable_progress_bar"),
)
LONGEST = 120


def run_name(act: str, depth: int, seed: object, overrides: list[str]) -> str:
    """`<act>-d<depth>-s<seed>`, then every other override by the last part of its key.

    >>> run_name("relu", 4, 0, ["act=relu", "seed=0", "optim.lr=0.1", "+sweeps=main"])
    'relu-d4-s0-lr=0.1'
    """
    parts = [f"{act}-d{depth}-s{seed}"]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key not in SHOWN_ANYWAY and not key.startswith(OPERATIONAL):
            parts.append(f"{key.rpartition('.')[2]}={value}")
    name = "-".join(parts)
    safe = re.sub(r"[^\w.=+,\[\]-]", "_", name)
    if safe == name and len(name) <= LONGEST:
        return name
    return f"{safe[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _run_name_of(root: DictConfig) -> str:
    depth = len(root.hidden_sizes) if root.depth is None else root.depth
    return run_name(root.hydra.runtime.choices.act, depth, root.seed, list(root.hydra.overrides.task))


def register() -> None:
    """Make `${run_name:}`, `${tuned_lr:}` and `${repository:}` known to OmegaConf."""
    OmegaConf.register_new_resolver("run_name", lambda *, _root_: _run_name_of(_root_), replace=True)
    OmegaConf.register_new_resolver(
        "tuned_lr", lambda *which, _root_: tuned.learning_rate(*which, _root_), replace=True
    )
    OmegaConf.register_new_resolver("repository", lambda: str(REPOSITORY), replace=True)
