"""The schedule that all diagnostics share, and how they declare and publish what they measure.

Times are counted in completed epochs: 0 is the initialisation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import pytorch_lightning as L
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from actsweep.diagnostics.bases import Callback
from actsweep.diagnostics.observation import Layer, double, observe
from actsweep.diagnostics.watch import Watch, from_last_step, in_order, is_sharded
from actsweep.errors import UserError


@dataclass(frozen=True)
class Quantity:
    """What a number means, so that tables, TensorBoard and reports can show it without knowing the diagnostic."""

    name: str
    unit: str
    scale: Literal["linear", "log"]
    definition: str
    kind: Literal["scalar", "histogram"] = "scalar"


_latest: WeakKeyDictionary[L.LightningModule, tuple[Any, list[Layer]]] = WeakKeyDictionary()


def offers_probe(trainer: L.Trainer, module: L.LightningModule) -> bool:
    """Whether there is a fixed batch, the datamodule's `probe(size)`, and a pure loss of it, `probe_loss(batch)`."""
    probe = getattr(trainer.datamodule, "probe", None)  # type: ignore[attr-defined]
    return callable(probe) and callable(getattr(module, "probe_loss", None))


def probe_loss(module: L.LightningModule, batch: Any) -> Tensor:
    """The loss of a fixed batch, by a function of the module that changes nothing."""
    loss: Tensor = module.probe_loss(batch)  # type: ignore[operator]
    return loss


