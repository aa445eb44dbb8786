"""One optimiser step of somebody's LightningModule, watched from outside.

Activations are what its own `training_step` computes, gradients what its own backward passes leave for each optimiser,
updates what each optimiser does. Nothing runs an extra time; hooks exist only during that step.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sized
from contextlib import ExitStack
from functools import cached_property, partial, update_wrapper
from typing import Any
from weakref import WeakKeyDictionary

import pytorch_lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import BatchSampler, DataLoader

from actsweep.diagnostics import table
from actsweep.diagnostics.observation import Layer, Namer, assembled, is_compiled, seen_in, weights_of
from actsweep.diagnostics.sightings import Sighting
from actsweep.diagnostics.trace import Trace

SHARDED = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"}  # no process has a layer's whole weights
_open: WeakKeyDictionary[L.LightningModule, "Watch"] = WeakKeyDictionary()


def is_sharded(trainer: L.Trainer, module: nn.Module) -> bool:
    """Whether no process has the layers' whole weights, so that nothing is watched; says so once."""
    strategy = type(trainer.strategy).__name__
    if found := strategy in SHARDED:
        table.tell(module, f"{type(module).__name__}: nothing is watched: {strategy} shards the weights")
    return found


class WatchedStep:
    """A module's training step as long as it is watched; a copy of the module that is made meanwhile, or a file of it,
    has the step itself."""

    def __init__(self, watch: "Watch", step: Callable[..., Any]) -> None:
        self.watch, self.step = watch, step
        update_wrapper(self, step)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.watch.run(self.step, arguments, named)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (self.step,)


