"""Is an activation a function of one number, so that it has a slope? Found out by applying it.

Softmax, sorting within groups, Maxout and gated units are not: what is defined by the slope (dead and saturated units,
the curve) says nothing of them.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

EXAMPLES = 16

_known: WeakKeyDictionary[nn.Module, dict[tuple[bool, int], bool]] = WeakKeyDictionary()
_alike: dict[str, dict[tuple[bool, int], bool]] = {}  # of torch's own without parameters, by what they print


def random_like(like: Tensor, seed: int = 0) -> Tensor:
    """Normal random numbers of this shape, in single precision at least."""
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
    return x.to(like.device, torch.promote_types(like.dtype, torch.float32))


def slope(pre: Tensor, post: Tensor) -> Tensor:
    """d post / d pre of an elementwise function, from their autograd graph; zero where there is none."""
    if not post.requires_grad:
        return torch.zeros_like(pre)
    (derivative,) = torch.autograd.grad(post, pre, torch.ones_like(post), retain_graph=True, materialize_grads=True)
    return derivative


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
        found[key] = takes_each_alone(lambda x: _undrawn(activation, x), x)
    return found[key]


def _undrawn(activation: nn.Module, x: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        y: Tensor = activation(x.clone())
    return y


@torch.no_grad()
def takes_each_alone(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Hold some numbers while the others grow threefold: those held must give the same, but for rounding, which may
    depend on a vector's neighbours.

    No number changes its sign: functions with a random part then draw the same for each.
    """
    held = (random_like(x, seed=1) < 0).to(x.device)
    try:
        y = function(x)
        if y.shape != x.shape:
            return False
        rounding = 1e-5 * float(y[y.isfinite()].abs().amax()) if y.isfinite().any() else 0.0
        for those in (held, ~held):
            found = function(torch.where(those, x, 3 * x))
            torch.testing.assert_close(found[those], y[those], rtol=1e-4, atol=rounding, equal_nan=True)
    except Exception:  # a forward may raise anything: it was not made for this shape
        return False
    return True


def is_affine(function: Callable[[Tensor], Tensor], like: Tensor) -> bool:
    """Whether an elementwise function is a·x + b, with any a and b at each place."""
    one, other = (random_like(like, seed).requires_grad_() for seed in (2, 3))
    with torch.enable_grad():
        first, second = function(one), function(other)
        slopes = slope(one, first), slope(other, second)
    line = first + slopes[0] * (other - one)
    pairs = (slopes, (second.detach(), line.detach()))
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True) for a, b in pairs)
