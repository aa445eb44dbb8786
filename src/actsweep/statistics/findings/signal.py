"""Do signal and gradient vanish or explode on their way through the untrained network, and does the initialisation fit?

The signal is what tells examples apart, the quantity `signal`. Theory: small differences between inputs grow by √χ a
layer, and so does ‖∂L/∂z‖ on its way back (Schoenholz et al. 2017): at √χ = 1 neither vanishes.
"""

import math
from typing import NamedTuple

import numpy as np

from actsweep.results.folders import Floats
from actsweep.statistics.findings.finding import HARMS, Fact, Finding, Where
from actsweep.statistics.findings.seen import ByLayer, Seen, fact, geometric
from actsweep.statistics.inference import Estimate, proportion

TENFOLD = 10.0  # ends of a network this far apart learn at speeds that no one step size suits; below, depth 4 trains
OF_THOSE_THAT_LEARN = 100.0  # who learns all the same was late only for less than this; then the fit alone is at fault
UNEVEN = 2.0  # less than a factor of 2 is within the scatter of narrow networks
PATIENCE = 1e-3  # what learns a thousand times slower no run waits for
VANISHED = 1e-4  # layers this far behind stand still whatever the others learn
WILD = 2.0  # first loss in losses of guessing: the outputs are so large that they are confidently wrong
SOURCE = "Glorot & Bengio 2010; Schoenholz et al. 2017: √χ = 1"
TANH_LIKE = {"Tanh", "Identity", "Softsign", "SELU", "Hardtanh"}
RELU_LIKE = {"ReLU", "LeakyReLU", "PReLU", "ReLU6", "ELU", "CELU", "GELU", "SiLU", "Mish", "Hardswish", "Maxout"}
MADE_FOR = {"kaiming": RELU_LIKE, "xavier": TANH_LIKE, "lecun": TANH_LIKE, "orthogonal": TANH_LIKE}
ADAM = ("optim=adam",)  # takes no notice of a gradient's size, where nothing else mends that
ADAPTIVE = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Rprop"}  # nor do these
KNOWN = TANH_LIKE | RELU_LIKE | {"Sigmoid", "Softplus"}
# Functions with an edge of chaos whose variance settles there; Softplus and others have none, Softshrink's q runs away.
EDGE = TANH_LIKE | RELU_LIKE - {"Maxout"} | {"Sigmoid", "Hardsigmoid"}
NAMES = {name.lower(): name for name in KNOWN | EDGE}  # torch.nn.functional.leaky_relu is LeakyReLU


class Passed(NamedTuple):
    """What is left of signal or gradient after all layers, per run (S,), through how many, where least or most."""

    total: Floats
    layers: int
    lowest: str
    highest: str
    theory: float = math.nan  # of the total
    of_weights: bool = False  # their gradient: layers of different shapes differ by that alone

    @property
    def typical(self) -> float:
        """The geometric mean over runs; of runs some of which pass nothing, the median."""
        return geometric(self.total).value if (self.total > 0).all() else float(np.median(self.total))

    def each(self) -> Estimate:
        """A layer's factor."""
        return geometric(self.total ** (1 / self.layers))


def _passed(seen: Seen) -> dict[str, Passed]:
    """Of the signal, from the first layer's z to the outputs', and of the gradient, from these to that; the gradient of
    the weights, where `delta_ratio` is not known of all layers."""
    ratios, theory = seen.untrained("delta_ratio"), seen.untrained("delta_ratio_theory")
    expected = float(theory.values.prod(axis=1).mean()) if theory else math.nan
    passed = {}
    for name, quantity, start, end in (("signal", "signal", 0, -1), ("gradient", "grad_norm", -1, 0)):
        found = seen.untrained(quantity)
        if found and name == "gradient" and not ratios:
            found = _passed_by_factors_of_zero(seen, found)
        if found is None or len(found.layers) < 2:
            continue
        layers, mean = len(found.layers) - 1, found.mean
        of_weights = name == "gradient" and not (ratios and len(ratios.layers) == layers)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            total = found.values[:, end] / found.values[:, start]
            if name == "gradient" and ratios and not of_weights:
                total = ratios.values.prod(axis=1)
        lowest, highest = (found.layers[int(place)] for place in (mean.argmin(), mean.argmax()))
        of_theory = math.nan if of_weights else expected
        passed[name] = Passed(np.nan_to_num(total), layers, lowest, highest, of_theory, of_weights)
    return passed


