"""Which arguments of Lightning's Trainer a run takes from `+trainer.NAME=VALUE`, and which it refuses by name.

Flow: config → **training**. Those that are not named here mean what Lightning says.
"""

import inspect
import math
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from actsweep.config.schema import Settings, Trainer
from actsweep.errors import UserError

if TYPE_CHECKING:
    from actsweep.data.batches import SplitData

DEFAULTS = {
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # DataModule shares out the batches itself
}
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {  # the values that change nothing; why no other, and what instead
    "barebones": ((False,), "a run keeps tables and checkpoints; diagnostics=[] is the fastest"),
    "callbacks": ((None,), "a callback is given as +diagnostics.NAME._target_=package.Class"),
    "default_root_dir": ((None,), "the folder of a run is hydra.run.dir"),
    "enable_checkpointing": ((None, True), "a run is tested, and resumes, from its checkpoints"),
    "fast_dev_run": ((False, 0), "it leaves no result; for a trial +trainer.limit_train_batches=1 trainer.max_epochs=1"),
    "limit_predict_batches": ((None,), "a run predicts nothing; use +trainer.limit_test_batches"),
    "logger": ((None, True), "a run's tables and TensorBoard are its loggers, and its result needs them"),
    "max_steps": ((-1,), "a run counts epochs: data.steps_per_epoch=N trainer.max_epochs=1 makes N steps"),
    "model_registry": ((None,), "a run's model is its checkpoints/best.ckpt"),
    "num_nodes": ((1,), "a run trains on one machine; trainer.devices says on how many devices"),
    "plugins": ((None,), "a run writes its checkpoints in its own way; trainer.precision says in which precision"),
    "sync_batchnorm": ((False,), "norm=batch trains on one device; norm=layer on several"),
    "use_distributed_sampler": ((False,), "the data module deals each batch to the devices itself"),
}  # fmt: skip
AT_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "limit_train_batches": 1,
    "limit_test_batches": 1,
    "log_every_n_steps": 0,
    "min_epochs": 0,
    "min_steps": 0,
    "reload_dataloaders_every_n_epochs": 0,
}
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")
OTHERS = (
    *("benchmark", "detect_anomaly", "deterministic", "enable_autolog_hparams", "inference_mode", "max_time"),
    *("profiler", "strategy", "val_check_interval"),
)
KNOWN = sorted({*Trainer.model_fields, *DEFAULTS, *REFUSED, *AT_LEAST, *LIMITS, *OTHERS} - {"target"})


def arguments(settings: Settings) -> dict[str, Any]:
    """What the Trainer of a run is given, besides its folder, loggers, callbacks and plugins.

    Raises UserError for what it can't be given.
    """
    given = settings.trainer.plain()
    refuse(given)
    _check_kinds({name: value for name, value in given.items() if name not in REFUSED})
    epochs = {"max_epochs": 1 if settings.untrained else settings.trainer.max_epochs}
    return DEFAULTS | {name: value for name, value in given.items() if name not in REFUSED} | epochs


def refuse(given: dict[str, Any]) -> None:
    """Raise UserError for a name that Lightning's Trainer lacks, and for what a run can't do with one that it has."""
    for name, value in given.items():
        if name not in KNOWN:
            raise UserError(f"trainer.{name}: Lightning's Trainer has no such argument; it has {', '.join(KNOWN)}")
        harmless, reason = REFUSED.get(name, ((value,), ""))
        if not any(value is each or (type(value) is int and value == each) for each in harmless):
            raise UserError(f"trainer.{name}={value}: {reason}")
        if type(value) is int and value < AT_LEAST.get(name, value):
            raise UserError(f"trainer.{name}={value}: must be at least {AT_LEAST[name]}")


def _check_kinds(given: dict[str, Any]) -> None:
    """Raise UserError for a value of another type than Lightning's Trainer says that it takes."""
    import pytorch_lightning as L  # here, because it takes seconds: most mistakes are answered without it

    known = inspect.signature(L.Trainer).parameters
    for name, value in given.items():
        kind = TypeAdapter[Any](known[name].annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
        try:
            kind.validate_python(value)
        except ValidationError as error:
            raise UserError(f"trainer.{name}={value}: {error.errors()[0]['msg']}") from error


def check_batches(given: dict[str, Any], data: "SplitData") -> None:
    """Raise UserError where a part of an epoch, as `arguments` name it, has no batch."""
    training = len(data.train_dataloader())
    counts = dict(
        zip(LIMITS, (training, len(data.val_dataloader()), len(data.test_dataloader()), training), strict=True)
    )
    for name, batches in counts.items():
        share = given.get(name)
        if isinstance(share, float) and 0 < share < 1 and math.floor(batches * share) == 0:
            raise UserError(f"trainer.{name}={share}: there are {batches} batches; must be at least {1 / batches:.3g}")
