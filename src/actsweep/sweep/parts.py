"""Whether the parts of a run can be made: data, initialisation, optimiser, trainer, diagnostics, each tried once.

Flow: config → data → check → **parts**. What needs Lightning comes last: it takes seconds to import.
"""

import warnings
from collections.abc import Callable
from typing import Any

from actsweep.config.descriptions import instantiate
from actsweep.config.schema import Data, Init, Settings
from actsweep.errors import UserError, exits_are_errors, refuse
from actsweep.imports import uncollected
from actsweep.training import trainer_arguments


def check(*settings: Settings) -> None:
    """Raise UserError if a run with one of these settings could not start. Parts that several share are tried once."""
    for each in settings:
        parts = {name: getattr(each, name).plain() for name in ("data", "trainer")}
        parts |= {"loss": each.loss, "content": each.content}
        sizes: Any = _try("data", parts)
        if not each.atlas:
            init = {"init": each.init.plain(), "name": each.names.init, "act": each.names.act}
            _try("init", init | {"inputs": [sizes[0], *each.layer_sizes][-1], "outputs": sizes[1]})
        _try("optim", each.optim.plain())
    with uncollected():
        from actsweep.training import ranks  # here, because they import Lightning
        from actsweep.training.stack import grouping

    for each in settings:
        if each.atlas and (reason := grouping.reason_against_training(each)):
            raise UserError(f"{reason}: an atlas trains in stacks alone")
        ranks.check(each, int(str(_try("trainer", trainer_arguments.arguments(each)))))
        monitor = each.monitor or ("val_loss" if each.loss == "mse" else "val_accuracy")
        described = {name: part.plain() for name, part in each.diagnostics.items()}
        limit = each.trainer.plain().get("max_time")
        _try("diagnostics", {"described": described, "monitor": monitor, "max_time": limit})


_found: dict[tuple[str, str], object] = {}


def _try(part: str, description: dict[str, Any]) -> object:
    key = part, repr(description)  # not as JSON, which has no keys that are numbers
    try:
        with exits_are_errors():
            if key not in _found:
                _found[key] = TRIED[part](description)
            return _found[key]
    except Exception as error:
        refuse(part, error)


def _try_trainer(arguments: dict[str, Any]) -> int:
    """How many devices it would train on."""
    import pytorch_lightning as L
    import torch

    if arguments["accelerator"] in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: torch finds no CUDA device here; use trainer=cpu or trainer=auto")
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*AMP with fp16 is not supported")  # it is refused below
            trainer = L.Trainer(**arguments | quiet)
    except Exception as error:  # Lightning's answer to these arguments, of many kinds
        raise UserError(f"trainer: {error}") from error
    asked, taken = str(arguments["precision"]), str(trainer.precision)
    if asked.startswith("16") and not taken.startswith("16"):
        raise UserError(f"trainer.precision={asked}: on this device Lightning would take {taken}; if so, ask for that")
    return trainer.num_devices


def _try_optimizer(arguments: dict[str, Any]) -> None:
    from actsweep.network import trying  # here, because it imports torch

    trying.stepped(arguments)


def _try_diagnostics(parts: dict[str, Any]) -> None:
    import pytorch_lightning as L

    from actsweep.network import trying
    from actsweep.training import checkpoints

    described, monitor = parts["described"], parts["monitor"]
    own = checkpoints.EarlyStopping(monitor, "max" if "accuracy" in monitor else "min", patience=1, min_delta=0.0)
    keepers = {own.state_key: f"the run's own, which stops it by patience, min_delta and monitor={monitor}"}
    if parts["max_time"]:  # else Lightning would pass it over in silence
        keepers["Timer"] = "trainer.max_time"
    for name, each in described.items():
        made = instantiate(each)
        if not isinstance(made, L.Callback):
            raise UserError(f"diagnostics.{name}: {each['_target_']} makes no callback of pytorch_lightning's")
        if isinstance(made, L.callbacks.ProgressBar):
            raise UserError(f"diagnostics.{name}: a run has a progress bar already, trainer.enable_progress_bar")
        if isinstance(made, L.callbacks.StochasticWeightAveraging):
            raise UserError(
                f"diagnostics.{name}: averages after the last checkpoint, which is tested; use WeightAveraging"
            )
        if fault := trying.unreadable(made):
            raise UserError(f"diagnostics.{name}: {fault}")
        if type(made).state_dict is not L.Callback.state_dict:
            if other := keepers.get(made.state_key):
                raise UserError(f"diagnostics.{name}: Lightning can't tell its state from that of {other}")
            keepers[made.state_key] = f"diagnostics.{name}"


def _try_init(parts: dict[str, Any]) -> None:
    from actsweep.network.mlp import fault_of

    if why := fault_of(Init.model_validate(parts["init"]).functions, parts["inputs"], parts["outputs"]):
        raise UserError(f"init={parts['name']}, act={parts['act']}: {why}")


def _try_data(parts: dict[str, Any]) -> tuple[int, int]:
    """How many inputs and outputs a network has on it."""
    from actsweep.data.batches import SplitData, described
    from actsweep.network.losses import outputs_for

    arguments = described(Data.model_validate(parts["data"]), seed=0)
    if not arguments[0].digest.startswith(parts["content"]):
        source = parts["data"]["source"]["_target_"]
        raise UserError(f"data.source={source}: gives other data at every call; fix what it draws by a seed of its own")
    data = SplitData(*arguments)
    outputs = outputs_for(parts["loss"], data.dataset)
    trainer_arguments.check_batches(parts["trainer"], data)
    return data.dataset.input_size, outputs


TRIED: dict[str, Callable[[dict[str, Any]], object]] = {
    "trainer": _try_trainer,
    "init": _try_init,
    "optim": _try_optimizer,
    "diagnostics": _try_diagnostics,
    "data": _try_data,
}
