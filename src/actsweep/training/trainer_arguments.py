"""Which arguments of Lightning's Trainer a run takes from `+trainer.NAME=VALUE`, and which it refuses by name.

Flow: config → **training**. Those that are not named here mean what Lightning says. `trainer.precision=auto` means
bf16-mixed where products are faster in it, and make up most of a step.
"""

import inspect
import math
from functools import cache
from pathlib import Path
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
    "fast_dev_run": ((False, 0), "leaves no result; for a trial trainer.max_epochs=1 +trainer.limit_train_batches=1"),
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
    **dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"), 1),
    **dict.fromkeys(("log_every_n_steps", "min_epochs", "min_steps", "reload_dataloaders_every_n_epochs"), 0),
    "num_sanity_val_steps": -1,
}
OTHERS = (
    "benchmark", "detect_anomaly", "deterministic", "enable_autolog_hparams", "inference_mode", "limit_test_batches",
    "limit_train_batches", "limit_val_batches", "max_time", "overfit_batches", "profiler", "strategy",
)  # fmt: skip
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
LARGE = 128  # units of a layer, from which on casts cost less than products in bfloat16 save
KNOWN = sorted({*Trainer.model_fields, *DEFAULTS, *REFUSED, *AT_LEAST, *OTHERS} - {"target"})


def arguments(settings: Settings) -> dict[str, Any]:
    """What the Trainer of a run is given: everything, but for its folder, loggers, callbacks and plugins. Raises
    UserError for what it can't be given."""
    from actsweep.network.lightning_loops import defaults  # here, as in `_kind`

    refuse(given := settings.trainer.plain())
    given = {name: value for name, value in given.items() if name not in REFUSED}
    _check_kinds(given)
    epochs = {"max_epochs": 1 if settings.untrained else settings.trainer.max_epochs}
    validation = {} if settings.validates else {"limit_val_batches": 0}
    return defaults() | DEFAULTS | validation | given | epochs


@cache
def _kind(name: str) -> TypeAdapter[Any]:
    """The type that Lightning gives an argument."""
    import pytorch_lightning as L  # here, because it takes seconds: most mistakes are answered without it

    annotation = inspect.signature(L.Trainer).parameters[name].annotation
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True))


def refuse(given: dict[str, Any]) -> None:
    """Raise UserError for a name that Lightning's Trainer lacks, and for what a run can't do with one that it has."""
    for name, value in given.items():
        if name not in KNOWN:
            raise UserError(f"trainer.{name}: Lightning's Trainer has no such argument; it has {', '.join(KNOWN)}")
        harmless, reason = REFUSED.get(name, ((value,), ""))
        if not any(value is each or (type(value) is int and value == each) for each in harmless):
            raise UserError(f"trainer.{name}={value}: {reason}")
        least = AT_LEAST.get(name, -math.inf)
        if type(value) is int and value < least:
            raise UserError(f"trainer.{name}={value}: must be at least {least}")
    strategy = str(given.get("strategy", "auto"))
    if strategy.endswith(("_spawn", "_fork", "_notebook")):
        raise UserError(
            f"trainer.strategy={strategy}: its processes can't share a run's folder; use ddp, or leave it out"
        )
    if strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy}: a run's checkpoints are those of {', '.join(STRATEGIES)}")


def _check_kinds(given: dict[str, Any]) -> None:
    """Raise UserError for a value of another type than Lightning's Trainer says that it takes."""
    for name, value in given.items():
        try:
            _kind(name).validate_python(value)
        except ValidationError as error:
            allowed = "; or ".join(dict.fromkeys(each["msg"] for each in error.errors()))
            raise UserError(f"trainer.{name}={value}: {allowed}".replace("Input should", "must")) from error
    if (time := given.get("max_time")) is not None:
        from pytorch_lightning.callbacks import Timer

        try:
            left = Timer(time).time_remaining()
        except Exception as error:  # Lightning's answer, of several kinds
            raise UserError(f"trainer.max_time={time}: {error}") from error
        if not left:
            raise UserError(f"trainer.max_time={time}: leaves no time for a step")


def check_batches(given: dict[str, Any], data: "SplitData") -> None:
    """Raise UserError where a part of an epoch, as the Trainer's arguments name it, has no batch."""
    training = len(data.train_dataloader())
    validation, test = len(data.val_dataloader()), len(data.test_dataloader())
    counts = [
        ("limit_train_batches", training, given.get("limit_train_batches")),
        ("limit_test_batches", test, given.get("limit_test_batches")),
        ("limit_val_batches", validation, given.get("limit_val_batches") or None),  # 0: no validation
        ("overfit_batches", min(training, validation), given.get("overfit_batches") or None),  # 0: no limit
    ]
    for name, batches, limit in counts:
        if not _limited(batches, limit):
            raise UserError(f"trainer.{name}={limit}: of {batches} batches; must be at least {1 / batches:.3g}")
    steps = training_batches(given, training)
    interval = given.get("val_check_interval")
    if type(interval) is int and interval > steps and given.get("check_val_every_n_epoch", 1) is not None:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {steps} batches; to count through epochs give "
            "+trainer.check_val_every_n_epoch=null too"
        )


def training_batches(given: dict[str, Any], batches: int) -> int:
    """How many of so many batches an epoch trains on."""
    return _limited(batches, given.get("overfit_batches") or given.get("limit_train_batches"))


def _limited(batches: int, limit: float | None) -> int:
    """How many of an epoch's batches Lightning uses."""
    if limit is None:
        return batches
    return math.floor(batches * limit) if isinstance(limit, float) else min(batches, limit)


@cache
def _has_fast_bf16(accelerator: str) -> str | None:
    """What computes fast in bfloat16. AVX-512's instructions don't: products are 0.6 times as fast."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name() if torch.cuda.is_bf16_supported(including_emulation=False) else None
    try:
        return "AMX" if " amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else None
    except OSError:
        return None


@cache
def _say(chosen: str, why: str) -> None:
    print(f"trainer.precision=auto: {chosen}, {why}", flush=True)


def resolved(settings: Settings) -> Settings:
    """The settings with a precision in place of `auto`; says once which one, and why."""
    if settings.trainer.precision != "auto":
        return settings
    fast, largest = _has_fast_bf16(settings.trainer.accelerator), max(settings.layer_sizes, default=0)
    chosen = "bf16-mixed" if fast and largest >= LARGE else "32-true"
    small = f"layers of at most {largest} units are too small for bf16"
    _say(chosen, (f"by {fast}" if largest >= LARGE else small) if fast else "nothing here is faster in bf16")
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"precision": chosen})})
