"""Units that can no longer learn (dead) and units that hardly can (saturated).

A unit is dead if the activation's slope is exactly zero on every example; that catches a saturated tanh as well as a
ReLU that is always off. The tutorials' own count, "output exactly zero on every training image", is kept beside it
under its own name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as L
import torch
from torch import Tensor, nn

from actsweep.diagnostics.diagnostic import Diagnostic, Quantity, publish
from actsweep.diagnostics.elementwise import is_elementwise, slope
from actsweep.diagnostics.observation import Layer, as_units, find_taps, recorded, undisturbed

SATURATED_BELOW = 0.05  # of the largest slope: |tanh| > 0.975, sigmoid outside ±4.4, ReLU where it is off


def dead_units(slopes: Tensor) -> Tensor:
    """Which units have zero slope, or of outputs: are zero, on every example: (K, N, H) → (K, H)."""
    return slopes.abs().amax(dim=1) == 0


def saturated_fraction(slopes: Tensor, max_slope: Tensor) -> Tensor:
    """Fraction of (example, unit) pairs whose |slope| is at most 5 % of the largest: (K, N, H), (K,) → (K,)."""
    each = slopes.abs().flatten(1)
    torch.le(each, SATURATED_BELOW * max_slope[:, None], out=each)  # booleans take torch four times as long on a CPU
    return each.mean(dim=1, dtype=torch.float32)


def count_over(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Per hidden layer: units that are dead, and units whose output is zero, on all examples of all batches.

    Where units mix, none is counted as dead: they have no slope of their own. A layer is done as soon as each
    of its units has shown itself alive.
    """
    taps = [tap for tap in find_taps(module) if tap.activation is not None]
    left = {tap.name: tap.activation for tap in taps if tap.activation is not None}  # with units that may be dead
    found: dict[str, dict[str, Tensor]] = {}
    with undisturbed(module), recorded(taps) as seen:
        for inputs, _ in batches:
            module(inputs)
            for name, (pre, post) in seen.items():
                if (activation := left.get(name)) is None:
                    continue
                assert post is not None
                of = {"dead_units": slope(pre, post)} if is_elementwise(activation, pre) else {}
                now = {count: dead_units(as_units(values)) for count, values in (of | {"dead_outputs": post}).items()}
                found[name] = {count: units & found.get(name, {}).get(count, units) for count, units in now.items()}
                if not any(units.any() for units in found[name].values()):
                    del left[name]
            if not left:
                break
    return {name: {count: units.sum(1) for count, units in counts.items()} for name, counts in found.items()}


class DeadUnits(Diagnostic):
    """Dead and saturated units per hidden layer: fractions on the probe, counts over the whole training split (at
    initialisation and, on the weights that are tested, at the start of a test)."""

    quantities = (
        Quantity("dead_fraction", "1", "linear", "fraction of units with zero slope on every probe image"),
        Quantity("saturated_fraction", "1", "linear", "fraction of (image, unit) with |slope| ≤ 5 % of its maximum"),
        Quantity("units_died", "units", "linear", "units dead on the probe that were not at the measurement before"),
        Quantity("units_revived", "units", "linear", "units not dead on the probe that were at the measurement before"),
        Quantity("dead_units", "units", "linear", "units with zero slope on all training images (start and end)"),
        Quantity("dead_outputs", "units", "linear", "units with output exactly 0 on all training images (start, end)"),
    )

    _were_dead: Mapping[str, Tensor] = {}

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        if layer.slope is None or layer.max_slope is None:
            return {}
        saturated = {"saturated_fraction": saturated_fraction(layer.slope, layer.max_slope)}
        if not self.can_compare(layer.slope):
            return saturated
        dead = dead_units(layer.slope)
        measured = {"dead_fraction": dead.float().mean(dim=1)} | saturated
        before = self._were_dead.get(layer.name)
        if before is not None and before.shape == dead.shape:  # a layer's width may change
            before = before.to(dead.device)  # a resumed run's comes from the file
            measured |= {"units_died": (dead & ~before).sum(dim=1), "units_revived": (before & ~dead).sum(dim=1)}
        self._were_dead = {**self._were_dead, layer.name: dead}
        return measured

    def keep(self, rows: Sequence[int]) -> None:
        """Follow a stack of networks that has dropped all but these."""
        self._were_dead = {name: dead[list(rows)] for name, dead in self._were_dead.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"were_dead": self._were_dead}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._were_dead = state_dict["were_dead"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self._were_dead = {}
            self.count(trainer, pl_module, epoch=0)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.count(trainer, pl_module, getattr(pl_module, "loaded_epoch", trainer.current_epoch))

    def count(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Count over the whole training split, where the datamodule offers `all_training_batches`, and publish."""
        batches = getattr(trainer.datamodule, "all_training_batches", None)  # type: ignore[attr-defined]
        if trainer.is_global_zero and callable(batches):
            with torch.inference_mode(False):
                publish(trainer, count_over(pl_module, batches()), epoch)
