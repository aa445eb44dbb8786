"""One function at one initialisation, measured: properties, theory, a step size chosen on validation, fresh seeds.

Flow: config → network → training, diagnostics → **measure** → results. A run of `+sweeps=atlas` is this, from
one_run.train; its networks are stacks whose members leave no files.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actsweep.atlas import fitness
from actsweep.config.schema import Settings
from actsweep.diagnostics.gradients import grad_norm
from actsweep.diagnostics.observation import Layer
from actsweep.diagnostics.units import dead_units, saturated_fraction
from actsweep.errors import UserError
from actsweep.network import activations
from actsweep.network.losses import Sums
from actsweep.results import run_folder
from actsweep.results.tables import device_name
from actsweep.statistics.atlas import SCALES
from actsweep.theory.critical import variances
from actsweep.theory.integrals import describe
from actsweep.theory.meanfield import MeanField, limit
from actsweep.theory.properties import properties
from actsweep.threads import use_threads
from actsweep.training.stack.training import Training

PROBE = 1024  # examples, as the diagnostics' own default
MOST_BREAKS = 100  # more are rounding, and correlations would take minutes
CLOSE = np.geomspace(1e-4, 0.2, 12)  # to 0, where most functions bend
COMPARED = np.concatenate([np.linspace(-5.93, 6.07, 61), -CLOSE, CLOSE, [-100.0, -30.0, -10.0, 10.0, 30.0, 100.0]])
TIMED, TURNS = (64, 1024), 31  # numbers that are activated at a time; turns of this function and of ReLU


def measure(settings: Settings, folder: Path) -> dict[str, Any]:
    """Measure, and leave result.json with the section `atlas`: what the atlas' table says of this function."""
    began = time.perf_counter()
    run_folder.prepare(folder, settings)
    use_threads(settings.threads or 1)
    found: dict[str, Any] = {"unfit": fitness.unfit(settings.act.plain())}
    accuracy, classes = None, 0
    if found["unfit"] is None:
        found |= described(settings) | _theory(settings)
        if "no_edge" not in found:
            found |= _trained(settings)
            accuracy, classes = fmean(found["accuracies"]), found.pop("classes")
    result = run_folder.describe(settings, folder) | {"status": "completed", "epochs": 0, "best_epoch": 0}
    result |= {"val_accuracy": max(found.get("rates", [0.0])), "test_accuracy": accuracy, "test_loss": None}
    result |= {"classes": classes, "device": device_name(torch.device("cpu"))}
    result |= {"seconds": round(time.perf_counter() - began, 3), "atlas": found}
    run_folder.write_result(folder, result)
    return result


def described(settings: Settings) -> dict[str, Any]:
    """What can be said of the function alone; `values`: what tells it from others (see `equals`)."""
    act = settings.act.plain()
    module = activations.build_alike(act)
    found: dict[str, Any] = {"learnt": sum(each.numel() for each in module.parameters()), "cost": cost(module)}
    found["values"] = fingerprint(activations.build_alike(act))
    try:
        own = asdict(properties(describe(activations.build_alike(act))))
    except UserError as error:
        return found | {"no_theory": str(error)}
    return found | {name: each.tolist() if isinstance(each, np.ndarray) else each for name, each in own.items()}