def _passed_by_factors_of_zero(seen: Seen, found: ByLayer) -> ByLayer:
    """Without layers whose gradient is 0 at the start alone: a factor behind them is, such as LoRA's B, not the depth's
    work, which leaves nothing later, too."""
    later = {layer: seen.measured("grad_norm", layer) for layer in found.layers}
    kept = [
        place
        for place, layer in enumerate(found.layers)
        if found.values[:, place].any()
        or not any(each.values[:, each.layers.index(layer)].any() for each in later[layer])
    ]
    return ByLayer(tuple(found.layers[place] for place in kept), found.values[:, kept])


def activation(seen: Seen) -> str:
    """The name of its class; empty where that is not known, as of other people's modules."""
    name = str(seen.option("act._target_") or "").rpartition(".")[2]
    return NAMES.get(name.lower().replace("_", ""), name)


def better_init(seen: Seen) -> tuple[str, ...]:
    """The critical initialisation; where the activation has none that is known, or it was used, normalisation."""
    if activation(seen) == "Step":
        return ("act=relu", "init=critical")
    if seen.option("norm") == "layer":
        return () if str(seen.option("optim._target_")).rpartition(".")[2] in ADAPTIVE else ADAM
    has_edge = activation(seen) in EDGE | {""} and seen.option("names.init") != "critical"
    return ("init=critical",) if has_edge else ("norm=layer",)


def _cure(seen: Seen, more: str = "") -> str:
    """What the remedy does, in words; nothing where there is none."""
    remedy = better_init(seen)
    return f" {' '.join(remedy)} {'may help' if remedy == ADAM else 'keeps both'}{more}." if remedy else ""


def starts_wild(seen: Seen) -> bool:
    """Whether most runs learnt nothing, or the first epoch's loss is far above that of guessing."""
    first = [curve[0] for curve in seen.losses()]
    return seen.unlearnt.value > 0.5 or bool(first and np.median(first) > WILD * seen.guessing)


def of_scale(seen: Seen) -> list[Finding]:
    """Vanishing and exploding signal and gradient, and an initialisation that doesn't fit."""
    passed = _passed(seen)
    late = OF_THOSE_THAT_LEARN if seen.unlearnt.value <= 0.5 else TENFOLD
    suffers, wild = seen.suffers, starts_wild(seen)
    found = []
    for name, each in passed.items():
        if each.typical < (1 / late if suffers else VANISHED * (name == "gradient")):
            patience = "; more patience may do too" if each.typical > PATIENCE and seen.stopped() else ""
            said = f"{each.typical:.2g} of the {name} is left after {each.layers}. {seen.said()}{_cure(seen, patience)}"
            found.append(_of_one(seen, "vanishing", name, each.lowest, passed, 1 / late, said))
        if wild and each.typical > TENFOLD:
            said = f"after {each.layers} the {name} is {each.typical:.2g} times as large. {_wild(seen)}{_cure(seen)}"
            found.append(_of_one(seen, "exploding", name, each.highest, passed, TENFOLD, said))
    if wild and not any(each.kind.startswith("exploding") for each in found):
        found += _overflowing(seen)
    misfit = _misfit(seen, passed, bool(found), suffers, wild)
    return [*misfit, *found]


def _of_one(
    seen: Seen, kind: str, name: str, layer: str, passed: dict[str, Passed], threshold: float, said: str
) -> Finding:
    where = Where(seen.label, layer if name == "signal" else first_layer(seen), 0)
    evidence, words = _facts(seen, name, passed, threshold), f"{_factors(passed)}: {said}"
    return Finding(f"{kind}_{name}", seen.severity, where, evidence, words, better_init(seen), SOURCE)


