"""Train the jobs of one stack: the same numbers and the same files as train.train makes for each of them alone.

Flow: config → data → network → **training** → diagnostics → results.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from tqdm import tqdm

from actsweep.config import schema
from actsweep.data import datamodule
from actsweep.data.dataset import Examples
from actsweep.errors import exits_are_errors
from actsweep.network.build import build_network
from actsweep.network.losses import LOSSES, Sums, outputs_for
from actsweep.network.mlp import WORTH_SHARING
from actsweep.results import locks, run_folder
from actsweep.threads import all_threads, use_threads
from actsweep.training.checkpoints import WholeFiles, is_out_of_memory
from actsweep.training.progress import UNSEEN, ProgressBar, Watcher
from actsweep.training.stack import member_checkpoint
from actsweep.training.stack.diagnose import Diagnoses
from actsweep.training.stack.member import MOST_NUMBERS, Member, Records
from actsweep.training.stack.network import Stack, described
from actsweep.training.stack.steps import Feed, Optimiser, Steps, autocast

Job = tuple[schema.Settings, Path]
WRITERS, AT_ONCE = 16, 64  # threads; members whose files are written together
DROP_FROM = 4  # on a GPU a new stack needs a new graph: wait until a quarter of the members has ended


def open_data(settings: schema.Settings, device: torch.device) -> datamodule.DataModule:
    """The data set that all members share, on the device."""
    data = datamodule.open_data(settings.data, settings.seed)
    data.train, data.val, data.test = (
        Examples(part.inputs.to(device), part.labels.to(device)) for part in (data.train, data.val, data.test)
    )
    return data


class Training:
    """K jobs that differ in nothing but what grouping.py allows, from their first to their last epoch. Member k of
    `members` is row k of the stack. What one member's callbacks or files raise ends that member as failed."""

    def __init__(self, jobs: Sequence[Job], device: torch.device, watcher: Watcher = UNSEEN) -> None:
        self.started, self.jobs, self.watcher, self.first_epoch = time.perf_counter(), len(jobs), watcher, 0
        first = jobs[0][0]
        self.settings, self.precision = first, str(first.trainer.precision)
        self.data = open_data(first, device)
        sizes = self.data.dataset.input_size, outputs_for(first.loss, self.data.dataset)
        found = [
            Member(settings, folder, build_network(settings, *sizes, self.data.dataset.scale).to(device), self.data)
            for settings, folder in jobs
        ]
        self.members = sorted(found, key=lambda member: described(member.classifier))
        self.stack = Stack([member.classifier for member in self.members])
        self.losses, self.predict = LOSSES[first.loss].of_each, LOSSES[first.loss].predict
        self.optimiser = Optimiser(self.stack, [member.settings.optim.plain() for member in self.members])
        self.feed = Feed(self.data, self.data.train, [member.settings.seed for member in self.members])
        weights = sum(values.numel() for values in self.stack.parameters())
        work = weights * self.data.examples_per_step
        use_threads(first.threads or (all_threads() if work >= WORTH_SHARING else 1))
        self.records = Records(self.members)
        self.diagnoses = Diagnoses(first, self.data, self.stack, self.losses, self.records)
        self._prepare_steps()

    def _present(self) -> list[Member]:
        return [member for member in self.members if not member.ended]

    def _prepare_steps(self) -> None:
        device = self.stack.parameters()[0].device
        self.sums = Sums(len(self.stack), device, self.predict)
        clipping = self.settings.trainer.clipping
        watch = self.diagnoses.watch if self.diagnoses.watches else None
        self.steps = Steps(
            self.stack, self.optimiser, self.feed, self.losses, self.sums, self.precision, clipping, watch
        )
        if device.type == "cuda" and not watch:  # what each step finds can't be kept in a graph
            self.steps.capture()

    def each(self, do: Callable[[int, Member], None], rows: Iterable[int] | None = None) -> None:
        """Call for each row, of these or of all, whose member is still training; one for which it raises has failed."""
        for row in range(len(self.members)) if rows is None else rows:
            if (member := self.members[row]).ended:
                continue
            try:
                with exits_are_errors():
                    do(row, member)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                run_folder.write_failure(member.settings, member.folder, error)
                self._end(member)

    def _end(self, member: Member) -> None:
        """Of a member that has left its result."""
        member.ended = True
        if not member.unseen:
            locks.release(member.folder)
            self.watcher.ended(member.folder)

    def resume(self) -> None:
        """From the members' last.ckpt, which are all of the same epoch."""
        epochs, steps, seconds = member_checkpoint.load(self._present(), self.stack, self.diagnoses.diagnostics)
        self.first_epoch = epochs
        self.optimiser.steps.fill_(steps)
        self.started -= seconds

    def run(self, save: Callable[["Training", int], None] | None = None) -> None:
        """From the first epoch, or that of a checkpoint, to the last member's end. `save` is given this and the number
        of completed epochs after each."""
        self.each(lambda _, member: member.open())
        if not self.first_epoch:
            self.diagnoses.start()
        epochs = self.settings.trainer.max_epochs
        began = time.perf_counter()
        is_hidden = not (self.settings.trainer.enable_progress_bar and ProgressBar.shown)
        with tqdm(
            total=epochs, initial=self.first_epoch, desc="stack", unit="epoch", leave=False, disable=is_hidden or None
        ) as bar:  # None: where the output is no terminal
            for epoch in range(self.first_epoch, epochs):
                present = self._present()
                if not present:
                    return
                bar.set_description(f"stack of {len(present)} runs", refresh=False)
                self.epoch(epoch)
                self._tell(epoch + 1, began)
                self.drop_the_ended()
                if save and self._present():
                    save(self, epoch + 1)
                bar.update()

    def _tell(self, epochs: int, began: float) -> None:
        """Say how long the runs that are left need."""
        per_epoch = (time.perf_counter() - began) / (epochs - self.first_epoch)
        most = self.settings.trainer.max_epochs
        runs = len(self._present()) * (1 - self.first_epoch / most)
        self.watcher.reached(runs, per_epoch * (most - epochs), per_epoch * most / self.jobs)

    def epoch(self, epoch: int) -> None:
        """Every member's optimiser steps, validation, measurements, and the end of those that end."""
        for member in self._present():
            member.current_epoch = epoch
        self.step_through(epoch)
        means = self.means()
        for phase in ("val", "train") if self.settings.validates else ("train",):
            found = [{name: value for name, value in row.items() if name.startswith(phase)} for row in means]
            self.records.keep(lambda member, own, _: member.log(own), found, epoch, (epoch + 1) * self.feed.steps)
        ends = {row: member.end_epoch(means[row]) for row, member in enumerate(self.members) if not member.ended}
        self.stack.remember([row for row, (is_better, _) in ends.items() if is_better])
        ended = [row for row, (_, is_last) in ends.items() if is_last]
        self.diagnoses.end_epoch(epoch + 1, self.optimiser.shrinking(self.feed.size))
        for start in range(0, len(ended), AT_ONCE):
            self.finish(ended[start : start + AT_ONCE])
        if self.records.numbers > MOST_NUMBERS:
            self.write_records()

    def step_through(self, epoch: int) -> None:
        """The optimiser steps of an epoch."""
        self.feed.load(epoch)
        self.sums.clear()
        for done in range(epoch * self.feed.steps, (epoch + 1) * self.feed.steps):
            self.diagnoses.before_step(done)
            self.steps()
            for member in self._present():
                member.global_step = done + 1
            self.diagnoses.after_step(done + 1)

    def write_records(self) -> None:
        """Bring the members' files up to date."""
        self.each(lambda _, member: member.write())
        self.records.numbers = 0

    def finish(self, rows: Sequence[int]) -> None:
        """End these members. Their files are put on disk by threads: the disk takes many at once in the time of one."""
        written: dict[int, Future[None]] = {}

        def finish(row: int, member: Member) -> None:
            if do := self._finished(row, member):
                written[row] = threads.submit(do)

        def end(row: int, member: Member) -> None:
            if row in written:
                written[row].result()
            self._end(member)

        with ThreadPoolExecutor(WRITERS) as threads:
            self.each(finish, rows)
            self.each(end, rows)

    def _finished(self, row: int, member: Member) -> Callable[[], None] | None:
        """What is left to do when a member has ended and was tested: to write its checkpoints and its result."""
        if member.unseen:
            return None
        share = (time.perf_counter() - self.started) / self.jobs
        last, best = self.stack.state_dict(row), self.stack.state_dict(row, best=True)
        kept = member_checkpoint.kept_for(self.stack, row, self.optimiser, self.diagnoses.diagnostics)
        self.stack.release(row)  # which trains on until the stack drops it
        member.write()
        member.close()
        checkpoints = member_checkpoint.both(member, last, best, kept, share)
        result = member.result(last, best, share)

        def write() -> None:
            for path, checkpoint in checkpoints.items():
                WholeFiles().save_checkpoint(checkpoint, path)
            run_folder.write_result(member.folder, result)

        return write

    @torch.no_grad()
    def means(self) -> list[dict[str, float]]:
        """Each member's mean losses and accuracies of the epoch, in one transfer from the device."""
        sums = {"train": (self.sums, self.feed.steps * self.feed.size)}
        if self.settings.validates:
            sums["val"] = self._validated(), len(self.data.val)
        means = {}
        for phase, (found, examples) in sums.items():
            means[f"{phase}_loss"] = found.loss / examples
            if self.stack.members[0].objective.classifies:
                means[f"{phase}_accuracy"] = found.correct.double() / examples
        return [dict(zip(means, row, strict=True)) for row in torch.stack([*means.values()], dim=1).tolist()]

    def _validated(self) -> Sums:
        found = Sums(len(self.stack), self.sums.loss.device, self.predict)
        for inputs, labels in self.data.val_dataloader():
            labels = labels.expand(len(self.stack), -1)
            with autocast(inputs.device, self.precision):
                outputs = self.stack.forward(inputs, "running")
                found.add(self.losses(outputs, labels), outputs, labels)
        return found

    def drop_the_ended(self) -> None:
        """Take members that have ended out of the stack."""
        rows = [row for row, member in enumerate(self.members) if not member.ended]
        gone = len(self.members) - len(rows)
        if not rows or gone == 0 or (self.steps.graph and gone * DROP_FROM < len(self.members)):
            return
        self.stack.keep(rows)
        self.optimiser.keep(rows)
        self.diagnoses.keep(rows)
        self.members[:] = [self.members[row] for row in rows]
        self.feed.choose([member.settings.seed for member in self.members])
        self._prepare_steps()
