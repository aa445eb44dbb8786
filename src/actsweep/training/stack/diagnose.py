"""The project's diagnostics on a whole stack: the same functions and the same schedule, each network one row."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from actsweep.config import schema
from actsweep.data.datamodule import DataModule
from actsweep.diagnostics.diagnostic import Diagnostic, by_network, publish_table, send_layers
from actsweep.diagnostics.gradients import norm_of_rows
from actsweep.diagnostics.histograms import ActivationHistogram, send_histograms
from actsweep.diagnostics.jacobian import Jacobian
from actsweep.diagnostics.steps import EveryStep, columns_of
from actsweep.diagnostics.units import DeadUnits
from actsweep.diagnostics.updates import UpdateRatio, update_ratio
from actsweep.training.stack.member import Records
from actsweep.training.stack.network import Losses, Stack


class Diagnoses:
    """What Diagnostic's hooks do in a lone run; all that is found goes into `records`."""

    def __init__(
        self, settings: schema.Settings, data: DataModule, stack: Stack, losses: Losses, records: Records
    ) -> None:  # fmt: skip
        parts = [part.make() for part in settings.diagnostics.values()]
        self.diagnostics: list[Diagnostic] = [part for part in parts if isinstance(part, Diagnostic)]
        self.watches = any(isinstance(part, EveryStep) for part in parts)
        self.steps: list[Tensor] = []  # (K, numbers) of each step of the epoch
        self.data, self.stack, self.losses, self.records = data, stack, losses, records
        self.steps_per_epoch = data.sampling.steps(len(data.train))
        self.labels: list[int] = []  # under which epochs the step's updates are recorded
        self.before: list[Tensor] = []  # the weights before it, if they are

    def start(self) -> None:
        self._record_all(0, 0, self.diagnostics)

    def before_step(self, done: int) -> None:
        """`done`: optimiser steps so far."""
        epoch, step = divmod(done, self.steps_per_epoch)
        is_last = step == self.steps_per_epoch - 1
        updates = [each for each in self.diagnostics if isinstance(each, UpdateRatio)]
        self.labels = [label for each in updates for label in each.recorded_under(done, epoch, is_last)]
        self.before = [weight.clone() for weight in self.stack.weights()] if self.labels else []

    def after_step(self, done: int) -> None:
        for label in self.labels:
            weights = zip(self.stack.names, self.before, self.stack.weights(), strict=True)
            ratios = {name: {"update_ratio": update_ratio(before, after)} for name, before, after in weights}
            self.records.keep(send_layers, by_network(ratios), label, done)
        asked = [each for each in self.diagnostics if each.every_n_steps and done % each.every_n_steps == 0]
        self._record_all((done - 1) // self.steps_per_epoch, done, asked)

    def watch(self, losses: Tensor, gradients: Sequence[Tensor]) -> None:
        """Note of a step what EveryStep does: before clipping, and before the weights change."""
        blocks = zip(gradients, self.stack.blocks.values(), strict=True)
        sums = [each.flatten(1).abs().sum(dim=1) for each, block in blocks if block.decays]
        norms = [norm_of_rows(each.flatten(1)) for each in self.stack.weights()]
        self.steps.append(torch.stack([losses.detach(), *sums, *norms], dim=1))

    def _end_steps(self, done: int, decays: Tensor) -> None:
        rows, self.steps = torch.stack(self.steps, dim=1).double().cpu(), []
        layers = {name: each.shape[1:] for name, each in zip(self.stack.names, self.stack.weights(), strict=True)}
        decaying = decays.double().cpu().unsqueeze(1).expand(-1, len(layers))
        steps = range(done - rows.shape[1], done)
        columns = [columns_of(row, layers, own, steps) for row, own in zip(rows, decaying, strict=True)]
        self.records.keep(lambda member, own, _: publish_table(member, "steps", own), columns, 0, 0, len(steps))

    def end_epoch(self, epoch: int, decays: Tensor) -> None:
        """`epoch`: completed epochs; `decays`: (K,)."""
        if self.watches:
            self._end_steps(epoch * self.steps_per_epoch, decays)
        due = [each for each in self.diagnostics if not each.every_n_steps and epoch % each.every_n_epochs == 0]
        self._record_all(epoch, epoch * self.steps_per_epoch, due)

    def keep(self, rows: Sequence[int]) -> None:
        """Follow a stack that has dropped all members but these."""
        for diagnostic in self.diagnostics:
            if isinstance(diagnostic, DeadUnits):
                diagnostic.keep(rows)

    def _record_all(self, epoch: int, step: int, due: Sequence[Diagnostic]) -> None:
        seen = cache(lambda size: self.stack.observe(*self.data.probe(size), self.losses))
        for diagnostic in due:
            if isinstance(diagnostic, UpdateRatio):
                continue
            size, is_differentiated = diagnostic.probe_size, isinstance(diagnostic, Jacobian)
            layers = self.stack.differentiated(self.data.probe(size)[0]) if is_differentiated else seen(size)
            if isinstance(diagnostic, ActivationHistogram):
                self.records.keep(send_histograms, diagnostic.by_network(layers), epoch, step, 2 * diagnostic.bins)
            else:
                self.records.keep(send_layers, by_network(diagnostic.measured(layers)), epoch, step)