def _facts(seen: Seen, name: str, passed: dict[str, Passed], threshold: float) -> tuple[Fact, ...]:
    found = [fact(f"{name} that is left of 1", geometric(passed[name].total), "1", passed[name].theory, threshold)]
    for other, part in passed.items():
        found.append(fact(f"{other}, factor of a layer", part.each(), "1", part.theory ** (1 / part.layers)))
    return (*found, seen.outcome())


def _factors(passed: dict[str, Passed]) -> str:
    """What a layer does, measured and as theory says, in words."""
    said = [f"the {name} by {part.each().value:.2g}" for name, part in passed.items()]
    known = next((part for part in passed.values() if not math.isnan(part.theory)), None)
    theory = f" (theory: {known.theory ** (1 / known.layers):.2g})" if known else ""
    return f"Untrained, each layer multiplies {' and '.join(said)}{theory}"


def _overflowing(seen: Seen) -> list[Finding]:
    """Signal or gradient of most untrained networks is not finite: no factor of a layer says so."""
    for name, quantity in (("signal", "signal"), ("gradient", "grad_norm")):
        found = [part for part in seen.measured(quantity) if 0 in part.epochs]
        lost = [part for part in found if np.isinf(part.at(0).values).any()]
        if len(lost) * 2 <= len(found):
            continue
        layer = lost[0].layers[int(np.isinf(lost[0].at(0).values[0]).argmax())]
        share = proportion(len(lost), len(found))
        evidence = (fact(f"{name} that is not finite, untrained, of the runs", share, threshold=0.5), seen.outcome())
        said = f"Untrained, the {name} in {layer} is not finite. {_wild(seen)}{_cure(seen)}"
        where = Where(seen.label, layer, 0, share=share.value)
        return [Finding(f"exploding_{name}", seen.severity, where, evidence, said, better_init(seen), SOURCE)]
    return []


def _wild(seen: Seen) -> str:
    if not seen.learnt:
        return seen.said()
    first = [curve[0] for curve in seen.losses()]
    if first and not math.isnan(seen.guessing):
        loss = f"In the first epoch the loss is {np.median(first):.3g} nats, that of guessing {seen.guessing:.3g}"
        return f"{loss}; {seen.lost()}."
    return f"{seen.lost()}, or diverged."


def first_layer(seen: Seen) -> str | None:
    norms = seen.untrained("grad_norm")
    return norms.layers[0] if norms else None


def _misfit(seen: Seen, passed: dict[str, Passed], ruinous: bool, suffers: bool, wild: bool) -> list[Finding]:
    """The cause of what vanishes or explodes where the scheme is one for other activations; else what slows it down."""
    told = {name: each for name, each in passed.items() if ruinous or not each.of_weights}
    if not told:
        return []
    init, act = str(seen.option("names.init") or ""), activation(seen)
    name, each = max(told.items(), key=lambda pair: abs(math.log(max(pair[1].typical, 1e-300))))
    foreign = act in KNOWN and act not in MADE_FOR.get(init, KNOWN)
    expected = each.typical if math.isnan(each.theory) else each.theory
    shrinks, grows = (max(each.typical, expected) < 1 / UNEVEN, min(each.typical, expected) > UNEVEN)
    if not (foreign if ruinous else (suffers and shrinks) or (wild and grows)):
        return []
    made = f"init={init} is made for others than {seen.setting.act}. " if foreign else ""
    outcome = _wild(seen) if each.typical > 1 else seen.said()
    said = f"{made}{_factors(passed)}: of 1, {each.typical:.2g} is left of the {name}. {outcome}{_cure(seen)}"
    evidence = _facts(seen, name, passed, UNEVEN if each.typical > 1 else 1 / UNEVEN)
    where, severity = Where(seen.label, first_layer(seen), 0), seen.severity if ruinous else HARMS
    return [Finding("init_misfit", severity, where, evidence, said, better_init(seen), SOURCE)]
