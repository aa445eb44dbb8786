"""Is an activation a function of one number, so that it has a slope? Found out by applying it.

Softmax, sorting within groups, Maxout and gated units are not: what is defined by the slope (dead and saturated units,
the curve) says nothing of them.
"""

import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from actsweep.diagnostics.randomness import kept

EXAMPLES = 16
GRID = 201  # points on [-10, 10]

_known: WeakKeyDictionary[nn.Module, dict[tuple[bool, int], bool]] = WeakKeyDictionary()
_alike: dict[str, dict[tuple[bool, int], bool]] = {}  # of torch's own without parameters, by what they print


def random_like(like: Tensor, seed: int = 0) -> Tensor:
    """Normal random numbers of this shape, in single precision at least."""
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), device="cpu")
    return x.to(like.device, torch.promote_types(like.dtype, torch.float32))


def slope(pre: Tensor, post: Tensor) -> Tensor:
    """d post / d pre of an elementwise function, from their autograd graph; zero where there is none."""
    if not post.requires_grad:
        return torch.zeros_like(pre)
    (derivative,) = torch.autograd.grad(post, pre, torch.ones_like(post), retain_graph=True, materialize_grads=True)
    return derivative


def steepest(function: Callable[[Tensor], Tensor], axis: int, like: Tensor) -> Tensor:
    """(1,): the largest |slope| on [−10, 10] of any unit along `axis`, from as many calls as the examples at hand ask
    for."""
    units = like.movedim(axis, -1)
    examples = units[..., 0].numel()
    found = like.new_zeros(())
    for part in torch.linspace(-10, 10, GRID, device=like.device, dtype=like.dtype).split(examples):
        filled = part.repeat(-(-examples // len(part)))[:examples].view(*units.shape[:-1], 1)
        x = filled.expand(units.shape).movedim(-1, axis).clone().requires_grad_()
        with torch.enable_grad():
            found = torch.maximum(found, slope(x, function(x)).abs().amax())
    return found[None]


def is_elementwise(activation: nn.Module, like: Tensor) -> bool:
    """Whether each number that comes out depends on the one that came in at its place alone, for inputs (N, H, …) such
    as `like`; as the module is now, in training or in evaluation. Tried once.

    >>> [is_elementwise(each, torch.zeros(1, 4)) for each in (nn.Tanh(), nn.PReLU(4), nn.Softmax(-1), nn.GLU())]
    [True, True, False, False]
    """
    is_torchs = type(activation).__module__ == "torch.nn.modules.activation" and not [*activation.parameters()]
    found = _alike.setdefault(repr(activation), {}) if is_torchs else _known.setdefault(activation, {})
    key = activation.training, like.shape[1]
    if key not in found:
        x = random_like(like[:1].expand(EXAMPLES, *like.shape[1:])).to(like)
        try:
            found[key] = keeps_apart(lambda x: _undrawn(activation, x), x)
        except Exception:  # not kept: the next time there may be enough memory
            return False
    return found[key]


def _undrawn(activation: nn.Module, x: Tensor) -> Tensor:
    with kept(x):
        y: Tensor = activation(x.clone())
    return y


def takes_each_alone(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether it `keeps_apart`; not where it raises: a forward may raise anything, it was not made for this shape."""
    try:
        return keeps_apart(function, x)
    except Exception:
        return False


@torch.no_grad()
def keeps_apart(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Hold some numbers while the others grow threefold: those held must give the same, but for rounding, which may
    depend on a vector's neighbours.

    No number changes its sign: functions with a random part then draw the same for each.
    """
    held = (random_like(x, seed=1) < 0).to(x.device)
    y = function(x)
    if y.shape != x.shape:
        return False
    found = [function(torch.where(those, x, 3 * x)) for those in (held, ~held)]
    rounding = 1e-5 * _size(y, torch.where(held, found[1], found[0]))
    return all(
        torch.allclose(each[those], y[those], rtol=1e-4, atol=rounding, equal_nan=True)
        for those, each in zip((held, ~held), found, strict=True)
    )


def _size(values: Tensor, others: Tensor) -> float:
    """The largest finite |value| of those that differ from the others: what fills masked places, such as −3e38, is the
    same whatever enters."""
    sizes = values.abs().where((values != others) & values.isfinite(), 0.0)
    return float(sizes.amax()) if sizes.numel() else 0.0


@torch.no_grad()
def is_affine(function: Callable[[Tensor], Tensor], like: Tensor) -> bool:
    """Whether an elementwise function is a·x + b, with any a and b at each place: halfway between two inputs it then
    gives what lies halfway, but for rounding. Its derivative isn't asked for, which may be cut off, as by `detach`.
    Half of the inputs are normal, the others anywhere on (−10, 10): a hard sigmoid is straight up to ±3.
    """
    one, other = (random_like(like, seed) for seed in (2, 3))
    for x in (one, other):
        x.view(-1)[::2].div_(math.sqrt(2)).erf_().mul_(10)
    given = [function(x) for x in (one, other, (one + other) / 2)]
    step = torch.finfo(given[0].dtype).eps if given[0].is_floating_point() else 0.0  # of halves, as a cast gives them
    first, second, halfway = (each.float() for each in given)
    rounding = max(1e-4, step) * max(_size(first, second), _size(second, first))
    expected = first / 2 + second / 2  # their sum may be out of range
    return torch.allclose(halfway, expected, rtol=max(1e-3, step), atol=rounding, equal_nan=True)
