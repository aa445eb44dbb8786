"""`python -m src.theory act=swish init=default depth=50`: what theory says of a network, without data or training.

Takes the keys of `python -m src.train`. Inputs are taken to have mean square 1, and as many numbers as the first layer
has units.
"""

import math
import re
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from rich.table import Table

from actsweep import composition
from actsweep.config import schema
from actsweep.config.command_line import one_line_errors, stop
from actsweep.errors import UserError
from actsweep.network import activations
from actsweep.network.mlp import fault_of
from actsweep.places import command
from actsweep.theory.critical import variances
from actsweep.theory.integrals import Function
from actsweep.theory.meanfield import Layers, Limit, MeanField, born_dead, layers, limit

TRAINS_TO = 6  # ξ_c: Schoenholz et al. 2017 find networks trainable to about this depth
MOST_ROWS = 40
FAINT = 1e-3  # of the last hidden layer's gradient: the first layer hardly moves
FLOAT32_SMALLEST = 1e-38
SATURATING = 25.0  # of q*
NORMAL_95 = 1.96  # standard deviations on either side of the mean
MATTER = {"act", "init", "model", "depth", "width", "hidden_sizes", "norm", "sweeps", "experiment", "names"}
CHOICES = {"act", "data", "init", "optim"}


def read(overrides: list[str]) -> schema.Settings:
    """The settings that a command line asks for, checked as a run's are, apart from its data."""
    return composition.tried(composition.validated(composition.composed(overrides)))


def predict(settings: schema.Settings) -> tuple[Layers, Limit, MeanField]:
    """Per layer, in the limit of layers like the last, and the theory of those. Raises UserError without any."""
    widths = settings.layer_sizes
    if not widths:
        raise UserError("depth=0: the theory is of networks with hidden layers")
    if settings.norm != "none":
        raise UserError(f"norm={settings.norm}: the theory is of networks without normalisation; use norm=none")
    if why := fault_of(settings.init.functions, widths[-1], widths[-1]):
        raise UserError(why)
    act = Function(activations.build_alike(settings.act.plain()))
    shapes = list(zip([widths[0], *widths], [*widths, widths[-1]], strict=True))
    of_shape = {shape: variances(*settings.init.functions(), *shape) for shape in dict.fromkeys(shapes)}
    weights, biases = zip(*(of_shape[shape] for shape in shapes), strict=True)
    found = layers(act, 1.0, weights, biases, [*widths, widths[-1]])
    theory = MeanField(act, weights[-1], biases[-1])
    return found, limit(theory, float(found.q[0]) or 1.0), theory


def table(found: Layers) -> Table:
    """Layer, √q, gradient relative to the last hidden layer, with middle layers left out of deep networks."""
    shown = Table(
        "layer", "√q: rms of z", "√χ: gradient, this / next", "gradient, this / last hidden", "95 % of networks"
    )
    depth, ends = len(found.chi), MOST_ROWS // 2
    for place, (q, chi, gradient) in enumerate(zip(found.q, found.chi, found.gradients, strict=False)):
        if depth <= MOST_ROWS or not ends <= place < depth - ends:
            range_of = " to ".join(f"{end:.2g}" for end in single_networks(found, place))
            shown.add_row(str(place + 1), f"{math.sqrt(q):.4g}", root(chi), f"{gradient:.3g}", range_of)
        elif place == ends:
            shown.add_row(*["…"] * len(shown.columns))
    shown.add_row("output", f"{math.sqrt(found.q[-1]):.4g}", "", "", "")
    return shown


def root(chi: float) -> str:
    """
    >>> root(2.0), root(1e300), root(1e-12), root(0.0)
    ('1.4142', '1e+150', '1e-06', '0.0000')
    """
    found = math.sqrt(chi)
    return f"{found:.4f}" if found == 0 or 1e-3 <= found < 1e4 else f"{found:.4g}"


def single_networks(found: Layers, place: int) -> tuple[float, float]:
    """Between which ratios to the last hidden layer the gradient of 95 % of all networks lies, at one example."""
    if not 0 < (ratio := float(found.gradients[place])) < math.inf:
        return ratio, ratio
    variance = float(found.log_variances[place] - found.log_variances[-1])  # of ln of the ratio's square
    middle, reach = math.log(ratio) - variance / 4, NORMAL_95 * math.sqrt(variance) / 2
    return math.exp(middle - reach), math.exp(middle + reach)


