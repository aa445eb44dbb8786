"""The project's diagnostics on a whole stack: the same functions and the same schedule, each network one row."""

from collections.abc import Sequence

from torch import Tensor

from actsweep.config import schema
from actsweep.data.datamodule import DataModule
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.diagnostics.histograms import ActivationHistogram
from actsweep.diagnostics.observation import Layer
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio, update_ratio
from actsweep.training.stack.network import Losses, Stack
from actsweep.training.stack.records import Records


class Diagnoses:
    """What Diagnostic's hooks do in a lone run; all that is found goes into `records`."""

    def __init__(
        self, settings: schema.Settings, data: DataModule, stack: Stack, losses: Losses, records: Records
    ) -> None:  # fmt: skip
        parts = [part.make() for part in settings.diagnostics.values()]
        self.diagnostics: list[Diagnostic] = [part for part in parts if isinstance(part, Diagnostic)]
        self.data, self.stack, self.losses, self.records = data, stack, losses, records
        self.steps_per_epoch = data.sampling.steps(len(data.train))
        self.before: dict[int, list[Tensor]] = {}  # weights before a step, by place in `diagnostics`
        self.seen: dict[int, list[Layer]] = {}  # by probe size, of the present weights

    def start(self) -> None:
        self._record_all(0, 0, self.diagnostics)

    def before_step(self, done: int) -> None:
        """`done`: optimiser steps so far."""
        for place, diagnostic in enumerate(self.diagnostics):
            if isinstance(diagnostic, UpdateRatio) and self._labels(diagnostic, done):
                self.before[place] = [weight.clone() for weight in self.stack.weights()]

    def after_step(self, done: int) -> None:
        for place, diagnostic in enumerate(self.diagnostics):
            if isinstance(diagnostic, UpdateRatio) and place in self.before:
                before = self.before.pop(place)
                ratios = {
                    f"layer_{number:02d}": {"update_ratio": update_ratio(*weights)}
                    for number, weights in enumerate(zip(before, self.stack.weights(), strict=True), start=1)
                }
                for epoch in self._labels(diagnostic, done - 1):
                    self.records.layers(ratios, epoch, done)
        asked = [each for each in self.diagnostics if each.every_n_steps and done % each.every_n_steps == 0]
        self._record_all((done - 1) // self.steps_per_epoch, done, asked)

    def end_epoch(self, epoch: int) -> None:
        """`epoch`: completed epochs."""
        due = [each for each in self.diagnostics if not each.every_n_steps and epoch % each.every_n_epochs == 0]
        self._record_all(epoch, epoch * self.steps_per_epoch, due)

    def keep(self, rows: Sequence[int]) -> None:
        """Follow a stack that has dropped all members but these."""
        for diagnostic in self.diagnostics:
            if isinstance(diagnostic, DeadUnits):
                diagnostic.keep(rows)

    def _labels(self, diagnostic: UpdateRatio, done: int) -> list[int]:
        """Under which epochs the step after `done` steps is recorded."""
        epoch, step = divmod(done, self.steps_per_epoch)
        return diagnostic.recorded_under(done, epoch, is_last=step == self.steps_per_epoch - 1)

    def _record_all(self, epoch: int, step: int, due: Sequence[Diagnostic]) -> None:
        self.seen = {}
        for diagnostic in due:
            if isinstance(diagnostic, UpdateRatio):
                continue
            layers = self._layers(diagnostic.probe_size)
            if isinstance(diagnostic, ActivationHistogram):
                self.records.histograms(diagnostic.count(layers), epoch, step)
            else:
                self.records.layers({layer.name: diagnostic.measure(layer) for layer in layers}, epoch, step)
        self.seen = {}

    def _layers(self, size: int) -> list[Layer]:
        if size not in self.seen:
            self.seen[size] = self.stack.observe(*self.data.probe(size), self.losses)
        return self.seen[size]