def loss_of(outputs: Any) -> Tensor | None:
    """The loss among what a training step returned: where optimisation is manual, that may be anything."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss if isinstance(loss, Tensor) and loss.is_floating_point() else None


def check_counts(owner: object, least: int = 1, **given: int | None) -> None:
    """Raise UserError where an argument of a callback is no whole number, or a smaller one."""
    for name, value in given.items():
        if value is not None and not (isinstance(value, Integral) and type(value) is not bool and value >= least):
            raise UserError(f"{type(owner).__name__}.{name}={value}: must be a whole number, at least {least}")


class Diagnostic(Callback):
    """Measures every layer: at initialisation, then every n epochs, or every n optimiser steps.

    A subclass lists its `quantities` and says in `measure` how they follow from a Layer. Where module and datamodule
    offer a probe, that is looked at between steps; of any other module, what a step of its own shows: the first (epoch
    0), then each n-th epoch's last whole one, or each n-th. All diagnostics of a trainer share what is seen, and none
    changes what training does. Values go to every logger of the trainer as `quantity/layer`.
    """

    quantities: ClassVar[tuple[Quantity, ...]]

    def __init__(self, every_n_epochs: int = 1, every_n_steps: int | None = None, probe_size: int = 1024) -> None:
        check_counts(self, every_n_epochs=every_n_epochs, every_n_steps=every_n_steps, probe_size=probe_size)
        if (every_n_steps and every_n_epochs not in {None, 1}) or every_n_epochs is every_n_steps is None:
            given = f"every_n_epochs={every_n_epochs}, every_n_steps={every_n_steps}"
            raise UserError(f"{type(self).__name__}: {given}: needs one of the two")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.probe_size = probe_size
        self._batch: Any = None
        self._watch: Watch | None = None
        self._epochs: list[int] = []  # under which the watched step is recorded
        self._begun: int | None = None  # steps done when the last batch began
        self._watched: int | None = None  # steps done when the last watched step began
        self._said: set[str] = set()  # what the log has been told

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps its state: with a schedule of its own, it may stand beside another."""
        schedule = {"every_n_epochs": self.every_n_epochs, "every_n_steps": self.every_n_steps}
        usual = schedule == {"every_n_epochs": 1, "every_n_steps": None}
        return type(self).__qualname__ if usual else self._generate_state_key(**schedule)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """In older checkpoints its state is under its class's name, whatever the schedule."""
        states, name = checkpoint.get("callbacks") or {}, type(self).__qualname__
        if name in states and all(each.state_key != name for each in trainer.callbacks):  # type: ignore[attr-defined]
            states.setdefault(self.state_key, states[name])

    def measure(self, layer: Layer) -> dict[str, Tensor]:
        """Values of shape (K,) by quantity name, of those scalar quantities that this layer has."""
        return {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if not offers_probe(trainer, pl_module):
            self.watch(trainer, pl_module)
            return
        self._begun = trainer.global_step
        if self._batch is None:
            self._batch = trainer.datamodule.probe(self.probe_size)  # type: ignore[attr-defined]
            if trainer.global_step == 0:
                self.record(trainer, self.layers(trainer, pl_module), 0)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if self._watch:
            self._watch.before_step(optimizer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._watch:
            if self._watch.is_over(trainer):
                self.end_watch(trainer)
        elif self._batch is not None and passes(self.every_n_steps, self._begun, trainer.global_step):
            self.record(trainer, self.layers(trainer, pl_module), trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if self._watch:
            self.end_watch(trainer)
        if trainer.global_step == 0 or self._batch is None:
            return  # an untrained network: measured as epoch 0 already
        if not self.every_n_steps and epoch % self.every_n_epochs == 0:
            self.record(trainer, self.layers(trainer, pl_module), epoch)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException | None = None
    ) -> None:
        if self._watch:
            self._watch.close()
        self._watch = self._batch = self._begun = self._watched = None
        _latest.pop(pl_module, None)

    on_fit_end = on_exception

    def layers(self, trainer: L.Trainer, pl_module: L.LightningModule) -> list[Layer]:
        """What the fixed batch shows now, from the pass that another diagnostic just made where there is one."""
        # The step, because fused optimisers don't count as in-place changes of a parameter; both, because weights may
        # be loaded between two fits.
        versions = [parameter._version for parameter in pl_module.parameters()]
        state = self.probe_size, trainer.global_step, versions
        if pl_module not in _latest or _latest[pl_module][0] != state:
            _latest[pl_module] = state, observe(pl_module, lambda: probe_loss(pl_module, self._batch))
        return _latest[pl_module][1]

    def record(self, trainer: L.Trainer, layers: list[Layer], epoch: int, step: int | None = None) -> None:
        """Measure layers and publish; `step`: of which they are, if not the present one."""
        if trainer.is_global_zero:
            publish(trainer, self.measured(layers), epoch, step)

    def measured(self, layers: Sequence[Layer]) -> dict[str, dict[str, Tensor]]:
        """Layer → quantity → (K,) values. Raises UserError where `measure` gives anything else."""
        found = {layer.name: self.measure(layer) for layer in layers}
        for layer in layers:
            given, wanted = found[layer.name], (len(layer.weight),)
            for name, each in given.items() if isinstance(given, dict) else [("what is measured", given)]:
                what = f"{each.dtype} of shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
                if not (isinstance(each, Tensor) and each.shape == wanted and not each.is_complex()):
                    raise UserError(
                        f"{type(self).__name__}.measure gives {what} as {name} of {layer.name}: must give, by name, "
                        f"real tensors of shape {wanted}, a number for each network; {{}} where a layer has none"
                    )
        return found

    def watch(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Watch the step that begins, if it is due."""
        if is_sharded(trainer, module):
            return
        if self._watch is None and trainer.is_global_zero and (epochs := self._due(trainer, module)):
            self._epochs, self._watched, self._watch = epochs, trainer.global_step, Watch.shared(trainer, module)
            self.begin_watch(self._watch)

    def begin_watch(self, watch: Watch) -> None:
        watch.look()

    def end_watch(self, trainer: L.Trainer) -> None:
        """Record what the watched step has shown."""
        watch, self._watch = self._watch, None
        assert watch is not None
        watch.close()
        for epoch in self._epochs:
            self.record_watched(trainer, watch, epoch)

    def record_watched(self, trainer: L.Trainer, watch: Watch, epoch: int) -> None:
        layers = {layer.name: layer for layer in watch.layers if layer.weight.numel()}
        self.record(trainer, [layers[name] for name in in_order(layers, watch.seen)], epoch, watch.step)

    def real(self, values: Tensor | None, what: str) -> Tensor | None:
        """The values; None where they are complex, and the log says once that they are left out."""
        if values is None or not values.is_complex():
            return values
        self.say_once(f"{what} is left out: complex numbers")
        return None

    def can_compare(self, values: Tensor) -> bool:
        """Whether (K, N, H) are of several examples; the log says once that what compares these is left out if not."""
        if values.shape[1] == 1:
            self.say_once("what compares examples is left out where there is one")
        return values.shape[1] > 1

    def say_once(self, line: str) -> None:
        if line not in self._said:
            rank_zero_info(f"{type(self).__name__}: {line}")
        self._said.add(line)

    def _due(self, trainer: L.Trainer, module: L.LightningModule) -> list[int]:
        """Under which epochs a step that begins with this batch is recorded; none if it isn't, or was."""
        done, before, every = trainer.global_step, self._begun, self.every_n_steps
        # A hook's batch_idx is the batch before's where the step takes the loader.
        place = from_last_step(trainer, module, trainer.fit_loop.batch_idx, 1 if before is None else done - before)
        if every and place > 0:
            return []  # the next step counts in its place
        self._begun = done
        if every and passes(every, before, done):  # a batch may have several steps
            done = done // every * every
        found = self.recorded_under(done, trainer.current_epoch, is_last=place == 0)
        return found if self._watched != trainer.global_step else [epoch for epoch in found if epoch and not every]

    def recorded_under(self, done: int, epoch: int, is_last: bool) -> list[int]:
        """Under which epoch numbers the step after `done` steps and `epoch` whole epochs is recorded; none if it isn't.

        `is_last`: it is its epoch's last.
        """
        if self.every_n_steps:
            return [epoch] if done % self.every_n_steps == 0 else []
        return [0] * (done == 0) + [epoch + 1] * (is_last and (epoch + 1) % self.every_n_epochs == 0)


def passes(every: int | None, before: int | None, now: int) -> bool:
    """Whether a multiple of `every` lies after `before` and not after `now`."""
    return every is not None and before is not None and before // every < now // every


class Receiver:
    """What takes more of the diagnostics than Lightning's loggers do: a logger or callback of the trainer's that
    derives from this has those of `log_layers(metrics, epoch, step)`, `log_histograms(found, epoch, step)`,
    `log_table(name, columns)` and `log_image(tag, pixels)` that it has a place for. By their names alone they would be
    taken for somebody else's methods: WandbLogger has a log_table too."""


def receives(place: object, method: str) -> bool:
    """Whether a logger or callback is a receiver with that method."""
    return isinstance(place, Receiver) and hasattr(place, method)


def receiving(trainer: L.Trainer, method: str) -> list[Callable[..., None]]:
    """That method of each of a trainer's loggers and callbacks that has it as a receiver."""
    places = (*trainer.loggers, *getattr(trainer, "callbacks", ()))  # a member of a stack has none
    return [getattr(place, method) for place in places if receives(place, method)]


def publish_table(trainer: L.Trainer, name: str, columns: dict[str, Any]) -> None:
    """Send rows, as values by column, to those of the trainer's loggers that keep tables."""
    for log_table in receiving(trainer, "log_table"):
        log_table(name, columns)


def keeps_tables(trainer: L.Trainer, owner: object) -> bool:
    """Whether a logger of the trainer's does; says so where none does."""
    if not (found := bool(receiving(trainer, "log_table"))):
        rank_zero_info(
            f"{type(owner).__name__} writes nothing: no logger keeps tables, as actsweep.callbacks.Tables does"
        )
    return found


def by_network(measured: dict[str, dict[str, Tensor]]) -> list[dict[str, float]]:
    """Layer → quantity → (K,) values as each network's values by `quantity/layer`: one transfer from the device."""
    names = [f"{quantity}/{layer}" for layer, values in measured.items() for quantity in values]
    values = [double(each.detach()) for quantities in measured.values() for each in quantities.values()]
    return [dict(zip(names, row, strict=True)) for row in torch.stack(values, dim=1).tolist()] if values else []


def publish(trainer: L.Trainer, measured: dict[str, dict[str, Tensor]], epoch: int, step: int | None = None) -> None:
    """Send layer → quantity → (1,) values to the trainer's loggers."""
    for metrics in by_network(measured):
        send_layers(trainer, metrics, epoch, step)


def send_layers(trainer: L.Trainer, metrics: dict[str, float], epoch: int, step: int | None = None) -> None:
    """Send one network's values by `quantity/layer` to the trainer's loggers, and to callbacks that take them."""
    step = trainer.global_step if step is None else step
    for log_layers in receiving(trainer, "log_layers"):
        log_layers(metrics, epoch, step)
    for logger in trainer.loggers:
        if not receives(logger, "log_layers"):
            logger.log_metrics(metrics, step)