def verdict(settings: schema.Settings, found: Layers, end: Limit) -> list[str]:
    """What that means for training, in sentences."""
    depth, first = len(found.chi), float(found.gradients[0])
    name = f"{settings.names.act} at init={settings.names.init}"
    if end.chi == 0:
        return [f"{name}: χ₁ = 0, so no gradient passes many layers, and early ones can't learn."]
    reach_first = f"{first:.2g} of the last hidden layer's reach the first"
    if first < FAINT:
        how = "underflow float32: they are exactly 0" if first < FLOAT32_SMALLEST else "hardly move the first layers"
        passing = f"gradients vanish, {reach_first} of {depth}; they {how}"
    elif first > 1 / FAINT:
        passing = f"gradients explode {first:.2g}-fold over {depth} layers; expect divergence"
    else:
        passing = f"gradients pass {depth} layer{'s' * (depth > 1)}, {reach_first}"
    sentences = [f"{name}: {passing}."]
    if end.q == 0 and math.isnan(end.correlation):
        sentences.append("Pre-activations vanish with depth: q* = 0.")
    elif math.isinf(end.q):
        sentences.append("Pre-activations diverge with depth: there is no q*.")
    elif math.isfinite(end.correlation_scale):
        reach = TRAINS_TO * end.depth_scale
        lasts = f"ξ_c = {end.correlation_scale:.3g} layers"
        sooner = f", gradients 1/|ln χ₁| = {end.gradient_scale:.3g}" if end.depth_scale < end.correlation_scale else ""
        trains = "should train" if depth <= reach else "should not train"
        sentences.append(
            f"What tells inputs apart lasts {lasts}{sooner}; networks train to about "
            f"{TRAINS_TO}{' times the shorter' if sooner else '·ξ_c'} = {reach:.3g}, so {depth} {trains}."
        )
    else:
        sentences.append("This is the edge of chaos (χ₁ = 1): depth alone does not stop training.")
    if end.q > SATURATING and math.isfinite(end.q):
        sentences.append(f"But z has a standard deviation of {math.sqrt(end.q):.3g}: units that can saturate do.")
    return sentences


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"usage: {command('theory')} KEY=VALUE…   the keys of a run: act, init, depth, width, norm, …")
        return
    with one_line_errors():
        if options := [each for each in sys.argv[1:] if each.startswith("-")]:
            raise UserError(f"{options[0]}: must be KEY=VALUE, of one network: {command('theory')} act=swish depth=50")
        for each in OverridesParser.create().parse_overrides(sys.argv[1:]):
            if each.is_sweep_override() or (each.key_or_group in CHOICES and isinstance(each.value(), list)):
                raise UserError(f"{each.input_line}: must be one value, theory is of one network; give one")
        settings = read(sys.argv[1:])
        try:
            found, end, theory = predict(settings)
        except UserError as error:
            raise stop(f"act={settings.names.act} init={settings.names.init}: {error}") from error
        console = Console() if sys.stdout.isatty() else Console(width=120)
        console.print(table(found))
        print(
            f"σ_w² = {theory.weight_variance:.6g}, σ_b² = {theory.bias_variance:.4g}: q* = {end.q:.6g}, "
            f"χ₁ = {end.chi:.6g}, √χ₁ = {root(end.chi)}, c* = {end.correlation:.4g}, "
            f"ξ_q = {end.q_scale:.3g}, ξ_c = {end.correlation_scale:.3g} layers"
        )
        if settings.names.act == "relu":
            print(
                f"Born dead at one input, at most over all (Lu et al. 2019): {born_dead(settings.layer_sizes)[-1]:.2g}."
            )
        print(" ".join(verdict(settings, found, end)))
        keys = {each: re.split(r"[.=@]", each.lstrip("+~"))[0] for each in sys.argv[1:]}
        if idle := [each for each, key in keys.items() if key not in MATTER]:
            print(f"Theory knows nothing of {', '.join(idle)}: it is of untrained networks, whatever the data.")
