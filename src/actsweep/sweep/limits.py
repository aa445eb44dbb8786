"""What a person asks of `hydra/launcher=sweep`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from actsweep.errors import UserError


def is_ours(launcher: Mapping[str, Any]) -> bool:
    return str(launcher.get("_target_", "")).endswith(".SweepLauncher")


@dataclass(frozen=True)
class Limits:
    """What a person asks of `hydra/launcher=sweep`; None: as much as there is, and as pays."""

    max_members: int | None = None
    devices: Sequence[int] | None = None
    processes: int | None = None
    save_every: float = 60

    @classmethod
    def asked(cls, given: Mapping[str, Any], is_away: bool = False) -> "Limits":
        """What stands in a configuration; `is_away`: for other machines. Raises UserError for what a person can get
        wrong."""
        names = [each.name for each in fields(cls)]
        if unknown := [name for name in given if name not in names]:
            raise UserError(f"hydra.launcher.{unknown[0]}: there is no such key; there are {', '.join(names)}")
        limits = cls(**given)
        for name in ("processes", "devices") if is_away else ():
            if given.get(name) is not None:
                raise UserError(f"hydra.launcher.{name}={given[name]}: is of this machine; max_members cuts the jobs")
        limits.check()
        return limits

    def check(self) -> None:
        """Raise UserError for what a person can get wrong."""
        meanings = {"max_members": "as many as fit", "processes": "one for each core, where that pays"}
        for name, meaning in meanings.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"hydra.launcher.{name}={value}: must be at least 1, or null: {meaning}")
        if type(self.save_every) not in {int, float} or not self.save_every >= 0:
            raise UserError(f"hydra.launcher.save_every={self.save_every}: must be a number of seconds, at least 0")
        if self.devices is None:
            return
        if isinstance(self.devices, str) or not isinstance(self.devices, Sequence):
            raise UserError(f"hydra.launcher.devices={self.devices}: must be a list, such as [0,1], or null")
        import torch  # here, because it takes seconds: most mistakes are answered without it

        present = torch.cuda.device_count()
        if not (self.devices and all(each in range(present) for each in self.devices)):
            there = f"torch finds {present} CUDA devices here" + (f", 0 to {present - 1}" if present else "")
            raise UserError(f"hydra.launcher.devices={list(self.devices)}: {there}; null takes all, or the CPU")

    def gpus(self) -> list[str]:
        """Those that share the work, as CUDA_VISIBLE_DEVICES names them."""
        import torch

        present = [str(number) for number in range(torch.cuda.device_count())]
        if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
            present = visible.split(",")[: len(present)]
        return present if self.devices is None else [present[number] for number in self.devices]
