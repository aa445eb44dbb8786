"""A member's best.ckpt and last.ckpt: what a lone run's hold, so that stacks and lone runs resume from each other's.

Flow: **training** → results. The optimiser's state is torch's own, the callbacks' states and the counters Lightning's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actsweep.config import schema
from actsweep.diagnostics.diagnostic import Diagnostic
from actsweep.network.lightning_loops import counters
from actsweep.results import run_folder
from actsweep.training.checkpoints import BestAndLast, read
from actsweep.training.stack.member import Member
from actsweep.training.stack.network import Stack
from actsweep.training.stack.steps import Optimiser

VERSION = version("pytorch-lightning")


def epochs_done(settings: schema.Settings, folder: Path) -> int | None:
    """After how many epochs a run resumes; None where it has trained already, and only its test may be missing."""
    last = {} if settings.rerun == "all" else read(folder / run_folder.LAST, sets_aside=False)  # whoever resumes does
    if last.get("run", {}).get("config_hash") != settings.hash():
        return 0
    done = int(last["epoch"]) + 1
    stopped = last["callbacks"][BestAndLast.__qualname__]["stopped"]
    return None if stopped or done >= settings.trainer.max_epochs else done


def weights_only(member: Member, weights: dict[str, Tensor], epochs: int, steps: int) -> dict[str, Any]:
    """What whoever evaluates a network needs."""
    return {
        "epoch": epochs - 1,  # Lightning counts from 0
        "global_step": steps,
        "pytorch-lightning_version": VERSION,
        "state_dict": weights,
        "hparams_name": "kwargs",
        "hyper_parameters": dict(member.classifier.hparams),
    }


def both(
    member: Member, last: dict[str, Tensor], best: dict[str, Tensor], kept: dict[str, Any], seconds: float
) -> dict[Path, dict[str, Any]]:
    """What best.ckpt and last.ckpt shall hold after the member's last epoch. `kept`: as `kept_for` makes it."""
    now = member.current_epoch, member.global_step
    states = {each.state_key: each.state_dict() for each in (*member.callbacks, member.early, member.saver)}
    states = {key: state for key, state in states.items() if state} | kept["callbacks"]
    newest = weights_only(member, last, *now) | {
        "loops": counters(*now),
        "callbacks": states,
        "optimizer_states": kept["optimizer_states"],
        "lr_schedulers": [],
    }
    member.classifier.on_save_checkpoint(newest)
    member.saver.clock = time.perf_counter() - seconds
    member.saver.on_save_checkpoint(member, member.classifier, newest)  # type: ignore[arg-type]
    older = newest if member.best_epoch == now else weights_only(member, best, *member.best_epoch)
    return {member.folder / run_folder.BEST: older, member.folder / run_folder.LAST: newest}


def kept_for(stack: Stack, row: int, optimiser: Optimiser, diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """What a stack keeps for one of its rows, in the form in which a lone run would keep it."""
    optimizer = stack.members[row].configure_optimizers()
    momentum = float(optimiser.numbers["momentum"][row])
    for block in stack.blocks.values():
        kept = [name for name in block.state if momentum or name != "momentum_buffer"]
        if row in block and kept:
            parameter = stack.members[row].network.get_parameter(block.name)
            made = optimiser.steps.to("cpu", torch.float32, copy=True)  # as torch has it, also of float64's
            steps = {} if kept == ["momentum_buffer"] else {"step": made}
            optimizer.state[parameter] = steps | {name: block.copy_of(row, block.state[name]) for name in kept}
    states = {
        each.state_key: _mapped(lambda values: values[row : row + 1].clone(), each.state_dict()) for each in diagnostics
    }
    return {"optimizer_states": [optimizer.state_dict()], "callbacks": {key: one for key, one in states.items() if one}}


def _mapped(do: Callable[..., Tensor], *states: Any) -> Any:
    """The same for the tensors at each place of dictionaries of dictionaries."""
    if isinstance(states[0], Mapping):
        return {key: _mapped(do, *(state[key] for state in states)) for key in states[0]}
    return do(*states) if isinstance(states[0], Tensor) else states[0]


def load(members: Sequence[Member], stack: Stack, diagnostics: Sequence[Diagnostic]) -> tuple[int, int, float]:
    """Put the members of a fresh stack where their last.ckpt are, which are all of the same epoch. Returns after how
    many epochs and steps that is, and the seconds that they took."""
    found = [(read(member.folder / run_folder.LAST), read(member.folder / run_folder.BEST)) for member in members]
    epochs, steps = found[0][0]["epoch"] + 1, found[0][0]["global_step"]
    stack.remember([])
    for row, (member, (last, best)) in enumerate(zip(members, found, strict=True)):
        if (last["epoch"] + 1, last["global_step"]) != (epochs, steps):
            raise ValueError(f"{member.folder.name} is not at epoch {epochs}, as the others of its stack are")
        _load_row(stack, row, last, best)
        states = [last["callbacks"][each.state_key] for each in (member.early, member.saver)]
        member.go_on(states, (best["epoch"] + 1, best["global_step"]), epochs, steps)
        member.states = last["callbacks"]
    for diagnostic in diagnostics:
        if states := [last["callbacks"].get(diagnostic.state_key) for last, _ in found if diagnostic.state_dict()]:
            diagnostic.load_state_dict(_mapped(lambda *rows: torch.cat(rows), *states))
    return epochs, steps, sum(last["run"]["seconds"] for last, _ in found)


@torch.no_grad()
def _load_row(stack: Stack, row: int, last: dict[str, Any], best: dict[str, Any]) -> None:
    classifier = stack.members[row]
    classifier.load_state_dict(last["state_dict"])  # its parameters are views of the stack's
    optimizer = classifier.configure_optimizers()
    optimizer.load_state_dict(last["optimizer_states"][0])
    for block in stack.everything():
        if row not in block:
            continue
        assert block.best is not None
        block.of(row, block.best).copy_(best["state_dict"][f"network.{block.name}"])
        for name, values in block.state.items():
            state = optimizer.state[classifier.network.get_parameter(block.name)]
            if (own := state.get(name)) is not None:  # without momentum torch keeps none
                block.of(row, values).copy_(own)
