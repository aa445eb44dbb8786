"""What may be configured: every key, its type and its range, stated once.

Hydra composes the YAML files under conf/ and the command line; composition.py makes that a `Settings`, or raises
UserError with one line that names the key, the value and what is allowed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from actsweep.config.descriptions import flat, instantiate

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0), AllowInfNan(False)]
NonNegative = Annotated[float, Field(ge=0), AllowInfNan(False)]
Precision = Literal[
    "auto", "16", "16-true", "16-mixed", "bf16-true", "bf16", "bf16-mixed", "32", "32-true", "64", "64-true",
    16, 32, 64, "transformer-engine", "transformer-engine-float16",
]  # fmt: skip
MOST_EPOCHS = 1_000_000
IMMATERIAL = {  # keys that don't say what a run is
    *("figures", "report", "data.source.root"),
    *("trainer.enable_progress_bar", "trainer.max_epochs"),
}


class Section(BaseModel):
    """A closed part of the configuration: unknown keys are errors, and nothing is converted silently."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    later: ClassVar[dict[str, Any]] = {}  # keys that came later, and the values at which all is as it was before

    def plain(self) -> dict[str, Any]:
        """The part as plain data, as it stands in YAML."""
        return self.model_dump(by_alias=True)

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that a run of an earlier version stays the same run."""
        return {key: value for key, value in dump(self).items() if key not in self.later or value != self.later[key]}


class Target(Section):
    """A part that names what to call (`_target_`); its other keys are that callable's arguments."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    target: str = Field(alias="_target_")

    def make(self) -> Any:
        """What it describes."""
        return instantiate(self.plain())

    def function(self) -> Callable[..., Any]:
        """What the part names, with its arguments already given."""
        function: Callable[..., Any] = instantiate(self.plain() | {"_partial_": True})
        return function


class Names(Section):
    act: str
    init: str
    data: str
    optim: str


class Init(Section):
    weight: Target | None
    bias: Literal["alike"] | Target | None  # alike: drawn as weights of the same layer are
    std: Positive | None = None
    gain: Positive | None = None
    after: Annotated[int, Field(ge=0)] | None = None
    q: Positive | None = None
    weight_variance: NonNegative | None = None
    bias_variance: NonNegative | None = None
    by_act: dict[str, Any] = {}  # of functions by their import path, nested

    def functions(self) -> tuple[Callable[..., Any] | None, Callable[..., Any] | Literal["alike"] | None]:
        """What fills weights and biases, as network/mlp.py's `fill` takes it."""
        bias = self.bias.function() if isinstance(self.bias, Target) else self.bias
        return self.weight.function() if self.weight else None, bias


class Data(Section):
    source: Target
    val_size: Annotated[int, Field(ge=0, le=1_000_000)]
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]
    batch_size: Size | Literal["all"]
    replacement: bool = False
    steps_per_epoch: Size | None = None
    standardise: bool = False
    later: ClassVar[dict[str, Any]] = {"standardise": False}


class Optim(Target):
    lr: Positive
    weight_decay: NonNegative = 0.0
    l2: NonNegative = 0.0
    later: ClassVar[dict[str, Any]] = {"l2": 0.0}


class Trainer(Target):
    target: Literal["pytorch_lightning.Trainer"] = Field(default="pytorch_lightning.Trainer", alias="_target_")
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Size | Literal["auto", -1] | list[int]
    precision: Precision
    max_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    gradient_clip_val: NonNegative | None
    gradient_clip_algorithm: Literal["norm", "value"]
    enable_progress_bar: bool

    @property
    def clipping(self) -> tuple[float | None, str]:
        return self.gradient_clip_val, self.gradient_clip_algorithm

    def plain(self) -> dict[str, Any]:
        """Arguments of Lightning's Trainer."""
        return self.model_dump(exclude={"target"})


class Atlas(Section):
    """How one function is measured at one initialisation: step sizes chosen by seeds of their own, then fresh seeds."""

    rates: Annotated[list[Positive], Field(min_length=1)]
    choosing: Annotated[list[Seed], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]


class Settings(Section):
    """One run, completely described."""

    names: Names
    act: Target
    hidden_sizes: Annotated[list[Size], Field(max_length=10_000)]
    depth: Annotated[int, Field(ge=0, le=10_000)] | None
    width: Size
    init: Init
    norm: Literal["none", "batch", "layer"]
    data: Data
    optim: Optim
    trainer: Trainer
    diagnostics: dict[str, Target]
    seed: Seed
    loss: Literal["cross_entropy", "bce", "mse"]
    patience: Annotated[int, Field(ge=0)] | None
    monitor: Literal["train_loss", "train_accuracy", "val_loss", "val_accuracy"] | None = None
    min_delta: NonNegative = 0.0
    test: Literal["best", "last"]
    untrained: bool
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    figures: list[str]
    report: bool
    rerun: Literal["failed", "all", "none"]
    plan: bool
    atlas: Atlas | None = None  # not a run's one training but all of the atlas's
    content: str = ""  # digest of the data: the same settings with other data are another run
    # What parts of the person's own make of fixed numbers, by which they are known again: their code may change.
    own_values: Annotated[dict[str, tuple[float, ...]], Field(exclude=True)] = {}
    later: ClassVar[dict[str, Any]] = {"monitor": None, "min_delta": 0.0, "atlas": None}

    @property
    def epochs_without_better(self) -> int:
        """`patience` as early stopping takes it; the same for every max_epochs, because checkpoints hold it."""
        return MOST_EPOCHS if self.patience is None else self.patience

    @property
    def validates(self) -> bool:
        """Not where nothing is held out and nothing asks for it: what training itself finds says when to stop."""
        return self.untrained or self.data.val_size > 0 or not (self.monitor or "").startswith("train_")

    @property
    def layer_sizes(self) -> list[int]:
        """Units of each hidden layer, after `depth` and `width` had their say."""
        return self.hidden_sizes if self.depth is None else [self.width] * self.depth

    def plain(self) -> dict[str, Any]:
        """Plain data, with what `depth` means resolved: two ways to say the same network become one."""
        everything = self.model_dump(by_alias=True, exclude={"depth", "width", "rerun", "plan"})
        return everything | {"hidden_sizes": self.layer_sizes}

    def hash(self) -> str:
        """Twelve hexadecimal digits: what a run is, apart from how many epochs it is given, which may grow."""
        what_matters = {key: value for key, value in flat(self.plain()).items() if key not in IMMATERIAL}
        text = json.dumps(what_matters, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, there: Mapping[str, Any]) -> list[str]:
        """In which keys another run's configuration, as plain data, differs from this, with both values."""
        pairs, asked = flat(there), flat(self.plain())
        keys = [key for key in dict.fromkeys([*asked, *pairs]) if key not in IMMATERIAL]
        return [
            f"{key}={pairs.get(key, '(none)')} instead of {asked.get(key, '(none)')}"
            for key in keys
            if str(pairs.get(key)) != str(asked.get(key))
        ] or ["something that its files don't say"]


def keys() -> list[str]:
    """Every key that Settings has, dotted, for "did you mean"."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    nested = [
        f"{name}.{field.alias or key}"
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel)
        for key, field in section.model_fields.items()
    ]
    return [*sections, *nested]