def fingerprint(module: nn.Module) -> list[float]:
    """φ, φ′ and the derivative by each learnt number at COMPARED: equal for equal functions, in float64."""
    module, x = module.double(), torch.as_tensor(COMPARED).view(-1, 1).requires_grad_()
    own = list(module.parameters())
    values = module(x.clone())
    found = [values.detach().view(-1)]
    if values.requires_grad:
        (slopes,) = torch.autograd.grad(values.sum(), x, retain_graph=True, materialize_grads=True)
        found.append(slopes.view(-1))
        for row in values.view(-1)[:: len(COMPARED) // 8] if own else ():
            by_own = torch.autograd.grad(row, own, retain_graph=True, materialize_grads=True)
            found += [each.view(-1) for each in by_own]
    return [float(each) for part in found for each in part]


def cost(module: nn.Module) -> float:
    """CPU time of forward and backward beside ReLU's: the median ratio of alternating turns."""
    x = torch.randn(TIMED, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ratios = [_seconds(module, x) / _seconds(nn.ReLU(), x) for _ in range(TURNS + 1)]
    return median(ratios[1:])


def _seconds(module: nn.Module, x: Tensor) -> float:
    began = time.thread_time()
    y = module(x.clone())
    if y.requires_grad:
        torch.autograd.grad(y.sum(), x, materialize_grads=True)
    return time.thread_time() - began


def _theory(settings: Settings) -> dict[str, Any]:
    """Variances of this initialisation and the deep limit there; where the function has no edge of chaos, why."""
    fan = settings.layer_sizes[-1]
    try:
        weight, bias = variances(*settings.init.functions(), fan, fan)
    except (UserError, ArithmeticError) as error:
        return {"no_edge": str(error) or repr(error)}
    found: dict[str, Any] = {"weight_variance": weight, "bias_variance": bias}
    try:
        theory = MeanField(describe(activations.build_alike(settings.act.plain())), weight, bias)
        found["q"] = theory.fixed_point(weight + bias or 1.0)
        found["chi"] = theory.chi(found["q"])
        if found["chi"] > 1 and len(theory.act.breaks) > MOST_BREAKS:
            return found | {"no_theory": f"it jumps or bends at {len(theory.act.breaks)} places"}
        end = limit(theory, weight + bias or 1.0)
    except (UserError, ArithmeticError, ValueError) as error:
        return found | {"no_theory": str(error) or repr(error)}
    return found | {name: getattr(end, name) for name in SCALES}


def _trained(settings: Settings) -> dict[str, Any]:
    """A step size chosen on validation, then the fresh seeds."""
    assert settings.atlas
    rates, choosing = settings.atlas.rates, settings.atlas.choosing
    first = Trial(settings, [(seed, rate) for rate in rates for seed in choosing])
    scores = [fmean(first.scores[seed, rate] for seed in choosing) for rate in rates]
    best = rates[int(np.argmax(scores))]  # the smaller of equals
    trial = Trial(settings, [(seed, best) for seed in settings.atlas.seeds], observed=True)
    accuracies = [trial.accuracies.get(seed, trial.chance) for seed in settings.atlas.seeds]
    diverged = [seed for seed in settings.atlas.seeds if seed not in trial.accuracies]
    found: dict[str, Any] = {"classes": round(1 / trial.chance), "lr": best, "rates": scores}
    return found | {"accuracies": accuracies, "diverged": diverged} | trial.observations


class Trial(Training):
    """A stack of one function's networks, a seed and a step size each, that leaves no files: what it found is kept.

    `scores`: best validation accuracy by seed and step size, chance of those that diverged. `accuracies`: of the tested
    weights by seed, without those.
    """

    def __init__(self, settings: Settings, members: Sequence[tuple[int, float]], observed: bool = False) -> None:
        jobs = [(_alone(settings, seed, rate), Path()) for seed, rate in members]
        super().__init__(jobs, torch.device("cpu"))
        self.chance = 1 / len(self.data.dataset.classes)
        self.scores, self.accuracies = dict.fromkeys(members, self.chance), dict[int, float]()
        self.observed, self.observations = observed, dict[str, Any]()
        for member in self.members:
            member.unseen = True
        if observed:
            self.observations["gradient_ratios"] = {"untrained": _gradient_ratios(self._layers())}
        self.run()

    def step_through(self, epoch: int) -> None:
        """Numbers below 1.2e-38 count as 0 meanwhile: where gradients have vanished so far that no weight feels them,
        processors take up to seven times as long. What is observed has them."""
        torch.set_flush_denormal(True)
        try:
            super().step_through(epoch)
        finally:
            torch.set_flush_denormal(False)

    def finish(self, rows: Sequence[int]) -> None:
        whole = {row: self.members[row] for row in rows if not self.members[row].classifier.diverged}
        for member in whole.values():
            self.scores[member.settings.seed, member.settings.optim.lr] = float(member.saver.best or 0.0)
        if whole and self.observed:
            self._test(whole)
        for row in rows:
            self._end(self.members[row])

    @torch.no_grad()
    def _test(self, whole: dict[int, Any]) -> None:
        """Of the best epoch's weights. Members end together, in the last epoch, but for those that diverge."""
        for block in self.stack.everything():
            if block.best is not None:
                block.values.detach().copy_(block.best)
        sums = Sums(len(self.stack), torch.device("cpu"), self.predict)
        for inputs, labels in self.data.test_dataloader():
            labels = labels.expand(len(self.stack), -1)
            outputs = self.stack.forward(inputs, "running")
            sums.add(self.losses(outputs, labels), outputs, labels)
        correct = (sums.correct.double() / len(self.data.test)).tolist()
        self.accuracies = {member.settings.seed: correct[row] for row, member in whole.items()}
        layers, rows = self._layers(), list(whole)
        steepest = [(each.slope, each.max_slope) for each in layers if each.slope is not None]
        self.observations["dead"] = fmean(dead_units(slope)[rows].float().mean().item() for slope, _ in steepest)
        self.observations["saturated"] = fmean(
            saturated_fraction(slope, most)[rows].mean().item() for slope, most in steepest if most is not None
        )
        ratios = _gradient_ratios(layers)
        self.observations["gradient_ratios"]["trained"] = [ratios[row] for row in rows]

    def _layers(self) -> list[Layer]:
        return self.stack.observe(*self.data.probe(PROBE), self.losses)


def _alone(settings: Settings, seed: int, rate: float) -> Settings:
    optim = settings.optim.model_copy(update={"lr": rate})
    return settings.model_copy(update={"atlas": None, "seed": seed, "optim": optim})


def _gradient_ratios(layers: Sequence[Layer]) -> list[float]:
    """Each network's gradient norm, first layer ÷ output layer."""
    first, last = (grad_norm(each.gradient).double() for each in (layers[0], layers[-1]) if each.gradient is not None)
    return (first / last).tolist()