class Watch:
    """What one optimiser step shows. All diagnostics that are due at it share it."""

    def __init__(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.trainer, self.module, self.step = trainer, module, trainer.global_step
        self.weights = weights_of(module)
        self.is_compiled = is_compiled(module)
        self.gradients: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] = {}
        self.updated: dict[str, tuple[Tensor, Tensor]] = {}  # weights before and after the step
        self.seen: dict[str, list[Sighting]] = defaultdict(list)
        self._name_of = Namer(module, self.weights)
        self._undo = ExitStack()
        self._stop_looking = ExitStack()
        self._stepped: set[int] = set()
        self._looks = False

    @classmethod
    def shared(cls, trainer: L.Trainer, module: L.LightningModule) -> "Watch":
        """The one of this step."""
        found = _open.get(module)
        if found is None or found.step != trainer.global_step:
            found = _open[module] = cls(trainer, module)
        return found

    def look(self) -> None:
        """Watch activations and gradients."""
        if not self._looks and not self.is_compiled:
            own = vars(self.module)
            before = {"training_step": own["training_step"]} if "training_step" in own else {}
            own["training_step"] = WatchedStep(self, self.module.training_step)
            self._stop_looking.callback(lambda: (own.pop("training_step"), own.update(before)))
        self._looks = True
        self._listen()

    def keep_updates(self) -> None:
        """Watch the optimisers."""
        self._listen()
        for optimizer in self.trainer.optimizers:
            self._hook(optimizer, "register_step_post_hook", self._after_step, "updates")

    def _listen(self) -> None:
        """Where optimisation is manual, a step may be taken without Lightning's hook."""
        if not self.module.automatic_optimization:
            for optimizer in self.trainer.optimizers:
                self._hook(optimizer, "register_step_pre_hook", self._at_step, "steps without Lightning")

    def _hook(self, optimizer: Optimizer, register: str, hook: Callable[..., Any], what: str) -> None:
        try:
            self._undo.callback(getattr(optimizer, register)(hook).remove)
        except AttributeError:  # a wrapper that isn't initialised as torch's optimisers are
            table.tell(self.module, f"{type(optimizer).__name__} takes no hooks: {what} not watched")

    def _at_step(self, optimizer: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Look before a step, or, where the step calls a closure for the gradients, once that has been called."""
        closure = arguments[1] if len(arguments) > 1 else named.get("closure")
        if closure is None:
            return self.before_step(optimizer)

        def then_look() -> Any:
            loss = closure()
            self.before_step(optimizer)
            return loss

        if len(arguments) > 1:
            return (optimizer, then_look, *arguments[2:]), named
        return arguments, named | {"closure": then_look}

    def run(self, step: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What a training step gives; what it does is seen."""
        if self._stepped and self.module.automatic_optimization:
            return step(*arguments, **named)  # again, on the weights that the optimiser tries, as LBFGS does
        trace = Trace(list(self.weights.values()), (arguments, named))
        with trace:
            result = step(*arguments, **named)
        for name, uses in seen_in(trace, self._name_of).items():
            self.seen[name] += uses
        return result

    @torch.no_grad()
    def before_step(self, optimizer: Optimizer) -> None:
        """Take the gradients that an optimiser is about to use, at its first step."""
        if id(optimizer) in self._stepped:
            return
        self._stepped.add(id(optimizer))
        for name, weight in self._weights_of(optimizer):
            if weight.requires_grad:  # a frozen one, which an optimiser may hold, isn't meant to move
                self.before[name] = weight.detach().clone()
            if self._looks and weight.grad is not None:
                self.gradients[name] = weight.grad.detach() / scale_of(self.trainer, optimizer)

    def _weights_of(self, optimizer: Optimizer) -> Iterable[tuple[str, Tensor]]:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        names = self._name_of.names
        return [(names[id(each)], each) for each in parameters if id(each) in names and each.ndim >= 2]

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        for name, weight in self._weights_of(optimizer):
            if name in self.before and name not in self.updated:
                self.updated[name] = self.before[name], weight.detach().clone()

    @cached_property
    def layers(self) -> list[Layer]:
        """What the step has shown; to be asked for when it is over."""
        weights = {name: one for name, one in self.weights.items() if one.ndim >= 2}  # lazy ones are something by now
        return assembled(weights | self.before, self.gradients, self.seen)

    def is_over(self, trainer: L.Trainer) -> bool:
        """At the end of a batch: whether it was the step's last. Of a manual step only the first batch is looked at."""
        if self.module.automatic_optimization:
            done = trainer.fit_loop.batch_idx + 1
            return trainer.global_step > self.step or done % trainer.accumulate_grad_batches == 0
        self._stop_looking.close()
        return trainer.global_step > self.step

    def close(self) -> None:
        """Leave the module and its optimisers as they were."""
        self._stop_looking.close()
        self._undo.close()
        if _open.pop(self.module, None) is self and self._looks:
            table.say(self.module, self.seen, self.is_compiled)


def in_order(names: Iterable[str], seen: Iterable[str]) -> list[str]:
    """Names in the order in which they were seen; others keep their places.

    >>> in_order(["last", "norm", "first"], ["first", "last"])
    ['first', 'norm', 'last']
    """
    names, places = list(names), {name: place for place, name in enumerate(seen)}
    ordered = iter(sorted(places.keys() & set(names), key=places.__getitem__))
    return [next(ordered) if name in places else name for name in names]


def scale_of(trainer: L.Trainer, optimizer: Optimizer | None = None) -> float:
    """By which losses are multiplied under mixed precision, and gradients still, where the optimiser is to divide them
    itself."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    is_scaled = optimizer is None or getattr(optimizer, "_step_supports_amp_scaling", False)
    return float(scaler.get_scale()) if scaler and is_scaled else 1.0


def from_last_step(trainer: L.Trainer, module: L.LightningModule, batch_idx: int, taken: int = 1) -> int:
    """Where a batch is in its epoch: −1 before the last step of as many examples as others have, 0 in it, 1 behind it:
    on a few left over, units look dead that aren't. Of data without a length it is known at the last batch. An epoch
    that `max_steps` cuts short has its last step there, if this batch takes as many (`taken`) as the one before."""
    before = 0 if 0 < trainer.max_steps - trainer.global_step <= max(taken, 1) else -1
    if math.isinf(trainer.num_training_batches):
        return 0 if trainer.is_last_batch else before
    batches = int(trainer.num_training_batches)
    together = trainer.accumulate_grad_batches if module.automatic_optimization else 1
    whole = (batches - last_is_short(trainer.train_dataloader, batches)) // together
    first = max(whole - 1, 0) * together
    return before if batch_idx < first else int(batch_idx >= first + together)


def last_is_short(loader: Any, batches: int) -> bool:
    """Whether the last of so many batches has fewer examples than the others; of several loaders, in any of them."""
    if isinstance(loader, Mapping | list | tuple):
        loaders = loader.values() if isinstance(loader, Mapping) else loader
        return any(last_is_short(each, batches) for each in loaders)
    batched = loader.batch_sampler if isinstance(loader, DataLoader) else None
    if type(batched) is not BatchSampler or not isinstance(batched.sampler, Sized) or len(batched) != batches:
        return False
    return batches * batched.batch_size > len(batched.sampler)
